"""ShareLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose A is shared, with B per block.

    y = Block(x) + (alpha / r) B_i A dropout(x)          A (r, d), B_i (d, r)

The authors' code (Oblivioniss/LoR2C, run_glue_lor2c.py) shares one A among all blocks and can be
given groups of any blocks; here a group is `group_size` neighbours. Start and defaults: LoR2C's.
"""

from dataclasses import dataclass

from solo.adapters.base import generator
from solo.adapters.shared.layers import Residuals, check_low_rank, residuals
from solo.options import check


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the connection's scale is alpha / rank), dropout on the block's input.

    group_size: how many neighbouring blocks share an A; it divides their number. null: all do.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    group_size: int | None = None

    def __post_init__(self):
        check_low_rank(self)


def _group_size(shape, config: Config) -> int:
    n_layer = shape.num_hidden_layers
    size = n_layer if config.group_size is None else config.group_size
    check(
        size >= 1 and n_layer % size == 0,
        f"adapter.group_size is {size}; it must divide the number of blocks, {n_layer}",
    )
    return size


class ShareLor2c(Residuals):
    """LoR2C with A shared by groups of neighbouring blocks. Step 0 is unchanged: B is zero."""

    Config = Config
    label = "ShareLoR2C"
    trains = "B around a block, A shared by g blocks"
    where = "every block"
    count = "(L/g + L)dr"
    source = "arXiv 2503.00572"

    def __init__(self, model, config: Config, seed: int):
        factors = (config.rank, config.alpha, config.dropout, generator(seed))
        group_size = _group_size(model.config, config)
        super().__init__(model, residuals(model.config, *factors, group_size))

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """d r per group and d r per block."""
        groups = shape.num_hidden_layers // _group_size(shape, config)
        return (groups + shape.num_hidden_layers) * shape.hidden_size * config.rank
