"""Scores from sums of segment statistics against the scores of the texts themselves."""

import json
from pathlib import Path

import numpy as np
import pytest

from eval import records
from eval.compare import kept
from eval.metrics import METRICS
from eval.metrics.statistics import read, save, scores
from eval.score import score, score_systems

ROOT = Path(__file__).resolve().parents[2]
REFERENCES = [
    ["Zizzi is a cheap pub by the river.", "By the river is Zizzi, an inexpensive inn."],
    ["Blue is a pub.", "There is a pub called Blue.", "Blue"],
    ["The Wok serves Chinese food in the city centre."],
]
MRS = ["name[Zizzi], priceRange[cheap]", "eatType[pub]", "food[Chinese], area[city centre]"]
HYPOTHESES = ["Zizzi is a low-cost pub near the rivers.", "Blue is a pub.", "The Wok has food"]


@pytest.fixture(scope="module")
def result():
    (result,) = score_systems([(HYPOTHESES, REFERENCES)], sources=[MRS])
    return result


def test_whole_corpus(result):
    found = scores(result.statistics, np.ones((1, 3)))
    for name in METRICS:
        assert found[name][0] == pytest.approx(result.scores[name], abs=1e-12), name


def test_resample_is_the_corpus_of_these_segments(result):
    """All but NIST and CIDEr of a resample by scoring its texts anew; the weights of these two stay
    those of the whole."""
    taken = [0, 2, 0, 1, 0]
    weights = np.bincount(taken)[None]
    found = scores(result.statistics, weights)
    anew = score([HYPOTHESES[i] for i in taken], [REFERENCES[i] for i in taken])
    for name in ("BLEU", "METEOR", "ROUGE_L", "chrF"):
        assert found[name][0] == pytest.approx(anew[name], abs=1e-9), name


def test_all_perfect_and_all_wrong():
    (perfect, wrong) = score_systems([(["a b", "c"], [["a b"], ["c"]]), (["x"], [["y z"]])])
    for result in (perfect, wrong):
        found = scores(result.statistics, np.ones((1, len(result.statistics["BLEU"]))))
        assert found["METEOR"][0] == pytest.approx(result.scores["METEOR"], abs=1e-12)
        assert found["NIST"][0] == pytest.approx(result.scores["NIST"], abs=1e-12)
    assert perfect.scores["METEOR"] == 1 and wrong.scores["METEOR"] == 0


def test_saved_for_its_inputs_only(result, tmp_path):
    path = tmp_path / "statistics.json"
    assert read(path, {}) is None
    save(path, result.statistics, ["a", "é", ""], {"predictions": "1"})
    statistics, sources = read(path, {"predictions": "1"})
    assert list(statistics) == list(METRICS) and sources == ["a", "é", ""]
    assert all((rows == result.statistics[name]).all() for name, rows in statistics.items())
    assert read(path, {"predictions": "2"}) is None
    path.write_text(path.read_text()[:-9])
    assert read(path, {"predictions": "1"}) is None  # damaged: computed anew


def test_statistics_of_another_version_are_used_for_what_they_hold(tmp_path):
    """A metric with other columns than today's, or without any, is left out, not the file."""
    path, rows = tmp_path / "statistics.json", np.arange(6.0).reshape(3, 2)
    save(path, {"ROUGE_L": rows[:, :1], "CIDEr": rows[:, 1:]}, ["a", "b", "c"], {})
    content = json.loads(path.read_text())
    assert content["columns"]["CIDEr"] == ["CIDEr"]
    content["columns"] |= {"CIDEr": ["CIDEr, with another length penalty"], "new": ["x"]}
    path.write_text(json.dumps(content))
    statistics, sources = read(path, {})
    assert list(statistics) == ["ROUGE_L"] and sources == ["a", "b", "c"]
    assert (statistics["ROUGE_L"] == rows[:, :1]).all()


def test_the_committed_statistics_give_the_committed_scores():
    """Of the packed runs on standin12."""
    paths = sorted((ROOT / "results/standin12/runs").glob("*.json"))
    assert paths
    for path in paths:
        side = kept(path)
        computed = scores(side.statistics, np.ones((1, len(side.sources))))
        expected = records.read_scores(path)
        assert list(computed) == list(METRICS)
        for name, [score_] in computed.items():
            assert score_ == pytest.approx(expected[name], abs=1e-10), (path, name)
