"""Translation edit rate as pyter3 0.3 has it, which is what GenerationEval takes.

A hypothesis becomes a reference by shifts of phrases, each one edit, and by insertions, deletions
and substitutions of words. pyter3 shifts greedily: of all phrases that also stand in the reference,
each as long as it goes and moved to its place there, the one that lowers the edit distance most;
among equals the one whose words then come last in the order of the alphabet. It has none of the
limits on shifts of tercom and of sacrebleu, so its figures are lower than theirs.

Here all pairs of texts advance together: the edit distances of thousands of shifted hypotheses are
computed at once, with a reference's words as the bits of a number (Myers 1999; Hyyrö 2003).
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

WORD_BITS = 64  # longer references take Python's own numbers, which are slower
CELLS = 2_000_000  # pairs are taken together up to so many pairs of words, or words of shifts

Words = Sequence[str]


def edits(pairs: Sequence[tuple[Words, Words]]) -> np.ndarray:
    """The number of edits of each pair (words of a hypothesis, words of a reference)."""
    order = sorted(range(len(pairs)), key=lambda i: (len(pairs[i][1]), len(pairs[i][0])))
    counted = np.zeros(len(pairs), np.int64)
    block: list[int] = []
    longest = shifts = 0
    for i in order:
        hypothesis, reference = pairs[i]
        of_pair = _shifts(hypothesis, reference)
        longer = max(longest, len(hypothesis))
        rows = max((len(block) + 1) * (len(reference) + 1), shifts + of_pair)
        if block and rows * longer > CELLS:
            counted[block] = _edits([pairs[k] for k in block])
            block, longer, shifts = [], len(hypothesis), 0
        block.append(i)
        longest, shifts = longer, shifts + of_pair
    if block:
        counted[block] = _edits([pairs[k] for k in block])
    return counted


def _shifts(hypothesis: Words, reference: Words) -> int:
    """How many shifts there are at most: each needs a row of words. Many, where a word repeats."""
    theirs = Counter(reference)
    return sum(often * theirs[word] for word, often in Counter(hypothesis).items())


def _edits(pairs: Sequence[tuple[Words, Words]]) -> np.ndarray:
    number = {
        word: i for i, word in enumerate(sorted({w for pair in pairs for t in pair for w in t}))
    }
    output, n = _padded([[number[w] for w in hypothesis] for hypothesis, _ in pairs], -1)
    reference, m = _padded([[number[w] for w in reference] for _, reference in pairs], -2)
    bits = _bits(output, reference)  # [pairs, n]: where in the reference each word stands
    distance, shifts = distances(bits, n, m), np.zeros(len(pairs), np.int64)
    alive = np.flatnonzero(distance > 0)
    while len(alive):
        pair, moved = _shifted(output[alive], reference[alive], n[alive])
        pair = alive[pair]
        gain = distance[pair] - distances(bits[pair[:, None], moved], n[pair], m[pair])
        best = np.zeros(len(pairs), np.int64)
        np.maximum.at(best, pair, gain)
        chosen: dict[int, tuple] = {}
        for k in np.flatnonzero((gain > 0) & (gain == best[pair])):
            words = (output[pair[k], moved[k]].tolist(), k)
            chosen[pair[k]] = max(words, chosen.get(pair[k], words))
        alive = np.array(sorted(chosen), np.int64)
        if len(alive):
            order = moved[[chosen[p][1] for p in alive]]
            output[alive] = output[alive[:, None], order]
            bits[alive] = bits[alive[:, None], order]
            distance[alive] -= best[alive]
            shifts[alive] += 1
    return distance + shifts


def _padded(rows: Sequence[Sequence[int]], fill: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.array(list(map(len, rows)), np.int64)
    table = np.full((len(rows), max(lengths.max(), 1)), fill, np.int64)
    for row, values in zip(table, rows, strict=True):
        row[: len(values)] = values
    return table, lengths


def _bits(output: np.ndarray, reference: np.ndarray) -> np.ndarray:
    kind = np.uint64 if reference.shape[1] <= WORD_BITS else object
    bits = np.zeros(output.shape, kind)
    for place in range(reference.shape[1]):
        same = output == reference[:, place, None]
        bits[same] |= kind(1 << place) if kind is np.uint64 else 1 << place
    return bits


def distances(bits: np.ndarray, n: np.ndarray, m: np.ndarray) -> np.ndarray:
    """The edit distance of each text from its reference.

    bits [texts, words]: the places of each word in the reference, the first one the lowest bit;
    n: words of each text; m: of its reference.
    """
    one = bits.dtype.type(1) if bits.dtype != object else 1
    order = np.argsort(-n, kind="stable")  # texts end one after the other, the last rows first
    bits, n, m = bits[order].T, n[order], m[order]
    last = np.array([1 << max(int(length) - 1, 0) for length in m], bits.dtype)
    more, less = np.full(len(n), ~(one * 0), bits.dtype), np.zeros(len(n), bits.dtype)
    score = m.copy()
    for step, running in enumerate(np.searchsorted(-n, -np.arange(n.max(initial=0)))):
        up, down, same = more[:running], less[:running], bits[step, :running]
        across = (((same & up) + up) ^ up) | same
        higher, lower = down | ~(across | up), up & across
        score[:running] += (higher & last[:running] != 0).astype(np.int64)
        score[:running] -= (lower & last[:running] != 0).astype(np.int64)
        higher, lower, along = higher << one | one, lower << one, same | down
        more[:running], less[:running] = lower | ~(along | higher), higher & along
    score = np.where(m == 0, n, score)
    back = np.empty_like(score)
    back[order] = score
    return back


def _shifted(
    output: np.ndarray, reference: np.ndarray, n: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Every shift that pyter3 tries: (the pair's number [shifts], the order of its words
    afterwards [shifts, words])."""
    run = (output[:, :, None] == reference[:, None, :]).astype(np.int64)  # [pairs, n, m]
    for i in range(run.shape[1] - 2, -1, -1):
        run[:, i, :-1] *= 1 + run[:, i + 1, 1:]  # words from here on that both have
    pair, start, to = np.nonzero(run)
    elsewhere = start != to
    pair, start, to = pair[elsewhere], start[elsewhere], to[elsewhere]
    length = run[pair, start, to]
    to = np.minimum(to, n[pair] - length)  # behind the rest's end: at it
    start, to, length = start[:, None], to[:, None], length[:, None]
    place = np.arange(output.shape[1])[None]
    rest = place - np.where(place >= to + length, length, 0)  # its place among the others
    others = rest + np.where(rest >= start, length, 0)
    inside = (place >= to) & (place < to + length)
    return pair, np.where(inside, start + place - to, np.minimum(others, output.shape[1] - 1))
