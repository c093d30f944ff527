"""LN tuning (Zhao et al., 2024, arXiv 2312.11420), by the peft library.

Only the weights and biases of the LayerNorms are trained (peft's default names them for GPT-2:
ln_1 and ln_2 of every block and the last one, ln_f).
"""

from dataclasses import dataclass

from solo.adapters.base import Attached, check
from solo.adapters.shared.from_peft import ADAPTER, inject

KNOWN = ("ln_1", "ln_2", "ln_f")


@dataclass(frozen=True)
class Config:
    """targets: out of ln_1, ln_2 (of every block) and ln_f (the last)."""

    targets: tuple[str, ...] = KNOWN

    def __post_init__(self):
        object.__setattr__(self, "targets", tuple(self.targets))
        strange = [name for name in self.targets if name not in KNOWN]
        check(
            bool(self.targets) and not strange,
            f"adapter.targets is {list(self.targets)}; GPT-2's LayerNorms: {', '.join(KNOWN)}",
        )


def attach(model, config: Config, seed: int) -> Attached:
    """Train copies of the LayerNorms. At step 0 the output is unchanged."""
    return inject(model, "LN_TUNING", config.targets, {}, seed, weights=_weights)


def _weights(layer):
    trained = layer.ln_tuning_layers[ADAPTER]
    return trained.weight, trained.bias


def n_params(model_config, config: Config) -> int:
    """2 d per LayerNorm."""
    blocks = model_config.n_layer * len(set(config.targets) - {"ln_f"})
    return 2 * model_config.n_embd * (blocks + ("ln_f" in config.targets))
