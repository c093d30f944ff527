"""Is one method better than another, over seeds and test MRs? A hierarchical bootstrap.

A paired bootstrap over MRs (eval/compare.py) speaks of one pair of runs. Here a sample draws seeds
of both methods with replacement, and the MRs, the same ones for all runs; its difference is that of
the mean scores. With few seeds the draw of seeds varies too little, by a factor of 1 - 1/seeds in
the variance, so that an interval of three seeds is narrower than it should be.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .compare import Outputs, draws, in_order
from .metrics import ALL
from .metrics.statistics import scores

SAMPLES, SEED = 10_000, 1
POWER = 1.96 + 0.84  # standard errors of a difference that is seen at 5 % in four of five designs


@dataclass(frozen=True)
class Claim:
    """a, b: mean scores over seeds; low, high: 95 % interval of a - b; p: two-sided, of one test;
    visible: the smallest true difference that such runs would show in four of five cases."""

    a: float
    b: float
    low: float
    high: float
    p: float
    visible: float


def hierarchical(
    a: Sequence[Outputs], b: Sequence[Outputs], samples: int = SAMPLES, seed: int = SEED
) -> dict[str, Claim]:
    """The difference of two methods by metric, of those that all runs have statistics of.

    a, b: a run for each seed. Raises ValueError for a method without runs, for runs on other MRs,
    and if they share no metric.
    """
    if not a or not b:
        raise ValueError("a method has no run; both need one at least")
    runs = [*a, *b]
    names = [name for name in ALL if all(name in run.statistics for run in runs)]
    if not names:
        raise ValueError("these runs have no metric in common; score them again")
    rows = [in_order(runs[0], run) for run in runs]
    sides = [{name: of_run[name] for name in names} for of_run in rows]
    size, random = len(runs[0].sources), np.random.default_rng([seed, 1])
    whole = _means(sides, np.ones((1, size)), len(a), None)
    parts = []
    for weights in draws(size, samples, seed):
        parts.append(_means(sides, weights, len(a), random))
    return {
        name: _claim(*whole[name], np.concatenate([np.subtract(*part[name]) for part in parts]))
        for name in names
    }


def _means(sides: list, weights: np.ndarray, n_a: int, random) -> dict[str, list[np.ndarray]]:
    """By metric, the mean score of a's runs and of b's in each sample, two arrays [samples].

    The first n_a of `sides` are a's. random: draws the seeds of each sample; None: all, once each.
    """
    by_run = [scores(side, weights) for side in sides]
    n_samples, groups = len(weights), (range(n_a), range(n_a, len(sides)))
    taken = []  # [samples, seeds], how often each is taken
    for group in groups:
        n = len(group)
        even = np.ones((n_samples, n))
        taken.append(even if random is None else random.multinomial(n, even[0] / n, n_samples))
    return {
        name: [
            (counts * np.stack([by_run[i][name] for i in group], 1)).sum(1) / len(group)
            for group, counts in zip(groups, taken, strict=True)
        ]
        for name in by_run[0]
    }


def _claim(a: np.ndarray, b: np.ndarray, drawn: np.ndarray) -> Claim:
    low, high = np.percentile(drawn, [2.5, 97.5])
    # The observed difference counts as one sample, so that p is never 0.
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1
    p = min(1.0, 2 * float(tail) / (len(drawn) + 1))
    return Claim(float(a[0]), float(b[0]), float(low), float(high), p, POWER * float(drawn.std()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's (1979) adjusted p-values, in the given order; those below 0.05 stand together."""
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
