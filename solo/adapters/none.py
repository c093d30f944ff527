"""The bare backbone: nothing is trained. The floor of every table."""

from dataclasses import dataclass

from solo.adapters.base import Attached, check_free, freeze


@dataclass(frozen=True)
class Config:
    """No options."""


def attach(model, config: Config, seed: int) -> Attached:
    """Freeze the backbone and leave it as it is."""
    check_free(model)
    freeze(model)
    return Attached(parameters={}, detach=lambda: None, hooks=[], merge=lambda: None)


def n_params(model_config, config: Config) -> int:
    """Zero."""
    return 0
