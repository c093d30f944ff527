"""InjectLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose connections give way to LoRA.

At intervals the module with the largest feature space is removed, and LoRA on the query and value
of its block takes its place; solo/adapters/shared/schedule.py has the rules and their source.
Start, rank and alpha are LoR2C's.
"""

from solo.adapters.shared.schedule import Injections, ScheduledResiduals


class InjectLor2c(ScheduledResiduals):
    """LoR2C that gives connections up for LoRA in training."""

    Config = Injections
    label = "InjectLoR2C"
    trains = "lor2c whose i largest give way to lora of rank r'"
    where = "every block, later query and value thirds of i"
    count = "L·2dr, at the end (L-i)·2dr + i·4dr'"
    source = "arXiv 2503.00572"
