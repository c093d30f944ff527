"""Houlsby adapters (Houlsby et al., 2019, arXiv 1902.00751): two bottlenecks in every block.

y + W_up g(W_down y + b_down) + b_up on the output y of the attention's and of the MLP's projection,
before it joins the residual stream (figure 2 of the paper). Both matrices are drawn from a normal
distribution with standard deviation 0.01, truncated at two of them, biases zero: a near-identity
start (section 3.6; the default of the authors' code is 0.001). g is GELU in the tanh form, as in
that code (google-research/adapter-bert) and in GPT-2. The paper trains the LayerNorms too; here
they stay frozen.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo.adapters.base import Hook, HookedMethod, generator
from solo.backbones import backbone_of, blocks_of, projection_of
from solo.options import check

STD = 0.01


@dataclass(frozen=True)
class Config:
    """size m of the bottlenecks (8 to 256 in the paper; 64 is its fixed size)."""

    size: int = 64

    def __post_init__(self):
        check(self.size >= 1, f"adapter.size is {self.size}; it must be at least 1")


class Bottleneck(nn.Module):
    """(B, L, d) -> (B, L, d) through m features."""

    def __init__(self, width: int, size: int, draws: torch.Generator):
        super().__init__()
        self.down, self.up = (nn.Parameter(torch.empty(s)) for s in ((size, width), (width, size)))
        for weight in (self.down, self.up):
            nn.init.trunc_normal_(weight, std=STD, a=-2 * STD, b=2 * STD, generator=draws)
        self.down_bias = nn.Parameter(torch.zeros(size))
        self.up_bias = nn.Parameter(torch.zeros(width))

    def forward(self, y: Tensor) -> Tensor:
        z = F.gelu(F.linear(y, self.down, self.down_bias), approximate="tanh")  # (B, L, m)
        return F.linear(z, self.up, self.up_bias)


class Houlsby(HookedMethod):
    """Bottlenecks on the outputs of attention and MLP. Step 0 is near the backbone."""

    Config = Config
    label = "Houlsby adapters"
    trains = "bottleneck of m"
    where = "after attention, after MLP"
    count = "2L(2dm+m+d)"
    source = "arXiv 1902.00751"
    identity_at_start = False

    def __init__(self, model, config: Config, seed: int):
        backbone, draws = backbone_of(model.config), generator(seed)
        d, blocks = model.config.hidden_size, blocks_of(model)
        adapters = nn.ModuleList(
            nn.ModuleDict({place: Bottleneck(d, config.size, draws) for place in backbone.OUTPUTS})
            for _ in blocks
        )
        hooks = [
            _hook(projection_of(model, block, name), adapter[place])
            for block, adapter in zip(blocks, adapters, strict=True)
            for place, name in backbone.OUTPUTS.items()
        ]
        super().__init__(model, adapters, hooks)

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """Two bottlenecks of 2 d m + m + d per block."""
        d, m = shape.hidden_size, config.size
        return shape.num_hidden_layers * 2 * (2 * d * m + m + d)


def _hook(linear: nn.Module, bottleneck: Bottleneck) -> Hook:
    return Hook(linear, after=lambda x, y: y + bottleneck(y))
