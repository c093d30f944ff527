"""SSL: scale the subspace of the left singular vectors (Si, Yang and Shen, arXiv 2407.05417).

W -> diag(a) W for a weight W of shape (n_in, n_out) and y = x W + c: the paper's D W, eq. 10, and
what its code does (Chongjie-Si/Subspace-Tuning, loralib/loralib/layers_SSL.py, where the weight is
nn.Linear's, the transpose, and its columns are scaled). The scale sits on the input side, the bias
is not scaled. a starts at one.

Which weights the paper scales follows from its counts only: tables II to IV fit two of the square
projections and the first of the MLP. GPT-2 fuses query, key and value; the default here is every
projection.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.scaling import attach_scales
from solo.adapters.shared.targets import PROJECTIONS, check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """targets: the projections that are scaled, out of c_attn, attn.c_proj, c_fc, mlp.c_proj."""

    targets: tuple[str, ...] = tuple(PROJECTIONS)

    def __post_init__(self):
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Scale the input side of every target."""
    return attach_scales(model, config.targets, output_side=False)


def n_params(model_config, config: Config) -> int:
    """n_in per target and block."""
    widths = [projection_shape(model_config, name)[0] for name in config.targets]
    return model_config.n_layer * sum(widths)
