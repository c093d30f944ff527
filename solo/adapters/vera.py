"""VeRA (Kopiczko et al., 2024, arXiv 2310.11454), by the peft library.

y + b * (B (d * (A dropout(x)))): A and B random, frozen, and shared by all adapted weights (cut to
the weight's size); the vectors d (r, starting at d_initial) and b (n_out, starting at zero) belong
to one weight.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import PeftConfig, PeftMethod
from solo.adapters.shared.targets import target_shape


@dataclass(frozen=True)
class Config(PeftConfig):
    """rank r (1024: on E2E with GPT-2 M; peft's default is 256), d_initial, dropout, targets."""

    rank: int = 1024
    d_initial: float = 0.1
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)


class Vera(PeftMethod):
    """Trained vectors around frozen random matrices that all weights share. Step 0 is unchanged."""

    Config = Config
    label = "VeRA"
    trains = "two vectors; A and B frozen"
    where = "c_attn"
    count = "L Σ(n_out+r)"
    source = "arXiv 2310.11454, peft"
    kind = "VERA"
    options = {"r": "rank", "vera_dropout": "dropout", "d_initial": "d_initial"}
    seed_option = "projection_prng_key"

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """n_out + r per target and block."""
        widths = [target_shape(shape, name)[1] + config.rank for name in config.targets]
        return shape.num_hidden_layers * sum(widths)
