"""BLEU and NIST as the E2E challenge's official script computes them with ``-p``.

Source: tuetschek/e2e-metrics, ``metrics/pymteval.py`` (commit 1b9c4d8), itself after NIST's
mteval-v13a.pl. Corpus level, several references, lower-cased, 4-grams for BLEU, 5-grams for NIST.

Why not a library: sacrebleu 2.6.0 and nltk 3.10 give the official BLEU on ordinary outputs (tgen:
0.6593 all three), not on short or empty ones, and no official NIST (tgen: 8.5923, nltk 7.1314).
With tgen's first 100 outputs emptied BLEU is 0.4792 here, 0.4712 in sacrebleu, 0.4720 in nltk;
with them replaced by "Yes ." it is 0.4812, 0.4799, 0.4775. What decides it in the official script:

- an empty text is one token, the empty string: its length is 1, it matches an empty reference;
- a segment of k tokens adds k - n + 1 to the number of n-grams even where that is negative;
- zero matches become 1e-15 (sacrebleu halves a count instead);
- NIST counts the matches with all references of a segment together and compares lengths with
  their mean (nltk keeps the single best reference of each segment).
"""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

BLEU_ORDER = 4
NIST_ORDER = 5
NIST_BETA = -math.log(0.5) / math.log(1.5) ** 2  # penalty 0.5 at two thirds of the length

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
_SPLITS = (
    (re.compile(r"([{-~\[-` -&(-+:-@/])"), r" \1 "),  # ASCII punctuation except ' , - .
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # . and , stay inside numbers
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def tokenize(text: str) -> list[str]:
    """Tokens of one text, mteval-v13a's rules, lower-cased; an empty text gives ``[""]``."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} "
    for pattern, replacement in _SPLITS:
        text = pattern.sub(replacement, text)
    # Lower-casing comes last: it must not turn a letter into something that the rules split.
    return text.lower().split() or [""]


@dataclass(frozen=True)
class Group:
    """The references of one segment, as texts and as tokens, and of every n-gram of orders 1 to 5
    its largest count in one of them."""

    texts: tuple[str, ...]
    tokens: list[list[str]]
    largest: dict[tuple[str, ...], int]


@dataclass(frozen=True)
class Segment:
    """What both scores need of a hypothesis and its references."""

    length: int  # tokens of the hypothesis
    matches: dict[tuple[str, ...], int]  # its n-grams, clipped at the largest count
    group: Group


def _ngrams(tokens: list[str]) -> Iterator[tuple[str, ...]]:
    orders = (zip(*(tokens[i:] for i in range(n)), strict=False) for n in range(1, NIST_ORDER + 1))
    return chain.from_iterable(orders)


def _group(texts: tuple[str, ...]) -> Group:
    tokens = [tokenize(text) for text in texts]
    largest: dict[tuple[str, ...], int] = {}
    for words in tokens:
        for ngram, count in Counter(_ngrams(words)).items():
            if count > largest.get(ngram, 0):
                largest[ngram] = count
    return Group(texts, tokens, largest)


def segments(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], cache: dict | None = None
) -> list[Segment]:
    """Tokenise and count a corpus: hypotheses[i] belongs to the non-empty list references[i].

    cache: where counts of references are kept between systems.
    """
    cache = {} if cache is None else cache
    result = []
    for hypothesis, texts in zip(hypotheses, references, strict=True):
        texts = tuple(texts)
        if texts not in cache:
            cache[texts] = _group(texts)
        group, tokens = cache[texts], tokenize(hypothesis)
        matches = {}
        for ngram, count in Counter(_ngrams(tokens)).items():
            allowed = group.largest.get(ngram)
            if allowed:
                matches[ngram] = min(count, allowed)
        result.append(Segment(len(tokens), matches, group))
    return result


def closest_length(segment: Segment) -> int:
    """Tokens of the reference closest in length, the shorter of two equally close ones."""
    lengths = (len(tokens) for tokens in segment.group.tokens)
    return min((abs(length - segment.length), length) for length in lengths)[1]


def bleu(corpus: Sequence[Segment], smoothing: float = 0.0) -> float:
    """BLEU-4 in [0, 1]; ``smoothing`` is added to matches and counts (1.0: sentence BLEU)."""
    length = sum(segment.length for segment in corpus)
    reference_length = sum(map(closest_length, corpus))
    hits = [0.0] * (NIST_ORDER + 1)
    for segment in corpus:
        for ngram, count in segment.matches.items():
            hits[len(ngram)] += count
    log_precision = 0.0
    for n in range(1, BLEU_ORDER + 1):
        total = length - (n - 1) * len(corpus)
        precision = max(hits[n] + smoothing, 1e-15) / max(total + smoothing, 1e-9)
        log_precision += math.log(precision) / BLEU_ORDER
    penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return penalty * math.exp(log_precision)


def _counts(corpus: Sequence[Segment], cache: dict) -> Counter:
    """How often each n-gram occurs in all references; the empty one: how many words there are."""
    key = ("nist", frozenset(Counter(segment.group.texts for segment in corpus).items()))
    if key not in cache:
        texts = [tokens for segment in corpus for tokens in segment.group.tokens]
        counts = Counter(chain.from_iterable(map(_ngrams, texts)))
        counts[()] = sum(map(len, texts))  # what a single word is a part of
        cache[key] = counts
    return cache[key]


def information(corpus: Sequence[Segment], cache: dict | None = None) -> list[list[float]]:
    """Bits of each segment's matches by order, 1 to 5, by their counts in all references.

    cache: as in :func:`segments`, and the same.
    """
    counts = _counts(corpus, {} if cache is None else cache)
    result = []
    for segment in corpus:
        bits = [0.0] * NIST_ORDER
        for ngram, hits in segment.matches.items():
            bits[len(ngram) - 1] += hits * math.log2(counts[ngram[:-1]] / counts[ngram])
        result.append(bits)
    return result


def nist(corpus: Sequence[Segment], cache: dict | None = None) -> float:
    """NIST-5: information-weighted precision, summed over orders, times a length penalty.

    An order without any n-gram (every output shorter than it) counts 0; the official script
    divides by zero there. cache: as in :func:`segments`, and the same.
    """
    groups = [segment.group.tokens for segment in corpus]
    mean_reference_length = sum(sum(map(len, group)) / len(group) for group in groups)
    bits = [sum(column) for column in zip(*information(corpus, cache), strict=True)]
    length = sum(segment.length for segment in corpus)
    score = 0.0
    for n in range(NIST_ORDER):
        total = length - n * len(corpus)
        score += bits[n] / total if total else 0.0
    ratio = length / mean_reference_length
    return score if ratio >= 1 else math.exp(-NIST_BETA * math.log(ratio) ** 2) * score


def mteval_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], cache: dict | None = None
) -> dict[str, float]:
    """BLEU and NIST of a corpus of texts (not tokens); cache: as in :func:`segments`."""
    cache = {} if cache is None else cache
    corpus = segments(hypotheses, references, cache)
    return {"BLEU": bleu(corpus), "NIST": nist(corpus, cache)}


def segment_scores(corpus: Sequence[Segment]) -> list[dict[str, float]]:
    """BLEU, sentBLEU (add-one smoothing) and NIST of each segment as a corpus of its own."""
    return [
        {"BLEU": bleu([segment]), "sentBLEU": bleu([segment], 1.0), "NIST": nist([segment])}
        for segment in corpus
    ]
