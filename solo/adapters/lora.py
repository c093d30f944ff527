"""LoRA on the query and value projections (Hu et al., 2021), with loralib's semantics.

W x + (alpha / r) B A dropout(x), on the query and value thirds of the fused c_attn, each with its
own A and B; A Kaiming-uniform(a = sqrt 5), B zero; one dropout draw feeds both thirds (loralib:
`MergedLinear` with enable_lora [True, False, True], as examples/NLG/src/model.py uses it).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from solo.adapters.base import Attached, Hook, check, generator, install


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the update's scale is alpha / rank), dropout on the update's input."""

    rank: int = 4
    alpha: float = 32.0
    dropout: float = 0.1

    def __post_init__(self):
        check(self.rank >= 1, f"adapter.rank is {self.rank}; it must be at least 1")
        check(self.alpha > 0, f"adapter.alpha is {self.alpha}; it must be above 0")
        check(0 <= self.dropout < 1, f"adapter.dropout is {self.dropout}; it must be in [0, 1)")


class QueryValueUpdate(nn.Module):
    """The update of one block's c_attn: (B, L, d) -> (B, L, 3d), its key third zero."""

    def __init__(self, n_embd: int, config: Config, draws: torch.Generator):
        super().__init__()
        self.dropout = nn.Dropout(config.dropout)
        self.scale = config.alpha / config.rank
        for name in ("q", "v"):
            a = torch.empty(config.rank, n_embd)
            nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=draws)
            self.register_parameter(f"{name}_a", nn.Parameter(a))
            self.register_parameter(f"{name}_b", nn.Parameter(torch.zeros(n_embd, config.rank)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.dropout(x)
        query = F.linear(F.linear(x, self.q_a), self.q_b) * self.scale  # (B, L, d)
        value = F.linear(F.linear(x, self.v_a), self.v_b) * self.scale  # (B, L, d)
        return torch.cat([query, torch.zeros_like(query), value], dim=-1)  # (B, L, 3d)


def attach(model, config: Config, seed: int) -> Attached:
    """Add an update to every block's c_attn. At step 0 the output is unchanged (B is zero)."""
    draws = generator(seed)
    d = model.config.n_embd
    updates = nn.ModuleList(QueryValueUpdate(d, config, draws) for _ in model.transformer.h)
    hooks = []
    for block, update in zip(model.transformer.h, updates, strict=True):

        def add_update(x, y, update=update):
            return y + update(x)

        hooks.append(Hook(block.attn.c_attn, after=add_update))
    return install(model, updates, hooks)


def n_params(model_config, config: Config) -> int:
    """Two updates of two d x r matrices per block."""
    return model_config.n_layer * 4 * model_config.n_embd * config.rank
