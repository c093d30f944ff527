"""MergeLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose connections merge in training.

At intervals two adjacent connections with small feature spaces become one around both their blocks;
solo/adapters/shared/schedule.py has the rules and their source. Start, rank and alpha are LoR2C's.
"""

from solo.adapters.shared.schedule import Merges, ScheduledResiduals


class MergeLor2c(ScheduledResiduals):
    """LoR2C whose neighbouring connections merge in training."""

    Config = Merges
    label = "MergeLoR2C"
    trains = "lor2c whose m smallest pairs of neighbours become one"
    where = "every block, later ranges of blocks"
    count = "L·2dr, at the end (L-m)·2dr"
    source = "arXiv 2503.00572"
