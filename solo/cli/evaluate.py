"""Scoring of decoded runs, where solo/ and eval/ meet: neither knows the other."""

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from eval.metrics import METRICS as REGISTRY
from eval.metrics.statistics import save
from eval.score import score_files
from solo.files import file_sha256, read_json, write_json
from solo.runs import record
from solo.runs.run import METRICS, PREDICTIONS, STATISTICS, Run


def evaluate_runs(runs: Sequence[Run]) -> list[dict]:
    """The scores of each decoded run, as its metrics.json has them; what is scored is not again.

    Runs with the same references are scored together, which costs little more than one of them.
    Raises FileNotFoundError for missing predictions or references.
    """
    by_references: dict[Path, list[tuple[Run, dict]]] = {}
    for run in runs:
        references, inputs = _inputs(run)
        entry = record.stage_record(run.decoding, "evaluate")
        if not (entry and entry.get("inputs") == inputs and _has_every_metric(run)):
            by_references.setdefault(references, []).append((run, inputs))
    for references, unscored in by_references.items():
        with ExitStack() as held:
            for run, _ in unscored:
                held.enter_context(run.lock())
            entries = [held.enter_context(run.stage("evaluate")) for run, _ in unscored]
            results = score_files(references, [run.decoding / PREDICTIONS for run, _ in unscored])
            for (run, inputs), entry, result in zip(unscored, entries, results, strict=True):
                write_json(run.decoding / METRICS, result.scores)
                sums = {
                    "predictions": inputs[PREDICTIONS],
                    "references": inputs[references.name],
                }
                save(run.decoding / STATISTICS, result.statistics, result.sources, sums)
                entry["inputs"] = inputs
    return [read_json(run.decoding / METRICS) for run in runs]


def _has_every_metric(run: Run) -> bool:
    """Whether the run's scores hold all that the registry has; one may have come since."""
    path = run.decoding / METRICS
    return path.exists() and set(REGISTRY) <= set(read_json(path))


def _inputs(run: Run) -> tuple[Path, dict[str, str]]:
    predictions, references = run.decoding / PREDICTIONS, Path(run.config.evaluate.references)
    for path, remedy in ((predictions, "decode this run first"), (references, "run `make data`")):
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found; {remedy}")
    return references, {path.name: file_sha256(path) for path in (predictions, references)}
