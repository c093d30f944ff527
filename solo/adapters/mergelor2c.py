"""MergeLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose modules merge in training.

At intervals two adjacent modules with small feature spaces become one around both their blocks;
solo/adapters/shared/schedule.py has the rules and their source. Start, rank and alpha are LoR2C's.
"""

from dataclasses import dataclass

from solo.adapters.shared.schedule import ScheduledResiduals, check_schedule


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
        check_schedule(self)


class MergeLor2c(ScheduledResiduals):
    """LoR2C whose neighbouring connections merge in training."""

    Config = Config
    label = "MergeLoR2C"
    trains = "lor2c whose m smallest pairs of neighbours become one"
    where = "every block, later ranges of blocks"
    count = "L·2dr, at the end (L-m)·2dr"
    source = "arXiv 2503.00572"
