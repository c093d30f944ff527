"""VeRA (Kopiczko et al., 2024, arXiv 2310.11454), by the peft library.

y + b * (B (d * (A dropout(x)))): A and B random, frozen, and shared by all adapted weights (cut to
the weight's size); the vectors d (r, starting at d_initial) and b (n_out, starting at zero) belong
to one weight.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.from_peft import inject
from solo.adapters.shared.layers import check_low_rank
from solo.adapters.shared.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """rank r (1024: on E2E with GPT-2 M; peft's default is 256), d_initial, dropout, targets."""

    rank: int = 1024
    d_initial: float = 0.1
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check_low_rank(self)
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Draw the shared matrices from the seed and put the vectors on the targets."""
    options = {
        "r": config.rank,
        "vera_dropout": config.dropout,
        "d_initial": config.d_initial,
        "projection_prng_key": seed,
    }
    return inject(model, "VERA", config.targets, options, seed)


def n_params(model_config, config: Config) -> int:
    """n_out + r per target and block."""
    widths = [projection_shape(model_config, name)[1] + config.rank for name in config.targets]
    return model_config.n_layer * sum(widths)
