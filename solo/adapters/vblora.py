"""VB-LoRA (Li et al., 2024, arXiv 2405.15179), by the peft library: LoRA out of a vector bank.

A and B of every weight are made of pieces of length b; each piece is a mixture, by a softmax, of
the k of the h vectors of one shared bank whose trained logits are largest.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached, check
from solo.adapters.shared.from_peft import inject
from solo.adapters.shared.layers import check_low_rank
from solo.adapters.shared.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """rank r, vectors h in the bank, length b of each (it divides n_in and n_out), top k."""

    rank: int = 4
    vectors: int = 256
    length: int = 256
    top: int = 2
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check_low_rank(self)
        for name in ("vectors", "length"):
            value = getattr(self, name)
            check(value >= 1, f"adapter.{name} is {value}; it must be at least 1")
        check(
            1 <= self.top <= self.vectors,
            f"adapter.top is {self.top}; it must be from 1 to adapter.vectors ({self.vectors})",
        )
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Put the mixtures on the targets. Step 0 is near the backbone: the bank starts small."""
    for name in config.targets:
        shape = projection_shape(model.config, name)
        check(
            not any(width % config.length for width in shape),
            f"adapter.length is {config.length}; it must divide both sides of {name}, {shape}",
        )
    options = {
        "r": config.rank,
        "num_vectors": config.vectors,
        "vector_length": config.length,
        "topk": config.top,
        "vblora_dropout": config.dropout,
    }
    return inject(model, "VBLORA", config.targets, options, seed, identity_at_start=False)


def n_params(model_config, config: Config) -> int:
    """The bank, h b, and the logits: r h (n_in + n_out) / b per target and block."""
    widths = [sum(projection_shape(model_config, name)) for name in config.targets]
    logits = config.rank * config.vectors * sum(widths) // config.length
    return config.vectors * config.length + model_config.n_layer * logits
