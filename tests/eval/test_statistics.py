"""Scores from sums of segment statistics against the scores of the texts themselves."""

import os
from pathlib import Path

import numpy as np
import pytest

from eval.metrics.statistics import read, save, scores
from eval.score import METRICS, score, score_files, score_systems

REFERENCES = [
    ["Zizzi is a cheap pub by the river.", "By the river is Zizzi, an inexpensive inn."],
    ["Blue is a pub.", "There is a pub called Blue.", "Blue"],
    ["The Wok serves Chinese food in the city centre."],
]
HYPOTHESES = ["Zizzi is a low-cost pub near the rivers.", "Blue is a pub.", "The Wok has food"]


def test_whole_corpus():
    (result,) = score_systems([(HYPOTHESES, REFERENCES)])
    found = scores(result.statistics, np.ones((1, 3)))
    assert {name: found[name][0] for name in METRICS} == pytest.approx(result.scores, abs=1e-12)


def test_resample_is_the_corpus_of_these_segments():
    """BLEU, METEOR and ROUGE-L of a resample by scoring its texts anew; the weights of NIST and
    CIDEr stay those of the whole, so these are left out."""
    (result,) = score_systems([(HYPOTHESES, REFERENCES)])
    taken = [2, 0, 0, 1, 2]
    weights = np.bincount(taken)[None]
    found = scores(result.statistics, weights)
    anew = score([HYPOTHESES[i] for i in taken], [REFERENCES[i] for i in taken])
    for name in ("BLEU", "METEOR", "ROUGE_L"):
        assert found[name][0] == pytest.approx(anew[name], abs=1e-9), name


def test_all_perfect_and_all_wrong():
    (perfect, wrong) = score_systems([(["a b", "c"], [["a b"], ["c"]]), (["x"], [["y z"]])])
    for result in (perfect, wrong):
        found = scores(result.statistics, np.ones((1, len(result.statistics))))
        assert found["METEOR"][0] == pytest.approx(result.scores["METEOR"], abs=1e-12)
        assert found["NIST"][0] == pytest.approx(result.scores["NIST"], abs=1e-12)
    assert perfect.scores["METEOR"] == 1 and wrong.scores["METEOR"] == 0


def test_saved_for_its_inputs_only(tmp_path):
    (result,) = score_systems([(HYPOTHESES, REFERENCES)])
    path = tmp_path / "statistics.json"
    assert read(path, {}) is None
    save(path, result.statistics, ["a", "é", ""], {"predictions": "1"})
    rows, sources = read(path, {"predictions": "1"})
    assert (rows == result.statistics).all() and sources == ["a", "é", ""]
    assert read(path, {"predictions": "2"}) is None


def test_real_system():
    data, systems = os.environ.get("E2E_DATA_DIR"), os.environ.get("E2E_SYSTEMS_DIR")
    if not data or not systems:
        pytest.skip("E2E_DATA_DIR or E2E_SYSTEMS_DIR is not set")
    (result,) = score_files(Path(data, "testset_w_refs.csv"), [Path(systems, "zhang.tsv")])
    found = scores(result.statistics, np.ones((1, 630)))
    for name in METRICS:
        assert found[name][0] == pytest.approx(result.scores[name], abs=1e-10), name
