"""LoR2C (Zhao et al., 2025, arXiv 2503.00572): a low-rank residual connection around every block.

    y = Block(x) + (alpha / r) B A dropout(x)          A (r, d), B (d, r)

A is Kaiming-uniform(a = sqrt 5), B zero, as in the authors' code (Oblivioniss/LoR2C, mslora.py).
Rank and alpha are those of its script for GLUE with RoBERTa-base, whose shape is GPT-2 S's; dropout
is that of its script for Llama (GLUE: 0.1).
"""

from dataclasses import dataclass

from solo.adapters.base import generator
from solo.adapters.shared.layers import Residuals, check_low_rank, residuals


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the connection's scale is alpha / rank), dropout on the block's input."""

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05

    def __post_init__(self):
        check_low_rank(self)


class Lor2c(Residuals):
    """Low-rank residual connections around every block. Step 0 is unchanged: B is zero."""

    Config = Config
    label = "LoR2C"
    trains = "B A around a block"
    where = "every block"
    count = "L·2dr"
    source = "arXiv 2503.00572"

    def __init__(self, model, config: Config, seed: int):
        factors = (config.rank, config.alpha, config.dropout, generator(seed))
        super().__init__(model, residuals(model.config, *factors))

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """2 d r per block."""
        return shape.num_hidden_layers * 2 * shape.hidden_size * config.rank
