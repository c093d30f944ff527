"""GraLoRA (Jung et al., 2025, arXiv 2505.20355), by the peft library: LoRA in k x k blocks.

The weight is cut into k x k blocks and each has factors of its own, of rank r / k, at the count of
LoRA of rank r, the whole one, by which alpha is divided for the update's scale.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import PeftConfig, PeftFactors
from solo.options import check


@dataclass(frozen=True)
class Config(PeftConfig):
    """rank r, blocks k per side (it divides r, n_in and n_out), alpha, dropout, targets."""

    rank: int = 32
    blocks: int = 2
    alpha: float = 64.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        super().__post_init__()
        check(
            self.blocks >= 1 and self.rank % self.blocks == 0,
            f"adapter.blocks is {self.blocks}; it must divide adapter.rank ({self.rank})",
        )


class GraLora(PeftFactors):
    """LoRA with factors of their own for each of k x k blocks of a weight. Step 0 is unchanged."""

    Config = Config
    label = "GraLoRA"
    trains = "k×k blocks of factors"
    where = "c_attn"
    count = "L r Σ(n_in+n_out)"
    source = "arXiv 2505.20355, peft"
    kind = "GRALORA"
    options = {"r": "rank", "gralora_k": "blocks", "alpha": "alpha", "gralora_dropout": "dropout"}

    @staticmethod
    def check_target(config: Config, name: str, n_in: int, n_out: int) -> None:
        check(
            n_in % config.blocks == n_out % config.blocks == 0,
            f"adapter.blocks is {config.blocks}; it must divide both sides of {name}, "
            f"{(n_in, n_out)}",
        )
