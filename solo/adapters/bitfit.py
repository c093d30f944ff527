"""BitFit (Ben Zaken et al., 2022, arXiv 2106.10199): only the biases are trained.

All of them: of the projections and of the LayerNorms, in every block and at the end. (GPT-2's
embeddings and its head have none.)
"""

from dataclasses import dataclass

import torch

from solo.adapters.base import Attached, check_free, freeze


@dataclass(frozen=True)
class Config:
    """No options."""


def attach(model, config: Config, seed: int) -> Attached:
    """Train copies of the biases; `detach` puts the originals back."""
    check_free(model)
    freeze(model)
    biases = {name: p for name, p in model.named_parameters() if name.endswith(".bias")}
    originals = {name: bias.data for name, bias in biases.items()}
    for bias in biases.values():
        bias.data = bias.data.clone()
        bias.requires_grad_(True)

    def detach() -> None:
        with torch.no_grad():
            for name, bias in biases.items():
                bias.data = originals[name].to(bias.device)
        freeze(model)

    # What is trained is the backbone's already: nothing to fold, nothing left to train.
    return Attached(biases, detach, merge=lambda: freeze(model))


def n_params(model_config, config: Config) -> int:
    """Per block 3d + d (attention), h + d (MLP) and 2d (LayerNorms), and d for the last one."""
    d = model_config.n_embd
    inner = model_config.n_inner or 4 * d
    return model_config.n_layer * (7 * d + inner) + d
