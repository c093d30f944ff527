"""Full fine-tuning: every parameter of the backbone is trained; the tied head counts once."""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.layers import train_copies


@dataclass(frozen=True)
class Config:
    """No options."""


def attach(model, config: Config, seed: int) -> Attached:
    """Train copies of the weights; `detach` puts the originals back, so no reload is needed."""
    return train_copies(model, dict(model.named_parameters()))  # the tied head appears once


def n_params(model_config, config: Config) -> int:
    """Embeddings + per block (attention 4d^2 + 4d, MLP 2dh + d + h, two LayerNorms 4d) + 2d."""
    d, n_layer = model_config.n_embd, model_config.n_layer
    inner = model_config.n_inner or 4 * d
    block = (4 * d * d + 4 * d) + (2 * d * inner + d + inner) + 4 * d
    return (model_config.vocab_size + model_config.n_positions) * d + n_layer * block + 2 * d
