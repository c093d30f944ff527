"""IMLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose modules merge and give way to LoRA.

MergeLoR2C's and InjectLoR2C's schedules side by side, in each step the merge first;
solo/adapters/shared/schedule.py has the rules and their source. Start, rank and alpha are LoR2C's.
"""

from dataclasses import dataclass

from solo.adapters.shared.schedule import ScheduledResiduals, check_schedule


@dataclass(frozen=True)
class Config:
    """rank r, alpha (a module's scale is alpha / rank), dropout on its input, and on LoRA's.

    merges, injections: how many; null: a quarter of the blocks. max_span: the most blocks that a
    module may span; null: no limit. lora_rank, lora_alpha: of the LoRA that comes; null: half of
    rank. top_k: k of the feature space. interval: steps between two events of a kind; null: a
    quarter of training divided by their number.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    merges: int | None = None
    max_span: int | None = None
    injections: int | None = None
    lora_rank: int | None = None
    lora_alpha: float = 16.0
    top_k: int = 0
    interval: int | None = None

    def __post_init__(self):
        check_schedule(self)


class ImLor2c(ScheduledResiduals):
    """LoR2C whose neighbouring connections merge, and that gives others up for LoRA."""

    Config = Config
    label = "IMLoR2C"
    trains = "lor2c that does both"
    where = "as both"
    count = "L·2dr, at the end (L-m-i)·2dr + i·4dr'"
    source = "arXiv 2503.00572"
