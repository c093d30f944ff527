"""InjectLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose modules give way to LoRA.

At intervals the module with the largest feature space is removed, and LoRA on the query and value
of its block takes its place; solo/adapters/shared/schedule.py has the rules and their source.
Start, rank and alpha are LoR2C's.
"""

from dataclasses import dataclass

from solo.adapters.shared.schedule import ScheduledResiduals, check_schedule


@dataclass(frozen=True)
class Config:
    """rank r, alpha (a module's scale is alpha / rank), dropout on its input, and on LoRA's.

    injections: how many; null: a quarter of the blocks. lora_rank, lora_alpha: of the LoRA that
    comes; null: half of rank. top_k: k of the feature space. interval: steps between two
    injections; null: a quarter of training divided by their number.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    injections: int | None = None
    lora_rank: int | None = None
    lora_alpha: float = 16.0
    top_k: int = 0
    interval: int | None = None

    def __post_init__(self):
        check_schedule(self)


class InjectLor2c(ScheduledResiduals):
    """LoR2C that gives connections up for LoRA in training."""

    Config = Config
    label = "InjectLoR2C"
    trains = "lor2c whose i largest give way to lora of rank r'"
    where = "every block, later query and value thirds of i"
    count = "L·2dr, at the end (L-i)·2dr + i·4dr'"
    source = "arXiv 2503.00572"
