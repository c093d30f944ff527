"""HiRA (Huang et al., 2025, ICLR), by the peft library: a Hadamard product with the weight.

W + W * (B A), entry by entry, so that the update has a high rank; A (r, n_in) Kaiming-uniform,
B (n_out, r) zero.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.from_peft import inject
from solo.adapters.shared.layers import check_low_rank, count_low_rank
from solo.adapters.shared.targets import check_targets


@dataclass(frozen=True)
class Config:
    """rank r (peft's default), dropout on the update's input, targets."""

    rank: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check_low_rank(self)
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Put the factors on the targets. At step 0 the output is unchanged."""
    options = {
        "r": config.rank,
        "hira_dropout": config.dropout,
    }
    return inject(model, "HIRA", config.targets, options, seed)


def n_params(model_config, config: Config) -> int:
    """r (n_in + n_out) per target and block."""
    return count_low_rank(model_config, config.targets, config.rank)
