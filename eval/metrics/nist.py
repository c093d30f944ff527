"""NIST-5 as the official script has it; eval/metrics/mteval.py says what decides about it."""

import math

import numpy as np

from .metric import Measured, Metric
from .mteval import NIST_ORDER as ORDER
from .mteval import Matches
from .texts import Texts

BETA = -math.log(0.5) / math.log(1.5) ** 2  # penalty 0.5 at two thirds of the length


def nist(matches: Matches) -> float:
    """NIST-5: information-weighted precision, summed over orders, times a length penalty.

    An order without any n-gram (every output shorter than it) counts 0; the official script
    divides by zero there.
    """
    length, score = int(matches.length.sum()), 0.0
    for n, bits in enumerate(matches.bits.sum(0).tolist()):
        total = length - n * len(matches.length)
        score += bits / total if total else 0.0
    ratio = length / float(matches.mean.sum())
    return score if ratio >= 1 else math.exp(-BETA * math.log(ratio) ** 2) * score


def measure(texts: Texts) -> list[Measured]:
    return [
        Measured(
            nist(whole),
            np.column_stack([whole.length, whole.mean, whole.bits]),
            {"NIST": [*map(nist, alone)]},
        )
        for whole, alone in zip(texts.mteval, texts.mteval_by_segment, strict=True)
    ]


def from_sums(sums: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """The information of n-grams stays that of all references, whatever is resampled."""
    length = sums[:, 0]
    totals = length[:, None] - np.outer(segments, np.arange(ORDER))
    score = np.where(totals == 0, 0.0, sums[:, 2:] / totals).sum(1)
    ratio = np.minimum(length / sums[:, 1], 1.0)
    return np.exp(-BETA * np.log(ratio) ** 2) * score


METRIC = Metric(
    name="NIST",
    title="NIST",
    scale=1,
    digits=3,
    limits=(-1e12, 1e12),  # of outputs of few words it can be negative
    signature="5-gram,tok:mteval-v13a",
    columns=(
        "words",
        "mean reference words",
        *(f"information of {n}-gram matches" for n in range(1, ORDER + 1)),
    ),
    from_sums=from_sums,
    measure=measure,
    optional=False,
)
