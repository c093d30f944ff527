"""HiRA (Huang et al., 2025, ICLR), by the peft library: a Hadamard product with the weight.

W + W * (B A), entry by entry, so that the update has a high rank; A (r, n_in) Kaiming-uniform,
B (n_out, r) zero.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached, check
from solo.adapters.from_peft import inject
from solo.adapters.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """rank r (peft's default), dropout on the update's input, targets."""

    rank: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check(self.rank >= 1, f"adapter.rank is {self.rank}; it must be at least 1")
        check(0 <= self.dropout < 1, f"adapter.dropout is {self.dropout}; it must be in [0, 1)")
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Put the factors on the targets. At step 0 the output is unchanged."""
    options = {
        "r": config.rank,
        "hira_dropout": config.dropout,
        "target_modules": list(config.targets),
        "fan_in_fan_out": True,
    }
    return inject(model, "HIRA", options, seed)


def n_params(model_config, config: Config) -> int:
    """r (n_in + n_out) per target and block."""
    widths = [sum(projection_shape(model_config, name)) for name in config.targets]
    return model_config.n_layer * config.rank * sum(widths)
