"""FourierFT (Gao et al., 2024, arXiv 2405.03003), by the peft library.

The update of a weight is scaling times the real part of the inverse two-dimensional Fourier
transform of a matrix that is zero but for `frequencies` trained coefficients, at places drawn from
the seed, the same in every block. They start standard normal, as in the paper.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached, check
from solo.adapters.shared.from_peft import ADAPTER, inject
from solo.adapters.shared.targets import check_targets, projection_shape


@dataclass(frozen=True)
class Config:
    """frequencies per weight, scaling, targets; zero_start: coefficients at zero first."""

    frequencies: int = 1000
    scaling: float = 150.0
    zero_start: bool = False
    targets: tuple[str, ...] = ("c_attn",)

    def __post_init__(self):
        check(
            self.frequencies >= 1,
            f"adapter.frequencies is {self.frequencies}; it must be at least 1",
        )
        object.__setattr__(self, "targets", check_targets(self.targets))


def attach(model, config: Config, seed: int) -> Attached:
    """Put the coefficients on the targets. ValueError if a weight has fewer places."""
    for name in config.targets:
        n_in, n_out = projection_shape(model.config, name)
        check(
            config.frequencies <= n_in * n_out,
            f"adapter.frequencies is {config.frequencies}; {name} has only {n_in * n_out} entries",
        )
    options = {
        "n_frequency": config.frequencies,
        "scaling": config.scaling,
        "init_weights": config.zero_start,
        "random_loc_seed": seed,
    }
    attached = inject(
        model, "FOURIERFT", config.targets, options, seed, identity_at_start=config.zero_start
    )
    attached.fixed |= {
        name: layer.indices[ADAPTER]
        for name, layer in model.named_modules()
        if hasattr(layer, "fourierft_spectrum")
    }
    return attached


def n_params(model_config, config: Config) -> int:
    """The coefficients, per target and block."""
    return model_config.n_layer * len(config.targets) * config.frequencies
