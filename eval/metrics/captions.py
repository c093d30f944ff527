"""ROUGE-L and CIDEr of tokenised corpora, equal to the pycocoevalcap package and faster.

Source: ``rouge/rouge.py`` and ``cider/cider_scorer.py`` of pycocoevalcap 1.2, the code of the
official E2E script. The package takes 3.6 s for a system of 630 outputs and does everything again
for the next one; here the longest common subsequence is found with bit operations, and what
depends on the references alone is computed once. The numbers are the package's to the last bit,
which fixes the order of the sums and the functions that are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics.ngrams import Counts, Numbering, count, find, pair, parts

BETA = 1.2  # weight of recall in ROUGE-L
ORDER = 4  # longest n-gram of CIDEr
SIGMA = 6.0  # width in words of CIDEr's length penalty

Group = tuple[str, ...]  # the tokenised references of one segment
Cache = dict[tuple, object]  # what was computed from references; any number of systems


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


@dataclass(frozen=True)
class _References:
    """What CIDEr needs of the references: the n-grams' numbers, by order the weight of each (the
    last one that of an unseen n-gram), and of every text its segment, vectors and norms."""

    numbering: Numbering
    weights: list[np.ndarray]
    segment: np.ndarray
    vectors: list[_Vectors]


@dataclass(frozen=True)
class _Vectors:
    """TF-IDF of texts, of one order: text, n-gram and value of each entry; each text's norm."""

    text: np.ndarray
    gram: np.ndarray
    value: np.ndarray
    norm: np.ndarray


def _vectors(counts: Counts, weights: np.ndarray, texts: int) -> _Vectors:
    value = counts.count * weights[np.minimum(counts.gram, len(weights) - 1)]
    norm = np.sqrt(np.bincount(counts.text, value**2, texts))
    return _Vectors(counts.text, counts.gram, value, norm)


def _references(groups: tuple[Group, ...]) -> _References:
    texts = [text.split() for group in groups for text in group]
    segment = np.repeat(np.arange(len(groups)), list(map(len, groups)))
    counts, numbering = count(texts, ORDER)
    size, weights, vectors = np.log(float(len(groups))), [], []
    for of_order, keys in zip(counts, numbering.keys, strict=True):
        _, gram = parts(np.unique(pair(segment[of_order.text], of_order.gram)))
        frequency = np.append(np.bincount(gram, minlength=len(keys)), 0)  # in how many segments
        weights.append(size - np.log(np.maximum(frequency, 1).astype(float)))
        vectors.append(_vectors(of_order, weights[-1], len(texts)))
    return _References(numbering, weights, segment, vectors)


def cider(hypotheses: Sequence[str], groups: tuple[Group, ...], cache: Cache) -> list[float]:
    """CIDEr-D of each segment, 0 to 10."""
    if groups not in cache:
        cache[groups] = _references(groups)
    known: _References = cache[groups]
    segment, size = known.segment, len(groups)
    texts = [text.split() for text in hypotheses]
    counts, _ = count(texts, ORDER, known.numbering)
    total = np.zeros(len(segment))  # of each reference
    for of_order, weights, others in zip(counts, known.weights, known.vectors, strict=True):
        mine = _vectors(of_order, weights, size)
        place, seen = find(pair(segment[others.text], others.gram), pair(mine.text, mine.gram))
        weight = others.value[seen]
        product = np.minimum(mine.value[place[seen]], weight) * weight
        product = np.bincount(others.text[seen], product, len(segment))
        norm = mine.norm[segment] * others.norm
        total += np.divide(product, norm, out=np.zeros(len(norm)), where=norm > 0)
    bigrams = np.array([max(len(words) - 1, 0) for words in texts])
    lengths = (len(text.split()) for group in groups for text in group)
    delta = bigrams[segment] - np.array([max(length - 1, 0) for length in lengths])
    total *= np.exp(-(delta**2) / (2 * SIGMA**2))
    mean = np.bincount(segment, total, size) / np.bincount(segment, minlength=size)
    return (mean / ORDER * 10.0).tolist()


def rouge_and_cider(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], cache: Cache | None = None
) -> dict[str, tuple[float, list[float]]]:
    """ROUGE_L and CIDEr: score of the corpus, and of each segment.

    cache: shared between systems with the same references. At least one reference needs a word.
    """
    groups = tuple(map(tuple, references))
    rouge = [rouge_l(*pair) for pair in zip(hypotheses, groups, strict=True)]
    consensus = cider(hypotheses, groups, {} if cache is None else cache)
    found = {"ROUGE_L": rouge, "CIDEr": consensus}
    return {name: (float(np.mean(np.array(values))), values) for name, values in found.items()}
