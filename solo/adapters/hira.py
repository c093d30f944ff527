"""HiRA (Huang et al., 2025, ICLR), by the peft library: a Hadamard product with the weight.

W + W * (B A), entry by entry, so that the update has a high rank; A (r, n_in) Kaiming-uniform,
B (n_out, r) zero.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import PeftConfig, PeftFactors


@dataclass(frozen=True)
class Config(PeftConfig):
    """rank r (peft's default), dropout on the update's input, targets."""

    rank: int = 32
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)


class Hira(PeftFactors):
    """The product, entry by entry, of a weight and a low-rank matrix. Step 0 is unchanged."""

    Config = Config
    label = "HiRA"
    trains = "W∘(B A)"
    where = "c_attn"
    count = "L r Σ(n_in+n_out)"
    source = "ICLR 2025, peft"
    kind = "HIRA"
    options = {"r": "rank", "hira_dropout": "dropout"}
