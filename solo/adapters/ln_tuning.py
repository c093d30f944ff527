"""LN tuning (Zhao et al., 2024, arXiv 2312.11420), by the peft library.

Only the weights and biases of the norms are trained; by default those of GPT-2, as peft names them:
ln_1 and ln_2 of every block and the last one, ln_f.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import ADAPTER, PeftMethod
from solo.backbones import LAYOUTS, backbone_of
from solo.options import check


@dataclass(frozen=True)
class Config:
    """targets: the backbone's norms; in GPT-2 ln_1, ln_2 (of every block) and ln_f (the last)."""

    targets: tuple[str, ...] = ("ln_1", "ln_2", "ln_f")

    def __post_init__(self):
        given = self.targets
        object.__setattr__(self, "targets", (given,) if isinstance(given, str) else tuple(given))
        norms = {backbone.TITLE: backbone.NORMS for backbone in LAYOUTS}
        unknown = set(self.targets).difference(*norms.values())
        allowed = "; ".join(f"norms of {title}: {', '.join(n)}" for title, n in norms.items())
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
    def has_targets(cls, shape) -> bool:
        return any(backbone_of(shape).norm_sizes(shape).values())

    @classmethod
    def check_backbone(cls, shape, config: Config) -> None:
        check(cls.has_targets(shape), "the norms of this backbone have no weights")
        backbone = backbone_of(shape)
        unknown = [name for name in config.targets if name not in backbone.NORMS]
        check(
            not unknown,
            f"adapter.targets has {unknown and unknown[0]!r}; norms of {backbone.TITLE}: "
            f"{', '.join(backbone.NORMS)}",
        )

    @classmethod
    def check_sizes(cls, shape, config: Config) -> None:
        """Norms have one size, which fits."""

    def affine(self, layer):
        trained = layer.ln_tuning_layers[ADAPTER]
        return trained.weight, getattr(trained, "bias", None)

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """2 d per LayerNorm, d per norm without a bias."""
        sizes = backbone_of(shape).norm_sizes(shape)
        return sum(sizes[name] for name in set(config.targets))
