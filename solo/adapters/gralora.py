"""GraLoRA (Jung et al., 2025, arXiv 2505.20355), by the peft library: LoRA in k x k blocks.

The weight is cut into k x k blocks and each has factors of its own, of rank r / k, at the count of
LoRA of rank r.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached, check
from solo.adapters.shared.from_peft import inject
from solo.adapters.shared.layers import check_low_rank, count_low_rank
from solo.adapters.shared.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """rank r, blocks k per side (it divides r, n_in and n_out), alpha, dropout, targets."""

    rank: int = 32
    blocks: int = 2
    alpha: float = 64.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check_low_rank(self)
        check(
            self.blocks >= 1 and self.rank % self.blocks == 0,
            f"adapter.blocks is {self.blocks}; it must divide adapter.rank ({self.rank})",
        )
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Put the blocks on the targets. At step 0 the output is unchanged."""
    for name in config.targets:
        shape = projection_shape(model.config, name)
        check(
            not any(width % config.blocks for width in shape),
            f"adapter.blocks is {config.blocks}; it must divide both sides of {name}, {shape}",
        )
    options = {
        "r": config.rank,
        "gralora_k": config.blocks,
        "alpha": config.alpha,
        "gralora_dropout": config.dropout,
    }
    return inject(model, "GRALORA", config.targets, options, seed)


def n_params(model_config, config: Config) -> int:
    """r (n_in + n_out) per target and block of the model."""
    return count_low_rank(model_config, config.targets, config.rank)
