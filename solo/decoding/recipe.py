"""The search's settings; solo/decoding/rules.py says what they do."""

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class BeamConfig:
    """Settings of the search; the defaults are those of LoRA's E2E recipe.

    beam: candidates kept per context. length_penalty: exponent of the length, 0 for none.
    no_repeat_ngram: no n-gram of that many generated tokens occurs twice; 0 turns the rule off.
    max_new_tokens: longest output, end token included. batch_size: contexts decoded together (None:
    16 on a CPU, 64 elsewhere); it changes speed and memory, not the output (but for rounding).

    Raises ValueError for a value outside its range.
    """

    beam: int = 10
    length_penalty: float = 0.8
    no_repeat_ngram: int = 4
    max_new_tokens: int = 64
    batch_size: int | None = None

    def __post_init__(self):
        lowest = {"beam": 1, "no_repeat_ngram": 0, "max_new_tokens": 1, "batch_size": 1}
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is None and name == "batch_size":
                continue
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(f"{name}={value!r}: give a whole number of at least {low}")
        penalty = self.length_penalty
        number = isinstance(penalty, (int, float)) and not isinstance(penalty, bool)
        # Below 0 the bound of solo/decoding/search.py would not hold, and longer outputs would be
        # punished; far above 1 the length to its power leaves no digits of a score.
        if not number or not 0 <= penalty <= 10:
            raise ValueError(f"length_penalty={penalty!r}: give a number from 0 (no penalty) to 10")

    def contexts(self, device: torch.device) -> int:
        """How many contexts are decoded together there: an accelerator wants more at a time."""
        return self.batch_size or (16 if device.type == "cpu" else 64)
