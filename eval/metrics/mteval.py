"""The matching n-grams of BLEU and NIST, as the E2E challenge's official script counts them
(``-p``).

Source: tuetschek/e2e-metrics, ``metrics/pymteval.py`` (commit 1b9c4d8), itself after NIST's
mteval-v13a.pl. Corpus level, several references, lower-cased, 4-grams for BLEU, 5-grams for NIST.

Why not a library: sacrebleu 2.6.0 and nltk 3.10.4 give the official BLEU on ordinary outputs (tgen:
0.6593 all three), not on short or empty ones, and no official NIST (tgen: 8.5923, nltk 7.1314;
sacrebleu has none). With tgen's first 100 outputs emptied BLEU is 0.6004 officially and here,
0.5937 in sacrebleu, 0.5895 in nltk; with them replaced by "Yes ." it is 0.6016, 0.6005, 0.5983
(docs/scores.md). What decides it in the official script:

- an empty text is one token, the empty string: its length is 1, it matches an empty reference;
- a segment of k tokens adds k - n + 1 to the number of n-grams even where that is negative (at
  least 0 in sacrebleu, at least 1 in nltk);
- zero matches become 1e-15 (sacrebleu takes 1/2, 1/4, ... of a match instead);
- NIST counts the matches with all references of a segment together and compares lengths with
  their mean (nltk takes, order by order, the single best reference of each segment).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .ngrams import Numbering, count, find, pair, parts

NIST_ORDER = 5  # the longest n-gram; BLEU takes four of them

_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))
# ASCII punctuation except ' , - . stands apart.
_APART = {ord(c): f" {c} " for c in map(chr, range(128)) if re.match(r"[{-~\[-` -&(-+:-@/]", c)}
_SPLITS = (
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),  # . and , stay inside numbers
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)


def tokenize(text: str) -> list[str]:
    """Tokens of one text, mteval-v13a's rules, lower-cased; an empty text gives ``[""]``."""
    text = text.replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        text = text.replace(entity, character)
    text = f" {text} ".translate(_APART)
    for pattern, replacement in _SPLITS:
        text = pattern.sub(replacement, text)
    # Lower-casing comes last: it must not turn a letter into something that the rules split.
    return text.lower().split() or [""]


@dataclass(frozen=True)
class References:
    """What the references of a corpus tell, whatever is compared with them.

    lengths[i]: words of each reference of segment i. By order: `largest`, the keys (segment,
    n-gram) in order and the largest count in one reference of it; `bits`, the information of each
    n-gram.
    """

    lengths: list[list[int]]
    numbering: Numbering
    largest: list[tuple[np.ndarray, np.ndarray]]
    bits: list[np.ndarray]


@dataclass(frozen=True)
class Matches:
    """What both scores need, a row for each segment.

    length: words of the hypothesis; closest: of the reference closest in length (the shorter of
    two); mean: of its references; hits [segments, 5]: matches by order, clipped at the largest
    count in one reference; bits [segments, 5]: their information.
    """

    length: np.ndarray
    closest: np.ndarray
    mean: np.ndarray
    hits: np.ndarray
    bits: np.ndarray


def _references(groups: tuple[tuple[str, ...], ...]) -> References:
    tokens = {text: tokenize(text) for group in groups for text in group}
    texts = [tokens[text] for group in groups for text in group]
    counts, numbering = count(texts, NIST_ORDER)
    segment = np.repeat(np.arange(len(groups)), list(map(len, groups)))  # of each text
    largest, bits, totals = [], [], np.array([sum(map(len, texts))])
    for of_order, keys in zip(counts, numbering.keys, strict=True):
        cells = pair(segment[of_order.text], of_order.gram)
        order = np.argsort(cells, kind="stable")
        cells, first = np.unique(cells[order], return_index=True)
        most = np.maximum.reduceat(of_order.count[order], first) if len(first) else first
        largest.append((cells, most))
        shorter, _ = parts(keys)  # an n-gram without its last word
        whole = np.bincount(of_order.gram, of_order.count, len(keys))
        bits.append(np.log2(totals[shorter] / whole))
        totals = whole
    lengths = [[len(tokens[text]) for text in group] for group in groups]
    return References(lengths, numbering, largest, bits)


def matches(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]], cache: dict | None = None
) -> Matches:
    """Tokenise and count: hypotheses[i] belongs to the non-empty list references[i].

    cache: where what references tell is kept between systems.
    """
    cache = {} if cache is None else cache
    groups = tuple(map(tuple, references))
    if groups not in cache:
        cache[groups] = _references(groups)
    of_references = cache[groups]
    tokens = [tokenize(text) for text in hypotheses]
    counts, _ = count(tokens, NIST_ORDER, of_references.numbering)
    hits, bits = np.zeros((2, NIST_ORDER, len(tokens)))
    for n, (of_order, (cells, most)) in enumerate(zip(counts, of_references.largest, strict=True)):
        place, seen = find(pair(of_order.text, of_order.gram), cells)
        text, gram = of_order.text[seen], of_order.gram[seen]
        clipped = np.minimum(of_order.count[seen], most[place[seen]])
        hits[n] = np.bincount(text, clipped, len(tokens))
        bits[n] = np.bincount(text, clipped * of_references.bits[n][gram], len(tokens))
    lengths = of_references.lengths
    closest = [
        min(group, key=lambda length: (abs(length - len(words)), length))
        for words, group in zip(tokens, lengths, strict=True)
    ]
    mean = [sum(group) / len(group) for group in lengths]
    length = np.array(list(map(len, tokens)))
    return Matches(length, np.array(closest), np.array(mean), hits.T, bits.T)
