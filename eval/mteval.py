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
from collections.abc import Sequence
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
    return [token.lower() for token in re.sub(r"\s+", " ", text).strip().split(" ")]


@dataclass
class Segment:
    """What both scores need of a hypothesis and its references."""

    length: int  # tokens of the hypothesis
    reference_lengths: list[int]
    reference_ngrams: list[Counter]  # n-grams of orders 1 to 5 with their counts, per reference
    matches: dict[tuple[str, ...], int]  # n-grams of the hypothesis, clipped at the largest count


def _ngrams(tokens: list[str]) -> Counter:
    orders = (zip(*(tokens[i:] for i in range(n)), strict=False) for n in range(1, NIST_ORDER + 1))
    return Counter(chain.from_iterable(orders))


def _segment(hypothesis: list[str], references: list[list[str]]) -> Segment:
    ngrams = [_ngrams(reference) for reference in references]
    matches = {}
    for ngram, count in _ngrams(hypothesis).items():
        allowed = max(counts.get(ngram, 0) for counts in ngrams)
        if allowed:
            matches[ngram] = min(count, allowed)
    return Segment(len(hypothesis), [len(tokens) for tokens in references], ngrams, matches)


def segments(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> list[Segment]:
    """Tokenise and count a corpus: hypotheses[i] belongs to the non-empty list references[i]."""
    return [
        _segment(tokenize(hypothesis), [tokenize(reference) for reference in group])
        for hypothesis, group in zip(hypotheses, references, strict=True)
    ]


def bleu(corpus: Sequence[Segment], smoothing: float = 0.0) -> float:
    """BLEU-4 in [0, 1]; ``smoothing`` is added to matches and counts (1.0: sentence BLEU)."""
    length = sum(segment.length for segment in corpus)
    reference_length = 0
    hits = [0.0] * (NIST_ORDER + 1)
    for segment in corpus:
        # the reference closest in length, the shorter of two equally close ones
        distances = ((abs(n - segment.length), n) for n in segment.reference_lengths)
        reference_length += min(distances)[1]
        for ngram, count in segment.matches.items():
            hits[len(ngram)] += count
    log_precision = 0.0
    for n in range(1, BLEU_ORDER + 1):
        total = length - (n - 1) * len(corpus)
        precision = max(hits[n] + smoothing, 1e-15) / max(total + smoothing, 1e-9)
        log_precision += math.log(precision) / BLEU_ORDER
    penalty = 1.0 if length > reference_length else math.exp(1 - reference_length / length)
    return penalty * math.exp(log_precision)


def nist(corpus: Sequence[Segment]) -> float:
    """NIST-5: information-weighted precision, summed over orders, times a length penalty.

    An order without any n-gram (every output shorter than it) counts 0; the official script
    divides by zero there.
    """
    counts = Counter()
    mean_reference_length = 0.0
    for segment in corpus:
        for ngrams in segment.reference_ngrams:
            counts.update(ngrams)
        counts[()] += sum(segment.reference_lengths)  # what a single word is a part of
        mean_reference_length += sum(segment.reference_lengths) / len(segment.reference_lengths)

    information = [0.0] * (NIST_ORDER + 1)
    for segment in corpus:
        for ngram, hits in segment.matches.items():
            information[len(ngram)] += hits * math.log2(counts[ngram[:-1]] / counts[ngram])

    length = sum(segment.length for segment in corpus)
    score = 0.0
    for n in range(1, NIST_ORDER + 1):
        total = length - (n - 1) * len(corpus)
        score += information[n] / total if total else 0.0
    ratio = length / mean_reference_length
    return score if ratio >= 1 else math.exp(-NIST_BETA * math.log(ratio) ** 2) * score


def mteval_scores(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> dict[str, float]:
    """BLEU and NIST of a corpus of texts (not tokens)."""
    corpus = segments(hypotheses, references)
    return {"BLEU": bleu(corpus), "NIST": nist(corpus)}
