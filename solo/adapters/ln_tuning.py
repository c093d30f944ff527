"""LN tuning (Zhao et al., 2024, arXiv 2312.11420), by the peft library.

Only the weights and biases of the LayerNorms are trained (peft's default names them for GPT-2:
ln_1 and ln_2 of every block and the last one, ln_f).
"""

from dataclasses import dataclass

from solo.adapters.base import check
from solo.adapters.shared.from_peft import ADAPTER, PeftMethod
from solo.backbones import BACKBONES, backbone_of


@dataclass(frozen=True)
class Config:
    """targets: out of ln_1, ln_2 (of every block) and ln_f (the last)."""

    targets: tuple[str, ...] = ("ln_1", "ln_2", "ln_f")

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        norms = {b.TITLE: (*b.NORMS, b.FINAL_NORM) for b in BACKBONES.values()}
        unknown = set(self.targets).difference(*norms.values())
        allowed = "; ".join(f"{title}'s LayerNorms: {', '.join(n)}" for title, n in norms.items())
        check(
            bool(self.targets) and not unknown,
            f"adapter.targets is {list(self.targets)}; {allowed}",
        )


class LnTuning(PeftMethod):
    """Fine-tuning of the LayerNorms alone, on copies. Step 0 is unchanged."""

    Config = Config
    label = "LN tuning"
    trains = "LayerNorms"
    where = "ln_1, ln_2, ln_f"
    count = "2d(2L+1)"
    source = "arXiv 2312.11420, peft"
    kind = "LN_TUNING"

    @classmethod
    def check_sizes(cls, shape, config: Config) -> None:
        """LayerNorms have one size, which fits."""

    def affine(self, layer):
        trained = layer.ln_tuning_layers[ADAPTER]
        return trained.weight, trained.bias

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """2 d per LayerNorm."""
        backbone, norms = backbone_of(shape), set(config.targets)
        blocks = shape.num_hidden_layers * len(norms & set(backbone.NORMS))
        return 2 * shape.hidden_size * (blocks + (backbone.FINAL_NORM in norms))
