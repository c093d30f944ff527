"""What a metric is: how it is called and shown, how it measures texts, and how its corpus score
comes from sums over segments."""

import math
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

Corpus = tuple[Sequence[str], Sequence[Sequence[str]]]  # hypotheses, the references of each


@dataclass(frozen=True)
class Measured:
    """One metric of one system.

    score: of the corpus, on the scale of the JSON files; statistics: [segments, columns], whose
    weighted sums give the score of any resample; by_segment: {name: a score for each segment},
    needed only where the Texts ask for segments; parts: {name: value} of what the score is made of,
    for the JSON files.
    """

    score: float
    statistics: np.ndarray
    by_segment: dict[str, Sequence[float]]
    parts: dict[str, float] = field(default_factory=dict)


class Part(NamedTuple):
    """Marks a metric that is another metric restricted to some segments.

    of: the name of the metric of all segments; name: of the part; takes: whether a segment is in
    it, by the segment's category.
    """

    of: str
    name: str
    takes: Callable[[str], bool]


@dataclass(frozen=True)
class Metric:
    """One metric; eval/metrics/__init__.py lists them.

    name: in JSON, CSV and the heads of tables; title: in prose and LaTeX
    scale, digits: a table shows score * scale with so many digits; files hold the score itself
    limits: the lowest and the highest score that can be
    signature: what decides about the number, as sacrebleu writes it; packages: whose versions do
    columns: names of the statistics of a segment
    from_sums: (sums [corpora, columns], segments of each corpus [corpora]) -> scores [corpora]
    measure: all systems of a Texts -> one Measured each, None for one that the metric is not made
        for (of other MRs than it knows)
    prepare: for a metric that waits for a program of its own: what has to be done before others
        begin; measure then gets its result as a second argument
    optional: tables leave the column out where no run has this score
    lower_is_better: of two systems the one with the lower score is better
    part: for a metric of some segments alone; it is not measured but taken from the whole's
        statistics, with zeros for the other segments
    """

    name: str
    title: str
    scale: int
    digits: int
    limits: tuple[float, float]
    signature: str
    columns: tuple[str, ...]
    from_sums: Callable[[np.ndarray, np.ndarray], np.ndarray]
    measure: Callable[..., "list[Measured | None]"]
    prepare: Callable[..., object] | None = None
    packages: tuple[str, ...] = ()
    optional: bool = True
    lower_is_better: bool = False
    part: Part | None = None

    @property
    def head(self) -> str:
        """The name at the head of a table's column, with an arrow where lower is better."""
        return f"{self.name} ↓" if self.lower_is_better else self.name

    @property
    def titled_head(self) -> str:
        """The same with the title, as prose and LaTeX have it."""
        return f"{self.title} ↓" if self.lower_is_better else self.title

    def shown(self, score: float, sign: str = "") -> str:
        """A score, or with sign "+" a difference, as tables show it."""
        value = round(score * self.scale, self.digits) + 0.0  # no minus before a zero
        return f"{value:{sign}.{self.digits}f}".replace("-", "−")

    def shown_mean(self, scores: Sequence[float]) -> str:
        """The mean of scores and, of several, ± their standard deviation, as tables show them."""
        text = self.shown(statistics.fmean(scores))
        return f"{text} ± {self.shown(statistics.stdev(scores))}" if len(scores) > 1 else text

    def allows(self, score: float) -> bool:
        """Whether a score can be one of this metric; NaN and infinity cannot."""
        lowest, highest = self.limits
        inside = lowest - 1e-9 <= score <= highest + 1e-9  # sums of floats may round beyond
        return inside and score != math.inf


def mean(sums: np.ndarray, segments: np.ndarray) -> np.ndarray:
    """from_sums of a metric whose corpus score is the mean of its one column."""
    return sums[:, 0] / segments
