"""DoRA (Liu et al., 2024, arXiv 2402.09353), by the peft library.

W' = m * (W + (alpha / r) B A) / |W + (alpha / r) B A|, the norm over the inputs of each output; m
(n_out) starts as W's own norms. On GPT-2 the default is peft's target, the fused c_attn: one A for
query, key and value.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.from_peft import inject
from solo.adapters.shared.layers import check_low_rank, count_low_rank
from solo.adapters.shared.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the update's scale is alpha / rank), dropout on its input, targets."""

    rank: int = 4
    alpha: float = 32.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check_low_rank(self)
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Put DoRA on the targets. Norms are computed anew: step 0 is unchanged up to rounding."""
    options = {
        "r": config.rank,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "use_dora": True,
    }
    return inject(model, "LORA", config.targets, options, seed, start_tolerance=1e-5)


def n_params(model_config, config: Config) -> int:
    """r (n_in + n_out) + n_out per target and block."""
    norms = sum(projection_shape(model_config, name)[1] for name in config.targets)
    factors = count_low_rank(model_config, config.targets, config.rank)
    return factors + model_config.n_layer * norms
