"""The paired bootstrap over the test MRs (Koehn 2004): resamples are scored by sums of rows.

Segments are drawn with replacement, the same ones for all systems, and each is scored on each
sample by every metric that it has statistics of (eval/metrics/statistics.py). eval/claims.py makes
differences of it.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from .metrics.statistics import Statistics, scores
from .readers import places

SAMPLES, SEED = 10_000, 1
_AT_ONCE = 1000  # samples scored together: their weights take 5 MB
_KEPT = 2 * 10**7  # weights that are kept, two bytes each


@dataclass(frozen=True, eq=False)
class Outputs:
    """A system's segment statistics and the MRs that they belong to, in the same order.

    references: sha256 of what it was scored against, None where that is not known.
    """

    name: str
    statistics: Statistics
    sources: list[str]
    references: str | None = None


def in_order(a: Outputs, b: Outputs) -> Outputs:
    """b with its MRs in the order of a's, as `readers.places` pairs them; itself, if they are.

    Raises ValueError if the MRs are not the same, or were scored against different references.
    """
    if None not in (a.references, b.references) and a.references != b.references:
        raise ValueError(
            f"{a.name} and {b.name} were scored against different references "
            f"({a.references[:12]} and {b.references[:12]}); name those of both with --refs"
        )
    if a.sources == b.sources:
        return b
    try:
        order = places(a.sources, b.sources)
    except ValueError as error:
        raise ValueError(f"{a.name} and {b.name} have {error}") from None
    if order == list(range(len(order))):
        return b
    statistics = {name: rows[order] for name, rows in b.statistics.items()}
    return replace(b, statistics=statistics, sources=[b.sources[i] for i in order])


def draws(size: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights [some samples, size] of resamples of `size` segments, `samples` in all.

    A study asks for the same ones a hundred times, and to draw them takes longer than to use them:
    they are kept unless they are too many.
    """
    drawn = _kept_draws if size * samples <= _KEPT else _draws
    return (weights.astype(float) for weights in drawn(size, samples, seed))


@functools.lru_cache(2)
def _kept_draws(size: int, samples: int, seed: int) -> list[np.ndarray]:
    small = np.min_scalar_type(size)
    return [weights.astype(small) for weights in _draws(size, samples, seed)]


def _draws(size: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    for start in range(0, samples, _AT_ONCE):
        number = min(_AT_ONCE, samples - start)
        yield random.multinomial(size, np.full(size, 1 / size), size=number)


@functools.lru_cache(128)  # a study compares each of its runs several times
def drawn_scores(of: Outputs, samples: int, seed: int) -> dict[str, np.ndarray]:
    """The scores of each resample of a system's MRs, by metric, [samples]. They are shared."""
    parts = [scores(of.statistics, weights) for weights in draws(len(of.sources), samples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in of.statistics}


def interval_and_p(drawn: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of a difference, from what it is in each sample: the 95 % interval, and the
    two-sided p-value. The observed difference counts as one sample, so that p is never 0. A sample
    that drew no MR of a metric's part says nothing, NaN, and is left out."""
    drawn = drawn[~np.isnan(drawn)]
    low, high = (float(end) for end in np.percentile(drawn, [2.5, 97.5]))
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1
    return low, high, min(1.0, 2 * float(tail) / (len(drawn) + 1))
