"""PiSSA (Meng et al., 2024, arXiv 2404.02948), by the peft library.

LoRA that starts at the r principal singular triplets of W: (alpha / r) B A = U_r S_r V_r', each
factor with the root of S_r, and the frozen weight becomes W - (alpha / r) B A. The principal part
is computed anew when a saved adapter is loaded, and comes out the same up to rounding.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached, check
from solo.adapters.shared.from_peft import inject
from solo.adapters.shared.layers import check_low_rank, count_low_rank
from solo.adapters.shared.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the paper has alpha = r), dropout on the update's input (none), targets."""

    rank: int = 4
    alpha: float = 4.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check_low_rank(self)
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Move the principal part of the targets into the factors. Step 0 is unchanged to rounding."""
    for name in config.targets:
        largest = min(projection_shape(model.config, name))
        check(
            config.rank <= largest,
            f"adapter.rank is {config.rank}; {name} has only {largest} singular values",
        )
    options = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "init_lora_weights": "pissa",
    }
    return inject(
        model, "LORA", config.targets, options, seed, changes_weights=True, start_tolerance=1e-4
    )


def n_params(model_config, config: Config) -> int:
    """r (n_in + n_out) per target and block."""
    return count_low_rank(model_config, config.targets, config.rank)
