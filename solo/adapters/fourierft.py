"""FourierFT (Gao et al., 2024, arXiv 2405.03003), by the peft library.

The update of a weight is scaling times the real part of the inverse two-dimensional Fourier
transform of a matrix that is zero but for `frequencies` trained coefficients, at places drawn from
the seed, the same in every block. They start standard normal, as in the paper.
"""

from dataclasses import dataclass

from solo.adapters.shared.from_peft import ADAPTER, PeftConfig, PeftMethod
from solo.options import check


@dataclass(frozen=True)
class Config(PeftConfig):
    """frequencies per weight, scaling, targets; zero_start: coefficients at zero first."""

    frequencies: int = 1000
    scaling: float = 150.0
    zero_start: bool = False
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        super().__post_init__()
        check(
            self.frequencies >= 1,
            f"adapter.frequencies is {self.frequencies}; it must be at least 1",
        )


class FourierFt(PeftMethod):
    """Updates of weights whose Fourier spectrum has few coefficients that are not zero.

    Attaching raises ValueError if a weight has fewer places than there are coefficients.
    """

    Config = Config
    label = "FourierFT"
    trains = "n Fourier coefficients"
    where = "c_attn"
    count = "L n per target"
    source = "arXiv 2405.03003, peft"
    kind = "FOURIERFT"
    options = {"n_frequency": "frequencies", "scaling": "scaling", "init_weights": "zero_start"}
    seed_option = "random_loc_seed"

    def __init__(self, model, config: Config, seed: int):
        super().__init__(model, config, seed)
        self.identity_at_start = config.zero_start
        self.fixed |= {
            name: layer.indices[ADAPTER]
            for name, layer in model.named_modules()
            if hasattr(layer, "fourierft_spectrum")
        }

    @staticmethod
    def check_target(config: Config, name: str, n_in: int, n_out: int) -> None:
        check(
            config.frequencies <= n_in * n_out,
            f"adapter.frequencies is {config.frequencies}; {name} has only {n_in * n_out} entries",
        )

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """The coefficients, per target and block."""
        return shape.num_hidden_layers * len(config.targets) * config.frequencies
