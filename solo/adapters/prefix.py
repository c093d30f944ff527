"""Prefix tuning (Li and Liang, 2021, arXiv 2101.00190): trained keys and values in every layer.

P vectors stand before the keys and P before the values of each layer's attention; every token sees
them. They are trained directly, as by peft's default; the paper trains them through an MLP that it
drops afterwards. They start as peft's do, standard normal. They cannot come from peft itself, whose
prefix is a past that the caller has to hand over: see prefixes.py.
"""

from dataclasses import dataclass

import torch
from torch import nn

from solo.adapters.base import Attached, check, generator
from solo.adapters.shared.prefixes import attach_prefix


@dataclass(frozen=True)
class Config:
    """length P of the prefix (the paper and its code: 5 on E2E)."""

    length: int = 5

    def __post_init__(self):
        check(self.length >= 1, f"adapter.length is {self.length}; it must be at least 1")


class Prefix(nn.Module):
    """keys and values, (n_layer, P, d) each."""

    def __init__(self, n_layer: int, length: int, n_embd: int, draws: torch.Generator):
        super().__init__()
        shape = (n_layer, length, n_embd)
        self.keys = nn.Parameter(torch.randn(shape, generator=draws))
        self.values = nn.Parameter(torch.randn(shape, generator=draws))


def attach(model, config: Config, seed: int) -> Attached:
    """Put the prefix before every layer's input."""
    n_layer = model.config.n_layer
    prefix = Prefix(n_layer, config.length, model.config.n_embd, generator(seed))
    states = [lambda i=i: (prefix.keys[i], prefix.values[i]) for i in range(n_layer)]
    return attach_prefix(model, prefix, config.length, states)


def n_params(model_config, config: Config) -> int:
    """2 P d per block."""
    return model_config.n_layer * 2 * config.length * model_config.n_embd
