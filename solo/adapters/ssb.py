"""SSB: scale the subspaces of both singular vectors (Si, Yang and Shen, arXiv 2407.05417).

W -> diag(a) W diag(b) for a weight W of shape (n_in, n_out) and y = x W + c: the paper's D1 W D2,
eq. 10, and what its code does (Chongjie-Si/Subspace-Tuning, loralib/loralib/layers_SSB.py). a is on
the input side, b on the output side; the bias is not scaled. Both start at one. For the default
targets see ssl.py.
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
    """Scale both sides of every target."""
    return attach_scales(model, config.targets, output_side=True)


def n_params(model_config, config: Config) -> int:
    """n_in + n_out per target and block."""
    widths = [sum(projection_shape(model_config, name)) for name in config.targets]
    return model_config.n_layer * sum(widths)
