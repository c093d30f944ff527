"""What a corpus score needs of each segment, so that any resample of segments is a sum of rows.

BLEU, NIST and METEOR are functions of sums over segments; ROUGE-L and CIDEr are means. NIST's
weights of n-grams and CIDEr's inverse document frequencies stay those of all references.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from eval.files import replace_text
from eval.metrics.mteval import BLEU_ORDER, NIST_BETA, NIST_ORDER, Corpus

BLEU = slice(0, 2 + BLEU_ORDER)  # words, words of the closest reference, matches of each order
NIST = slice(BLEU.stop, BLEU.stop + 1 + NIST_ORDER)  # mean reference words, information by order
METEOR = slice(NIST.stop, NIST.stop + 23)  # a line of METEOR's protocol
ROUGE_L, CIDER = METEOR.stop, METEOR.stop + 1
WIDTH = CIDER + 1

# METEOR 1.5's parameters for English, and its weights of exact, stem, synonym, paraphrase matches.
_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75
_WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])


def mteval_rows(corpus: Corpus) -> np.ndarray:
    """Rows of WIDTH numbers, one a segment, of which those of BLEU and NIST are filled in."""
    rows = np.zeros((len(corpus.length), WIDTH))
    hits = corpus.hits[:, :BLEU_ORDER]
    rows[:, BLEU] = np.column_stack([corpus.length, corpus.closest, hits])
    rows[:, NIST] = np.column_stack([corpus.mean, corpus.bits])
    return rows


def fill(
    rows: np.ndarray,
    meteor: Sequence[Sequence[float]],
    rouge: Sequence[float],
    cider: Sequence[float],
) -> None:
    """Fill in the rest of the rows: METEOR's numbers, ROUGE-L and CIDEr of each segment."""
    rows[:, METEOR], rows[:, ROUGE_L], rows[:, CIDER] = meteor, rouge, cider
    part = rows[:, METEOR]
    matched = part[:, 4:20].reshape(-1, 8, 2).sum(1)  # words of both sides, all modules
    perfect = (matched == part[:, :2]).all(1) & (part[:, 20] == 1)
    part[perfect, 20] = 0  # METEOR does not add the one chunk of a perfect match


def scores(rows: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The five scores of weighted corpora.

    rows: [segments, WIDTH]; weights: [corpora, segments], how often each segment is taken.
    Returns arrays of [corpora] on the official scale.
    """
    sums, size = weights @ rows, weights.sum(1)
    with np.errstate(divide="ignore", invalid="ignore"):
        return {
            "BLEU": _bleu(sums[:, BLEU], size),
            "NIST": _nist(sums[:, NIST], sums[:, 0], size),
            "METEOR": _meteor(sums[:, METEOR]),
            "ROUGE_L": sums[:, ROUGE_L] / size,
            "CIDEr": sums[:, CIDER] / size,
        }


def _bleu(sums: np.ndarray, size: np.ndarray) -> np.ndarray:
    totals = sums[:, :1] - np.outer(size, np.arange(BLEU_ORDER))
    precisions = np.maximum(sums[:, 2:], 1e-15) / np.maximum(totals, 1e-9)
    penalty = np.minimum(1.0, np.exp(1 - sums[:, 1] / sums[:, 0]))
    return penalty * np.exp(np.log(precisions).mean(1))


def _nist(sums: np.ndarray, length: np.ndarray, size: np.ndarray) -> np.ndarray:
    totals = length[:, None] - np.outer(size, np.arange(NIST_ORDER))
    score = np.where(totals == 0, 0.0, sums[:, 1:] / totals).sum(1)
    ratio = np.minimum(length / sums[:, 0], 1.0)
    return np.exp(-NIST_BETA * np.log(ratio) ** 2) * score


def _meteor(sums: np.ndarray) -> np.ndarray:
    lengths, function_words = sums[:, :2], sums[:, 2:4]
    matches = sums[:, 4:20].reshape(-1, 4, 2, 2)  # module, content or function, hypothesis or ref
    shares = np.array([_DELTA, 1 - _DELTA])
    weighted = np.einsum("cmkr,m,k->cr", matches, _WEIGHTS, shares)
    precision_recall = weighted / (
        _DELTA * (lengths - function_words) + (1 - _DELTA) * function_words
    )
    mean = 1 / ((1 - _ALPHA) / precision_recall[:, 0] + _ALPHA / precision_recall[:, 1])
    fragmentation = sums[:, 20] / (sums[:, 21:].sum(1) / 2)
    return np.nan_to_num(mean * (1 - _GAMMA * fragmentation**_BETA)).clip(0)


def save(path: Path, rows: np.ndarray, sources: Sequence[str], inputs: dict[str, str]) -> None:
    """Write rows with the MRs and with the sha256 of what they were computed from, as JSON."""
    content = {"inputs": inputs, "sources": list(sources), "rows": rows.tolist()}
    replace_text(Path(path), json.dumps(content, ensure_ascii=False) + "\n")


def read(path: Path, inputs: dict[str, str]) -> tuple[np.ndarray, list[str]] | None:
    """(rows, MRs) as saved, or None if there are none for these inputs."""
    if not Path(path).is_file():
        return None
    content = json.loads(Path(path).read_text(encoding="utf-8"))
    if content["inputs"] != inputs:
        return None
    return np.array(content["rows"]).reshape(-1, WIDTH), content["sources"]
