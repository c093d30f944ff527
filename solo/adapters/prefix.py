"""Prefix tuning (Li and Liang, 2021, arXiv 2101.00190): trained keys and values in every layer.

P vectors stand before the keys and P before the values of each layer's attention; every token sees
them. They are trained directly, as by peft's default; the paper trains them through an MLP that it
drops afterwards. They start as peft's do, standard normal. They cannot come from peft itself, whose
prefix is a past that the caller has to hand over: see prefixes.py.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solo.adapters.base import generator
from solo.adapters.shared.prefixes import PrefixMethod
from solo.options import check


@dataclass(frozen=True)
class Config:
    """length P of the prefix (the paper and its code: 5 on E2E)."""

    length: int = 5

    def __post_init__(self):
        check(self.length >= 1, f"adapter.length is {self.length}; it must be at least 1")


class Prefix(nn.Module):
    """keys and values, (n_layer, P, d) each."""

    def __init__(self, n_layer: int, length: int, width: int, draws: torch.Generator):
        super().__init__()
        shape = (n_layer, length, width)
        self.keys = nn.Parameter(torch.randn(shape, generator=draws))
        self.values = nn.Parameter(torch.randn(shape, generator=draws))


class PrefixTuning(PrefixMethod):
    """Trained keys and values before the input of every layer."""

    Config = Config
    label = "Prefix tuning"
    trains = "P keys and values"
    where = "every attention"
    count = "2LPd"
    source = "arXiv 2101.00190"

    def __init__(self, model, config: Config, seed: int):
        n_layer, width = model.config.num_hidden_layers, model.config.hidden_size
        prefix = Prefix(n_layer, config.length, width, generator(seed))
        super().__init__(model, prefix, config.length)

    def of_layer(self, i: int) -> tuple[Tensor, Tensor]:
        return self.module.keys[i], self.module.values[i]

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """2 P d per block."""
        return shape.num_hidden_layers * 2 * config.length * shape.hidden_size
