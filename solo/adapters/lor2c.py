"""LoR2C (Zhao et al., 2025, arXiv 2503.00572): a low-rank residual connection around every block.

    y = Block(x) + (alpha / r) B A dropout(x)          A (r, d), B (d, r)

A is Kaiming-uniform(a = sqrt 5), B zero, as in the authors' code (Oblivioniss/LoR2C, mslora.py).
Rank and alpha are those of its script for GLUE with RoBERTa-base, whose shape is GPT-2 S's; dropout
is that of its script for Llama (GLUE: 0.1).
"""

from dataclasses import dataclass

from solo.adapters.base import Attached, generator
from solo.adapters.shared.layers import attach_residuals, check_low_rank, residuals


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the connection's scale is alpha / rank), dropout on the block's input."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05

    def __post_init__(self):
        check_low_rank(self)


def attach(model, config: Config, seed: int) -> Attached:
    """Add a connection to every block. At step 0 nothing changes: B is zero."""
    factors = (config.rank, config.alpha, config.dropout, generator(seed))
    return attach_residuals(model, residuals(model.config, *factors))


def n_params(model_config, config: Config) -> int:
    """2 d r per block."""
    return model_config.n_layer * 2 * model_config.n_embd * config.rank
