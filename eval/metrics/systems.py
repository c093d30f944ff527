"""The scores of systems: lists of texts in, numbers out.

The first five of the set "e2e" are equal to the official script, ``measure_scores.py -p`` of
tuetschek/e2e-metrics.
"""

import gc
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from . import SETS
from .metric import Corpus, Measured, Metric
from .texts import Report, Texts


@dataclass(frozen=True)
class Result:
    """scores: of a system, by metric, without those that its MRs are not made for, and the parts of
    those that have any; segments: {name: score} of each of its segments, if asked
    for; statistics: what the scores are made of (:mod:`eval.metrics.statistics`)."""

    scores: dict[str, float]
    segments: list[dict[str, float]]
    statistics: dict[str, np.ndarray]


@contextmanager
def _without_collector() -> Iterator[None]:
    """A million n-grams and no cycles: the garbage collector would take half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _check(hypotheses: Sequence[str], references: Sequence[Sequence[str]]) -> None:
    if len(hypotheses) != len(references):
        raise ValueError(
            f"{len(hypotheses)} hypotheses, but references for {len(references)} segments; "
            "both must have the same number"
        )
    if not hypotheses:
        raise ValueError("no hypotheses; at least one is needed")
    for index, group in enumerate(references):
        if isinstance(group, str) or not group:
            raise ValueError(
                f"references[{index}] is {group!r}; it must be a list of at least one text"
            )
        for number, text in enumerate(group):
            _check_text(text, f"references[{index}][{number}]")
    for index, text in enumerate(hypotheses):
        _check_text(text, f"hypotheses[{index}]")


def _check_text(text: object, place: str) -> None:
    try:
        text.encode()
    except (AttributeError, UnicodeEncodeError):
        raise ValueError(f"{place} is {text!r}; it must be a text of whole characters") from None


def score_systems(
    corpora: Sequence[Corpus],
    by_segment: bool = False,
    report: Report = lambda done, total: None,
    sources: Sequence[Sequence[str]] | None = None,
    metrics: str = "e2e",
    categories: Sequence[Sequence[str]] | None = None,
) -> list[Result]:
    """The scores of any number of systems, each a pair (hypotheses, references).

    What systems share, such as references and the Java processes, is paid once. Arguments and
    errors of each as in :func:`score`, its MRs in sources. categories: of each system's segments;
    without them, or where none of a part is there, metrics of parts are left out.
    """
    for corpus in corpora:
        _check(*corpus)
    for (hypotheses, _), mrs in zip(corpora, sources or (), strict=bool(sources)):
        if isinstance(mrs, str):
            raise ValueError(f"the MRs are {mrs!r}; they must be a list of texts")
        if len(hypotheses) != len(mrs):
            raise ValueError(
                f"{len(hypotheses)} hypotheses, but {len(mrs)} MRs; both must have the same number"
            )
    registry = registry_of(metrics)
    whole = {name: metric for name, metric in registry.items() if metric.part is None}
    # One thread does everything beside METEOR, which takes longest: that runs in this thread, so
    # that it waits least and an interrupt ends it at once.
    with _without_collector(), ThreadPoolExecutor(1) as background:
        texts = Texts(corpora, by_segment, background, report, sources)
        prepared = {name: metric.prepare(texts) for name, metric in whole.items() if metric.prepare}
        jobs = {
            name: background.submit(metric.measure, texts)
            for name, metric in whole.items()
            if not metric.prepare
        }
        measured = {name: whole[name].measure(texts, job) for name, job in prepared.items()}
        measured |= {name: job.result() for name, job in jobs.items()}
    results = []
    for system in range(len(corpora)):
        of_system = {name: of_all[system] for name, of_all in measured.items()}
        of_system |= _parts(registry, of_system, categories[system] if categories else ())
        in_order = {name: of_system[name] for name in registry if name in of_system}
        results.append(_result(in_order, by_segment))
    return results


def registry_of(metrics: str) -> Mapping[str, Metric]:
    """A set of metrics by its name. Raises ValueError for an unknown one."""
    if metrics not in SETS:
        raise ValueError(f"unknown set of metrics {metrics!r}; known: {', '.join(SETS)}")
    return SETS[metrics]


def _parts(
    registry: Mapping[str, Metric], measured: Mapping[str, Measured], categories: Sequence[str]
) -> dict[str, Measured]:
    """The metrics of parts of the segments."""
    parts = {}
    for name, metric in registry.items():
        taken = np.array([bool(metric.part and metric.part.takes(c)) for c in categories], bool)
        if taken.any():
            rows = measured[metric.part.of].statistics * taken[:, None]
            with np.errstate(divide="ignore", invalid="ignore"):
                [score] = metric.from_sums(rows.sum(0)[None], np.array([taken.sum()]))
            parts[name] = Measured(float(score), rows, {})
    return parts


def _result(measured: dict[str, Measured | None], by_segment: bool) -> Result:
    """One system's, in the registry's order."""
    measured = {name: of_metric for name, of_metric in measured.items() if of_metric}
    columns = {k: values for found in measured.values() for k, values in found.by_segment.items()}
    rows = zip(*columns.values(), strict=True) if by_segment else ()
    scores = {}
    for name, of_metric in measured.items():
        scores |= {name: of_metric.score} | of_metric.parts
    return Result(
        scores=scores,
        segments=[dict(zip(columns, map(float, row), strict=True)) for row in rows],
        statistics={name: of_metric.statistics for name, of_metric in measured.items()},
    )


def score(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    mrs: Sequence[str] | None = None,
) -> dict[str, float]:
    """{metric: score} in the registry's order: BLEU, NIST, METEOR, ROUGE_L and CIDEr on the
    official script's scale, then chrF; with MRs of E2E in `mrs` also SER and its parts.

    hypotheses[i] (untokenised text, may be empty) is compared with every text of references[i].
    All but NIST (0 upwards), CIDEr (0 to 10) and SER (0 upwards) lie in [0, 1].

    Raises ValueError if the two differ in length, are empty, or a segment has no reference, and for
    what is no text, half of a surrogate pair included;
    RuntimeError or FileNotFoundError if a Java program fails or is missing.
    """
    sources = None if mrs is None else [mrs]
    return score_systems([(hypotheses, references)], sources=sources)[0].scores
