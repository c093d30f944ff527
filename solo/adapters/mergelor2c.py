"""MergeLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose modules merge in training.

At intervals two adjacent modules with small feature spaces become one around both their blocks;
solo/adapters/shared/schedule.py has the rules and their source. Start, rank and alpha are LoR2C's.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.layers import check_low_rank
from solo.adapters.shared.schedule import attach_scheduled, check_schedule


@dataclass(frozen=True)
class Config:
    """rank r, alpha (a module's scale is alpha / rank), dropout on its input.

    merges: how many; null: a quarter of the blocks. max_span: the most blocks that a module may
    span; null: no limit. top_k: k of the feature space. interval: steps between two merges; null: a
    quarter of training divided by their number.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    merges: int | None = None
    max_span: int | None = None
    top_k: int = 0
    interval: int | None = None

    def __post_init__(self):
        check_low_rank(self)
        check_schedule(self)


def attach(model, config: Config, seed: int) -> Attached:
    """Add a module to every block. At step 0 nothing changes: B is zero."""
    return attach_scheduled(model, config, seed)


def n_params(model_config, config: Config) -> int:
    """2 d r per block at the start, and 2 d r less after every merge."""
    return model_config.n_layer * 2 * model_config.n_embd * config.rank
