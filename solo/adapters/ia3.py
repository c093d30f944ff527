"""(IA)^3 (Liu et al., 2022, arXiv 2205.05638), by the peft library.

y * l on the output of a projection, its bias included, and W (l * x) on the input of those that are
`feedforward`; l starts at one. The paper scales keys, values and the MLP's inner activations; on
GPT-2 peft scales all of the fused c_attn, the query too, and the input of mlp.c_proj.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import PeftConfig, PeftMethod
from solo.adapters.shared.targets import target_shape
from solo.options import check


@dataclass(frozen=True)
class Config(PeftConfig):
    """targets, and those of them whose input is scaled rather than their output."""

    targets: tuple[str, ...] = ("c_attn", "mlp.c_proj")
    feedforward: tuple[str, ...] = ("mlp.c_proj",)

    def __post_init__(self):
        super().__post_init__()
        given = self.feedforward
        object.__setattr__(
            self, "feedforward", (given,) if isinstance(given, str) else tuple(given)
        )
        others = [name for name in self.feedforward if name not in self.targets]
        check(
            not others,
            f"adapter.feedforward has {others and others[0]!r}, which is none of adapter.targets "
            f"({', '.join(self.targets)}); name those of them whose input is scaled, or none, []",
        )


class Ia3(PeftMethod):
    """Scales on the outputs or inputs of projections. Step 0 is unchanged."""

    Config = Config
    label = "(IA)³"
    trains = "scales"
    where = "c_attn's output, mlp.c_proj's input"
    count = "L(3d+h)"
    source = "arXiv 2205.05638, peft"
    kind = "IA3"
    options = {"feedforward_modules": "feedforward"}

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """n_out per target and block, n_in for one of `feedforward`."""
        return shape.num_hidden_layers * sum(
            target_shape(shape, name)[0 if name in config.feedforward else 1]
            for name in config.targets
        )
