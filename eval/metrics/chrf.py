"""chrF++ (Popović 2017): character and word n-grams, by sacrebleu, case and punctuation kept.

sacrebleu compares a segment with each of its references and keeps the counts of the best one; the
corpus score comes from the sums of these. Beside the official metrics, which all lower-case, it is
the one that sees case.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

import numpy as np
from sacrebleu.metrics import CHRF

from .metric import Corpus, Measured, Metric
from .texts import Texts

SCORER = CHRF(word_order=2)
EPSILON_SCORER = CHRF(word_order=2, eps_smoothing=True)  # as chrF++.py, for WebNLG
EPSILON = 1e-16
ORDERS = [*(f"{n}-char" for n in range(1, 7)), *(f"{n}-word" for n in (1, 2))]
COUNTS = ("output", "reference", "matches")


def measure(texts: Texts) -> list[Measured]:
    return measured(texts.corpora, SCORER, _f_score)


def measured(
    corpora: Sequence[Corpus], scorer: CHRF, f_score: Callable[[np.ndarray], np.ndarray]
) -> list[Measured]:
    """Each corpus with a scorer of sacrebleu, and with what makes scores of its counts.

    A segment's references are counted once for all systems and then let go: a few hundred MB
    for a whole test set.
    """
    places = defaultdict(list)  # of each group of references: (system, segment)
    for system, (_, references) in enumerate(corpora):
        for segment, group in enumerate(references):
            places[tuple(group)].append((system, segment))
    counts = [np.zeros((len(hypotheses), len(METRIC.columns))) for hypotheses, _ in corpora]
    for group, where in places.items():
        ngrams = scorer._extract_reference_info(group)
        for system, segment in where:
            text = corpora[system][0][segment]
            counts[system][segment] = scorer._compute_segment_statistics(text, ngrams)
    return [
        Measured(float(f_score(rows.sum(0)[None])[0]), rows, {"chrF": f_score(rows)})
        for rows in counts
    ]


def _f_score(sums: np.ndarray) -> np.ndarray:
    """F2 of the means of precision and recall over the orders that both sides have (sacrebleu's
    default, without epsilons)."""
    output, reference, matches = np.moveaxis(sums.reshape(len(sums), -1, 3), 2, 0)  # [corpora, 8]
    on_both = (output > 0) & (reference > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = (
            np.where(on_both, matches / side, 0).sum(1) / on_both.sum(1)
            for side in (output, reference)
        )
        factor = SCORER.beta**2
        return np.nan_to_num((1 + factor) * precision * recall / (factor * precision + recall))


def mean_of_f(sums: np.ndarray) -> np.ndarray:
    """The mean over all orders of their F2, with epsilons as chrF++.py has them."""
    output, reference, matches = np.moveaxis(sums.reshape(len(sums), -1, 3), 2, 0)  # [corpora, 8]
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = (
            np.where(side > 0, matches / side, EPSILON) for side in (output, reference)
        )
        factor = SCORER.beta**2
        below = factor * precision + recall
        return np.where(below > 0, (1 + factor) * precision * recall / below, EPSILON).mean(1)


METRIC = Metric(
    name="chrF",
    title="chrF++",
    scale=100,
    digits=2,
    limits=(0, 1),
    signature="case:mixed,eff:yes,nc:6,nw:2,space:no",
    columns=tuple(f"{order} {count}" for order in ORDERS for count in COUNTS),
    from_sums=lambda sums, segments: _f_score(sums),
    measure=measure,
    packages=("sacrebleu",),
)
