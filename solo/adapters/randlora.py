"""RandLoRA (Albert et al., 2025, arXiv 2502.00987), by the peft library: frozen random bases.

The update is a sum over N = ceil(min(n_in, n_out) / r) products B_n diag(lambda_n) A diag(gamma_n)
of frozen random matrices of rank r, shared by all weights, with trained scales: full rank at a
small count. lambda starts at zero. (peft pairs the columns of B with the rows of A in another order
than this sum has, which makes no difference to random ones.)
"""

import math
from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.from_peft import inject
from solo.adapters.shared.layers import check_low_rank
from solo.adapters.shared.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """rank r of a base (a larger one means fewer parameters), alpha (peft: 20 r), targets."""

    rank: int = 32
    alpha: float = 640.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check_low_rank(self)
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Draw the bases from the seed and put the scales on the targets. Step 0 is unchanged."""
    options = {
        "r": config.rank,
        "randlora_alpha": config.alpha,
        "randlora_dropout": config.dropout,
        "projection_prng_key": seed,
    }
    return inject(model, "RANDLORA", config.targets, options, seed)


def n_params(model_config, config: Config) -> int:
    """N (r + m) per target and block, m = min(n_in, n_out), N = ceil(m / r)."""
    narrow = [min(projection_shape(model_config, name)) for name in config.targets]
    each = [math.ceil(m / config.rank) * (config.rank + m) for m in narrow]
    return model_config.n_layer * sum(each)
