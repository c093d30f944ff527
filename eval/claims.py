"""Is one method better than another, over seeds and test MRs? Two levels of chance in one interval.

A paired bootstrap over MRs (eval/bootstrap.py) speaks of one pair of runs; another seed gives
another pair. Here a sample draws the MRs, the same ones for all runs, and its difference is the
mean of the differences seed by seed, since runs of one seed see the data in the same order. Two or
three seeds are too few to be drawn in their turn: no draw goes beyond the extremes. So seeds are
not drawn; a sample moves the difference by Student's t times the standard error that `seed_spread`
gives, once up and once down, so that b - a has the interval of a - b turned round. That error has
seen every method of a study that was run with several seeds, and takes all to be moved alike. It
serves methods with one run too, as far as a seed moves these as it moves the others. What chance
does to the outputs for single MRs is in both parts, which by itself makes an interval a little too
wide; of methods whose seeds differ more than the others' it is too narrow.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import NamedTuple

import numpy as np

from .bootstrap import SAMPLES, SEED, Outputs, drawn_scores, in_order, interval_and_p
from .metrics import ALL
from .metrics.statistics import scores

SEEN = 1.96  # standard errors of a difference that is seen at 5 %
POWER = SEEN + 0.84  # of a true one that is seen so in four of five designs


class Spread(NamedTuple):
    """How far a seed moves a difference of two methods: the standard deviation for one pair of
    runs, and how many degrees of freedom that figure has."""

    deviation: float
    freedom: int


@dataclass(frozen=True)
class Difference:
    """a, b: scores, of several seeds their mean; low, high: 95 % interval of a - b; p: two-sided,
    of one test."""

    a: float
    b: float
    low: float
    high: float
    p: float

    @property
    def visible(self) -> float:
        """The smallest true difference that such runs would show in four of five cases."""
        return POWER / SEEN * (self.high - self.low) / 2


def seed_spread(by_seed: Sequence[Mapping[int, float]]) -> Spread | None:
    """How far a seed moves a difference, from the scores of some methods, each by seed.

    A score is taken for method + seed + rest (a two-way layout, seeds as blocks); what both methods
    of a difference have of a seed falls out, and two rests remain. None if the scores leave no
    degree of freedom: that takes two methods with two seeds in common.
    """
    cells = [(i, seed, score) for i, of in enumerate(by_seed) for seed, score in of.items()]
    if not cells:
        return None
    methods, seeds, values = (np.array(column) for column in zip(*cells, strict=True))
    design = [np.equal.outer(column, np.unique(column)) for column in (methods, seeds)]
    design = np.concatenate(design, 1).astype(float)
    fitted, _, rank, _ = np.linalg.lstsq(design, values)
    freedom = len(values) - int(rank)
    rest = values - design @ fitted
    return Spread(float(np.sqrt(2 * (rest @ rest) / freedom)), freedom) if freedom else None


def compare(
    a: Sequence[Outputs],
    b: Sequence[Outputs],
    spreads: Mapping[str, Spread] = MappingProxyType({}),
    samples: int = SAMPLES,
    seed: int = SEED,
) -> dict[str, Difference]:
    """The difference of two methods by metric, of those that all runs have statistics of.

    a, b: runs of the same seeds in the same order. spreads: by metric; without one the interval is
    that of these seeds, of one run a side the paired bootstrap's. Raises ValueError for a method
    without runs, for unequal numbers of them, for runs on other MRs, and if they share no metric.
    """
    if samples < 1:
        raise ValueError(f"{samples} samples; at least one is needed")
    if not a or not b:
        raise ValueError("a method has no run; both need one at least")
    if len(a) != len(b):
        raise ValueError(f"{len(a)} and {len(b)} runs; both methods need the same seeds")
    runs = [*a, *b]
    names = [name for name in ALL if all(name in run.statistics for run in runs)]
    if not names:
        words = " and ".join(run.name for run in runs)
        raise ValueError(f"{words} have no metric in common; score them again")
    runs = [in_order(runs[0], run) for run in runs]
    one = np.ones((1, len(runs[0].sources)))
    whole = _means([scores(run.statistics, one) for run in runs], names)
    means = _means([drawn_scores(run, samples, seed) for run in runs], names)
    random, differences = np.random.default_rng([seed, 1]), {}
    for name in names:
        drawn = np.subtract(*means[name])
        if name in spreads:
            moved = random.standard_t(spreads[name].freedom, len(drawn))
            moved *= spreads[name].deviation / np.sqrt(len(a))
            drawn = np.concatenate([drawn + moved, drawn - moved])
        scored = (float(side[0]) for side in whole[name])
        differences[name] = Difference(*scored, *interval_and_p(drawn))
    return differences


def _means(by_run: Sequence[Mapping], names: Sequence[str]) -> dict[str, list[np.ndarray]]:
    """By metric, the mean score of a's runs and of b's in each sample, two arrays [samples].

    by_run: the scores [samples] of each run by metric; the first half are a's.
    """
    n = len(by_run) // 2
    return {
        name: [np.mean([run[name] for run in half], 0) for half in (by_run[:n], by_run[n:])]
        for name in names
    }


def holm(p_values: Sequence[float], asked: int | None = None) -> list[float]:
    """Holm's (1979) adjusted p-values, in the given order; those below 0.05 stand together.

    asked: how many tests were planned, if some have no p yet; those count as 1.
    """
    asked = len(p_values) if asked is None else asked
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (asked - rank) * p_values[i]))
        adjusted[i] = highest
    return adjusted
