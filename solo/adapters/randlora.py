"""RandLoRA (Albert et al., 2025, arXiv 2502.00987), by the peft library: frozen random bases.

The update is a sum over N = ceil(min(n_in, n_out) / r) products B_n diag(lambda_n) A diag(gamma_n)
of frozen random matrices of rank r, shared by all weights, with trained scales: full rank at a
small count, times alpha / r. lambda starts at zero, gamma at 1 / max of its shape. (peft pairs the
columns of B with the rows of A in another order than this sum has, which makes no difference to
random ones.)
"""

import math
from dataclasses import dataclass

from solo.adapters.shared.from_peft import PeftConfig, PeftMethod
from solo.adapters.shared.targets import target_shape


@dataclass(frozen=True)
class Config(PeftConfig):
    """rank r of a base (a larger one means fewer parameters), alpha (peft: 20 r), targets."""

    rank: int = 32
    alpha: float = 640.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)


class RandLora(PeftMethod):
    """Trained scales of frozen random matrices that all weights share. Step 0 is unchanged."""

    Config = Config
    label = "RandLoRA"
    trains = "scales of random bases"
    where = "c_attn"
    count = "L Σ⌈m/r⌉(r+m), m=min(n_in,n_out)"
    source = "arXiv 2502.00987, peft"
    kind = "RANDLORA"
    options = {"r": "rank", "randlora_alpha": "alpha", "randlora_dropout": "dropout"}
    seed_option = "projection_prng_key"

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """N (r + m) per target and block, m = min(n_in, n_out), N = ceil(m / r)."""
        narrow = [min(target_shape(shape, name)) for name in config.targets]
        each = [math.ceil(m / config.rank) * (config.rank + m) for m in narrow]
        return shape.num_hidden_layers * sum(each)
