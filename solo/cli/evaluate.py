"""Scoring of decoded runs, where solo/ and eval/ meet: neither knows the other."""

import warnings
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path

from eval.metrics import SETS, statistics
from eval.readers import check_sources
from eval.records import read_scores
from eval.score import SOON, not_measured, score_files
from solo.cli.command import progress_bar
from solo.datasets import source_of
from solo.datasets.data import read_prompts
from solo.files import file_sha256, read_json, write_json
from solo.run_files import PREDICTIONS, SCORES, STATISTICS
from solo.runs import record
from solo.runs.config import RunConfig
from solo.runs.run import Run
from solo.triples import content_sha256


def check_references(configs: Iterable[RunConfig]) -> None:
    """Raise ValueError, before a training, for references that its outputs cannot be scored by."""
    places = ((Path(c.evaluate.references), Path(c.data.test_path), c.data.name) for c in configs)
    for path, test, name in dict.fromkeys(places):
        sources = [mr for mr, _ in read_prompts(test, name)]
        try:
            check_sources(sources, path, own=path == test)
        except (ValueError, FileNotFoundError) as error:
            raise ValueError(
                f"{error}; scores need references: set evaluate.references, or do without scores "
                "(scripts/train.py, then scripts/decode.py)"
            ) from error


def evaluate_runs(runs: Sequence[Run]) -> list[dict]:
    """The scores of each decoded run, as its metrics.json has them; what is scored is not again.

    Runs with the same references and metrics are scored together, which costs little more than one
    of them. Raises FileNotFoundError for missing predictions or references, ValueError for
    predictions that were changed since they were decoded.
    """
    alike: dict[tuple[Path, str], list[tuple[Run, dict]]] = {}
    for run in runs:
        references, inputs = _inputs(run)
        metrics = source_of(run.config.data.test_path, run.config.data.name).metrics
        if not _is_scored(run, inputs, _key(references), metrics):
            alike.setdefault((references, metrics), []).append((run, inputs))
    for (references, metrics), unscored in alike.items():
        with ExitStack() as held:
            for run, _ in unscored:
                held.enter_context(run.lock())
            entries = [held.enter_context(run.stage("evaluate")) for run, _ in unscored]
            predictions = [run.decoding / PREDICTIONS for run, _ in unscored]
            with progress_bar("score", "segment", SOON) as report:
                results = score_files(
                    references, predictions, partial=None, report=report, metrics=metrics
                )
            details = [result.scores.get("details", {}) for result in results]
            for note in dict.fromkeys(note for told in details for note in told.get("notes", ())):
                warnings.warn(note, stacklevel=2)
            for (run, inputs), entry, result in zip(unscored, entries, results, strict=True):
                write_json(run.decoding / SCORES, result.scores)
                sums = {
                    "predictions": inputs[PREDICTIONS],
                    "references": inputs[_key(references)],
                }
                statistics.save(run.decoding / STATISTICS, result.statistics, result.sources, sums)
                entry |= {"inputs": inputs, "sha256": file_sha256(run.decoding / SCORES)}
    return [read_json(run.decoding / SCORES) for run in runs]


def _is_scored(run: Run, inputs: dict[str, str], references: str, metrics: str) -> bool:
    """Whether the run's scores are those that were written for `inputs` or, where no record says
    so, what the segments' statistics give. False where a metric was added since, unless it does not
    apply to these MRs.
    """
    entry, path = record.stage_record(run.decoding, "evaluate"), run.decoding / SCORES
    if not (entry and entry.get("inputs") == inputs and path.exists()):
        return False
    try:
        scores, content = read_scores(run.decoding), read_json(path)
    except ValueError:  # damaged
        return False
    needed = {name for name, metric in SETS[metrics].items() if not metric.part}
    if not needed <= set(scores) | not_measured(content.get("signature", "")):
        return False
    sums = {"predictions": inputs[PREDICTIONS], "references": inputs[references]}
    if statistics.read(run.decoding / STATISTICS, sums) is None:  # lost, or of other references
        return False
    return entry.get("sha256") == file_sha256(path)


def _inputs(run: Run) -> tuple[Path, dict[str, str]]:
    predictions, references = run.decoding / PREDICTIONS, Path(run.config.evaluate.references)
    for path, remedy in (
        (predictions, "decode this run first"),
        (references, "run `make data`, or set evaluate.references"),
    ):
        if not path.exists():
            raise FileNotFoundError(f"{path} not found; {remedy}")
    entry = run.decoded()
    if not entry or entry.get("sha256") != file_sha256(predictions):
        raise ValueError(
            f"{predictions} is not what was decoded: it, or the run's weights, was changed since; "
            f"move {run.decoding} elsewhere and decode again, or score the file by itself with "
            "python -m eval.score"
        )
    sums = [content_sha256(path) for path in (predictions, references)]
    return references, dict(zip((PREDICTIONS, _key(references)), sums, strict=True))


def _key(references: Path) -> str:
    """Under which name a record has the checksum of references."""
    return "references" if references.name == PREDICTIONS else references.name
