"""BLEU-4 as the official script has it; eval/metrics/mteval.py says what decides about it."""

import math

import numpy as np

from .metric import Measured, Metric
from .mteval import Matches
from .texts import Texts

ORDER = 4


def bleu(matches: Matches, smoothing: float = 0.0) -> float:
    """BLEU-4 in [0, 1]; ``smoothing`` is added to matches and counts (1.0: sentence BLEU)."""
    length, reference_length = int(matches.length.sum()), int(matches.closest.sum())
    log_precision = 0.0
    for n, hits in enumerate(matches.hits.sum(0)[:ORDER]):
        total = length - n * len(matches.length)
        precision = max(hits + smoothing, 1e-15) / max(total + smoothing, 1e-9)
        log_precision += math.log(precision) / ORDER
    penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return penalty * math.exp(log_precision)


def measure(texts: Texts) -> list[Measured]:
    return [
        Measured(
            bleu(whole),
            np.column_stack([whole.length, whole.closest, whole.hits[:, :ORDER]]),
            {"BLEU": [*map(bleu, alone)], "sentBLEU": [bleu(segment, 1.0) for segment in alone]},
        )
        for whole, alone in zip(texts.mteval, texts.mteval_by_segment, strict=True)
    ]


def from_sums(sums: np.ndarray, segments: np.ndarray) -> np.ndarray:
    totals = sums[:, :1] - np.outer(segments, np.arange(ORDER))
    precisions = np.maximum(sums[:, 2:], 1e-15) / np.maximum(totals, 1e-9)
    penalty = np.minimum(1.0, np.exp(1 - sums[:, 1] / sums[:, 0]))
    return penalty * np.exp(np.log(precisions).mean(1))


METRIC = Metric(
    name="BLEU",
    title="BLEU",
    scale=100,
    digits=2,
    limits=(0, 1e12),  # above 1 where most outputs have less than four words (advice.py)
    signature="4-gram,tok:mteval-v13a,smooth:1e-15",
    columns=("words", "reference words", *(f"{n}-gram matches" for n in range(1, ORDER + 1))),
    from_sums=from_sums,
    measure=measure,
    optional=False,
)
