"""DoRA (Liu et al., 2024, arXiv 2402.09353), by the peft library.

W' = m * (W + (alpha / r) B A) / |W + (alpha / r) B A|, the norm over the inputs of each output; m
(n_out) starts as W's own norms. On GPT-2 the default is peft's target, the fused c_attn: one A for
query, key and value.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import PeftConfig, PeftMethod
from solo.adapters.shared.layers import count_low_rank
from solo.adapters.shared.targets import target_shape


@dataclass(frozen=True)
class Config(PeftConfig):
    """rank r, alpha (the update's scale is alpha / rank), dropout on its input, targets."""

    rank: int = 4
    alpha: float = 32.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ("c_attn",)


class Dora(PeftMethod):
    """LoRA on the weights' directions, their columns' norms trained apart.

    Norms are computed anew: step 0 is unchanged up to rounding.
    """

    Config = Config
    label = "DoRA"
    trains = "B A and column norms"
    where = "c_attn"
    count = "L Σ(r(n_in+n_out)+n_out)"
    source = "arXiv 2402.09353, peft"
    kind = "LORA"
    options = {"r": "rank", "lora_alpha": "alpha", "lora_dropout": "dropout"}
    settings = {"use_dora": True}
    start_tolerance = 1e-5

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """r (n_in + n_out) + n_out per target and block."""
        norms = sum(target_shape(shape, name)[1] for name in config.targets)
        return count_low_rank(shape, config.targets, config.rank) + shape.num_hidden_layers * norms
