"""BitFit (Ben Zaken et al., 2022, arXiv 2106.10199): only the biases are trained.

All of them: of the projections and of the LayerNorms, in every block and at the end. (GPT-2's
embeddings and its head have none.)
"""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.layers import train_copies


@dataclass(frozen=True)
class Config:
    """No options."""


def attach(model, config: Config, seed: int) -> Attached:
    """Train copies of the biases; `detach` puts the originals back."""
    biases = {name: p for name, p in model.named_parameters() if name.endswith(".bias")}
    return train_copies(model, biases)


def n_params(model_config, config: Config) -> int:
    """Per block 3d + d (attention), h + d (MLP) and 2d (LayerNorms), and d for the last one."""
    d = model_config.n_embd
    inner = model_config.n_inner or 4 * d
    return model_config.n_layer * (7 * d + inner) + d
