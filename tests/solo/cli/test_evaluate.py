"""What is scored is not scored again, unless the registry has a metric that it lacks."""

from types import SimpleNamespace

from eval.metrics import METRICS
from solo import files
from solo.cli import evaluate
from solo.runs import stages
from solo.runs.run import make_run
from tests.solo.runs.conftest import config, quiet, values  # noqa: F401


def test_a_run_without_a_metric_is_scored_anew(config, monkeypatch):  # noqa: F811
    run, calls = make_run(config), []
    stages.train_run(run, quiet)
    stages.decode_run(run, quiet)

    def score_files(references, paths):
        calls.append(paths)
        scores = dict.fromkeys(METRICS, 0.5)
        return [SimpleNamespace(scores=scores, statistics=None, sources=[]) for _ in paths]

    monkeypatch.setattr(evaluate, "score_files", score_files)
    monkeypatch.setattr(evaluate, "save", lambda *arguments: None)
    for _ in range(2):
        assert evaluate.evaluate_runs([run]) == [dict.fromkeys(METRICS, 0.5)]
    assert len(calls) == 1 and run.state()[0] == "done"
    older = {name: 0.5 for name in METRICS if name != "chrF"}
    files.write_json(run.decoding / "metrics.json", older)
    assert evaluate.evaluate_runs([run]) == [dict.fromkeys(METRICS, 0.5)]
    assert len(calls) == 2
