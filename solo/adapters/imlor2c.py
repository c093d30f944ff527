"""IMLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose connections merge and give way.

MergeLoR2C's and InjectLoR2C's schedules side by side, in each step the merge first;
solo/adapters/shared/schedule.py has the rules and their source. Start, rank and alpha are LoR2C's.
"""

from dataclasses import dataclass

from solo.adapters.shared.schedule import Injections, Merges, ScheduledResiduals


@dataclass(frozen=True)
class Config(Merges, Injections):
    """The options of both."""


class ImLor2c(ScheduledResiduals):
    """LoR2C whose neighbouring connections merge, and that gives others up for LoRA."""

    Config = Config
    label = "IMLoR2C"
    trains = "lor2c that does both"
    where = "as both"
    count = "L·2dr, at the end (L-m-i)·2dr + i·4dr'"
    source = "arXiv 2503.00572"
