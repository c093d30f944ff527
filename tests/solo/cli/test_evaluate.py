"""What is scored is not scored again, unless the registry has a metric that it lacks."""

from types import SimpleNamespace

import numpy as np
import pytest

from eval.metrics import METRICS
from solo import files
from solo.cli import evaluate
from solo.datasets.data import read_pairs
from solo.runs import stages
from solo.runs.run import make_run
from tests.solo.runs.conftest import changed, config, quiet, values  # noqa: F401

KEPT = {"statistics": {"ROUGE_L": np.full((3, 1), 0.5)}, "sources": ["a", "b", "c"]}


def test_a_run_without_a_metric_is_scored_anew(config, monkeypatch):  # noqa: F811
    run, calls = make_run(config), []
    stages.train_run(run, quiet)
    stages.decode_run(run, quiet)

    def score_files(references, paths, partial, metrics, report):
        assert partial is None  # no command that scores runs has the option
        assert metrics == "e2e"
        calls.append(paths)
        scores = dict.fromkeys(METRICS, 0.5)
        return [SimpleNamespace(scores=scores, **KEPT) for _ in paths]

    monkeypatch.setattr(evaluate, "score_files", score_files)
    for _ in range(2):
        assert evaluate.evaluate_runs([run]) == [dict.fromkeys(METRICS, 0.5)]
    assert len(calls) == 1 and run.state()[0] == "done"
    older = {name: 0.5 for name in METRICS if name != "chrF"}
    files.write_json(run.decoding / "metrics.json", older)
    entry = files.read_json(run.decoding / "environment.json")  # as written when there was no chrF
    entry["evaluate"]["sha256"] = files.file_sha256(run.decoding / "metrics.json")
    files.write_json(run.decoding / "environment.json", entry)
    assert evaluate.evaluate_runs([run]) == [dict.fromkeys(METRICS, 0.5)]
    assert len(calls) == 2
    lacking = {name: 0.5 for name in METRICS if name != "SER"} | {"signature": "case:lc|SER:none"}
    monkeypatch.setattr(evaluate, "score_files", None)
    entry = files.read_json(run.decoding / "environment.json")
    files.write_json(run.decoding / "metrics.json", lacking)
    entry["evaluate"]["sha256"] = files.file_sha256(run.decoding / "metrics.json")
    files.write_json(run.decoding / "environment.json", entry)
    assert evaluate.evaluate_runs([run]) == [lacking]  # made for other MRs: not asked for again
    monkeypatch.setattr(evaluate, "score_files", score_files)
    for content in (dict.fromkeys(METRICS, 0.99), {"BLEU": 7}, []):  # edited by hand
        files.write_json(run.decoding / "metrics.json", content)
        assert evaluate.evaluate_runs([run]) == [dict.fromkeys(METRICS, 0.5)]
    assert len(calls) == 5
    predictions = run.decoding / "predictions.tsv"
    predictions.write_text(predictions.read_text() + "name : X\tedited\n")
    with pytest.raises(ValueError, match=f"{predictions} is not what was decoded"):
        evaluate.evaluate_runs([run])
    assert len(calls) == 5


def test_what_the_scorer_notes_is_told_once(config, monkeypatch, recwarn):  # noqa: F811
    runs = [make_run(config), make_run(changed(config, decode={"beam": 3}))]
    for run in runs:
        stages.train_run(run, quiet)
        stages.decode_run(run, quiet)

    def score_files(references, paths, partial, metrics, report):
        scores = dict.fromkeys(METRICS, 0.5) | {"details": {"notes": ["words are glued"]}}
        return [SimpleNamespace(scores=scores, **KEPT) for _ in paths]

    monkeypatch.setattr(evaluate, "score_files", score_files)
    evaluate.evaluate_runs(runs)
    assert [str(w.message) for w in recwarn if "glued" in str(w.message)] == ["words are glued"]


def test_references_that_are_the_test_file_are_held_to_be_its_own(monkeypatch):
    """A list of references alone could be of the same length by chance."""
    seen, data = [], SimpleNamespace(test_path="t.csv", name="own")
    monkeypatch.setattr(evaluate, "read_prompts", lambda path, name: [("m", "m")])
    monkeypatch.setattr(evaluate, "check_sources", lambda _, path, own: seen.append(own))
    for path in ("t.csv", "other.csv"):
        of = SimpleNamespace(references=path)
        evaluate.check_references([SimpleNamespace(evaluate=of, data=data)])
    assert seen == [True, False]


def test_statistics_that_are_lost_are_made_again(config):  # noqa: F811
    run = make_run(config)
    stages.train_run(run, quiet)
    stages.decode_run(run, quiet)
    scores = evaluate.evaluate_runs([run])
    path = run.decoding / "statistics.json"
    kept = path.read_bytes()
    for content in (None, b"{}"):
        path.unlink()
        if content:
            path.write_bytes(content)
        assert evaluate.evaluate_runs([run]) == scores and path.read_bytes() == kept


def test_references_in_a_file_that_is_called_as_the_predictions(config, tmp_path):  # noqa: F811
    run = make_run(config)
    stages.train_run(run, quiet)
    stages.decode_run(run, quiet)
    other = tmp_path / "other/predictions.tsv"
    other.parent.mkdir()
    pairs = read_pairs(config.evaluate.references)
    other.write_text("MR\toutput\n" + "".join(f"{mr}\t{text}\n" for mr, text in pairs))
    run = make_run(changed(config, evaluate={"references": str(other)}))
    evaluate.evaluate_runs([run])
    inputs = files.read_json(run.decoding / "environment.json")["evaluate"]["inputs"]
    sums = [files.file_sha256(path) for path in (run.decoding / "predictions.tsv", other)]
    assert inputs == {"predictions.tsv": sums[0], "references": sums[1]}
