"""VB-LoRA (Li et al., 2024, arXiv 2405.15179), by the peft library: LoRA out of a vector bank.

A and B of every weight are made of pieces of length b; each piece is a mixture, by a softmax, of
the k of the h vectors of one shared bank whose trained logits are largest.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import PeftConfig, PeftMethod
from solo.adapters.shared.targets import target_shape
from solo.options import check


@dataclass(frozen=True)
class Config(PeftConfig):
    """rank r, vectors h in the bank, length b of each (it divides n_in and n_out), top k."""

    rank: int = 4
    vectors: int = 256
    length: int = 256
    top: int = 2
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        super().__post_init__()
        for name in ("vectors", "length"):
            value = getattr(self, name)
            check(value >= 1, f"adapter.{name} is {value}; it must be at least 1")
        check(
            1 <= self.top <= self.vectors,
            f"adapter.top is {self.top}; it must be from 1 to adapter.vectors ({self.vectors})",
        )


class VbLora(PeftMethod):
    """LoRA with factors mixed out of a bank of vectors that all weights share.

    Step 0 is near the backbone: the bank starts small.
    """

    Config = Config
    label = "VB-LoRA"
    trains = "bank of V vectors of length b, and logits"
    where = "c_attn"
    count = "Vb + L r V Σ(n_in+n_out)/b"
    source = "arXiv 2405.15179, peft"
    kind = "VBLORA"
    options = {
        "r": "rank",
        "num_vectors": "vectors",
        "vector_length": "length",
        "topk": "top",
        "vblora_dropout": "dropout",
    }
    identity_at_start = False

    @staticmethod
    def check_target(config: Config, name: str, n_in: int, n_out: int) -> None:
        check(
            n_in % config.length == n_out % config.length == 0,
            f"adapter.length is {config.length}; it must divide both sides of {name}, "
            f"{(n_in, n_out)}",
        )

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """The bank, h b, and the logits: r h (n_in + n_out) / b per target and block."""
        widths = [sum(target_shape(shape, name)) for name in config.targets]
        logits = config.rank * config.vectors * sum(widths) // config.length
        return config.vectors * config.length + shape.num_hidden_layers * logits
