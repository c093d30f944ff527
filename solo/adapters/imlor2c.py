"""IMLoR2C (Zhao et al., 2025, arXiv 2503.00572): LoR2C whose modules merge and give way to LoRA.

MergeLoR2C's and InjectLoR2C's schedules side by side, in each step the merge first;
solo/adapters/shared/schedule.py has the rules and their source. Start, rank and alpha are LoR2C's.
"""

from dataclasses import dataclass

from solo.adapters.base import Attached
from solo.adapters.shared.layers import check_low_rank
from solo.adapters.shared.schedule import attach_scheduled, check_schedule


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
        check_low_rank(self)
        check_schedule(self)


def attach(model, config: Config, seed: int) -> Attached:
    """Add a module to every block. At step 0 nothing changes: B is zero."""
    return attach_scheduled(model, config, seed)


def n_params(model_config, config: Config) -> int:
    """2 d r per block at the start.

    Every merge takes 2 d r, every injection adds 4 d lora_rank - 2 d r.
    """
    return model_config.n_layer * 2 * model_config.n_embd * config.rank
