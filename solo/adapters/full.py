"""Full fine-tuning: every parameter of the backbone is trained; the tied head counts once."""

from dataclasses import dataclass

import torch

from solo.adapters.base import Attached, check_free, freeze


@dataclass(frozen=True)
class Config:
    """No options."""


def attach(model, config: Config, seed: int) -> Attached:
    """Train copies of the weights; `detach` puts the originals back, so no reload is needed."""
    check_free(model)
    parameters = dict(model.named_parameters())  # the tied head appears once
    originals = {name: parameter.data for name, parameter in parameters.items()}
    for parameter in parameters.values():
        parameter.data = parameter.data.clone()
        parameter.requires_grad_(True)

    def detach() -> None:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.data = originals[name].to(parameter.device)
        freeze(model)

    # What is trained is the backbone already: nothing to fold, nothing left to train.
    return Attached(parameters=parameters, detach=detach, merge=lambda: freeze(model))


def n_params(model_config, config: Config) -> int:
    """Embeddings + per block (attention 4d^2 + 4d, MLP 2dh + d + h, two LayerNorms 4d) + 2d."""
    d, n_layer = model_config.n_embd, model_config.n_layer
    inner = model_config.n_inner or 4 * d
    block = (4 * d * d + 4 * d) + (2 * d * inner + d + inner) + 4 * d
    return (model_config.vocab_size + model_config.n_positions) * d + n_layer * block + 2 * d
