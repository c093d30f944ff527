"""PiSSA (Meng et al., 2024, arXiv 2404.02948), by the peft library.

LoRA that starts at the r principal singular triplets of W: (alpha / r) B A = U_r S_r V_r', each
factor with the root of S_r, and the frozen weight becomes W - (alpha / r) B A. The principal part
is computed anew when a saved adapter is loaded: the same on the same processor, and up to rounding
on another (a few thousandths in the logits where singular values at the cut are nearly equal).
"""

from dataclasses import dataclass

import torch

from solo.adapters.shared.from_peft import PeftConfig, PeftFactors
from solo.options import check


@dataclass(frozen=True)
class Config(PeftConfig):
    """rank r, alpha (the paper has alpha = r), dropout on the update's input (none), targets."""

    rank: int = 4
    alpha: float = 4.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("c_attn",)


class Pissa(PeftFactors):
    """LoRA that starts at the principal part of each weight. Step 0 is unchanged up to rounding."""

    Config = Config
    label = "PiSSA"
    trains = "principal B A"
    where = "c_attn"
    count = "L r Σ(n_in+n_out)"
    source = "arXiv 2404.02948, peft"
    kind = "LORA"
    options = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}
    settings = {"init_lora_weights": "pissa"}
    changes_weights = True
    start_tolerance = 1e-4

    def __init__(self, model, config: Config, seed: int):
        check(
            model.dtype == torch.float32,
            f"pissa needs a model in torch.float32, where peft takes the principal part; this one "
            f"computes in {model.dtype}",
        )
        super().__init__(model, config, seed)

    @staticmethod
    def check_target(config: Config, name: str, n_in: int, n_out: int) -> None:
        largest = min(n_in, n_out)
        check(
            config.rank <= largest,
            f"adapter.rank is {config.rank}; {name} has only {largest} singular values",
        )
