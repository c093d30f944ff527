"""chrF++ against sacrebleu's own corpus_score and sentence_score, on the real systems."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from sacrebleu.metrics import CHRF

from eval.metrics.chrf import METRIC, measure
from eval.metrics.texts import Texts
from eval.readers import load

ORIGINAL = CHRF(word_order=2)


def ours(corpora, by_segment=False):
    with ThreadPoolExecutor(1) as background:
        return measure(Texts(corpora, by_segment, background, lambda done, total: None))


def theirs(hypotheses, references) -> float:
    longest = max(map(len, references))
    columns = [[g[i] if i < len(g) else None for g in references] for i in range(longest)]
    return ORIGINAL.corpus_score(hypotheses, columns).score / 100


def test_real_systems_and_their_resamples():
    """All systems at once, each held to the original on a sixth of the MRs, one on all of them; of
    one also a resample, from its texts."""
    data, systems = os.environ.get("E2E_DATA_DIR"), os.environ.get("E2E_SYSTEMS_DIR")
    if not data or not systems:
        pytest.skip("E2E_DATA_DIR or E2E_SYSTEMS_DIR is not set")
    paths = sorted(Path(systems).glob("*.tsv"))
    paths.remove(Path(systems, "expected.tsv"))
    loaded = load(Path(data, "testset_w_refs.csv"), paths)
    corpora = [(texts.hypotheses, texts.references) for texts in loaded]
    parts = [(hypotheses[::6], references[::6]) for hypotheses, references in corpora]
    [whole, *results] = ours([corpora[0], *parts])
    assert len(results) == 6 and len(corpora[0][0]) == 630 and len(parts[0][0]) == 105
    assert whole.score == pytest.approx(theirs(*corpora[0]), abs=1e-12)
    for path, corpus, measured in zip(paths, parts, results, strict=True):
        assert measured.score == pytest.approx(theirs(*corpus), abs=1e-12), path.name
    drawn = np.random.default_rng(1).integers(0, 105, 105)
    weights = np.bincount(drawn, minlength=105)[None]
    hypotheses, references = parts[0]
    expected = theirs([hypotheses[i] for i in drawn], [references[i] for i in drawn])
    [score] = METRIC.from_sums(weights @ results[0].statistics, weights.sum(1))
    assert score == pytest.approx(expected, abs=1e-12)


def test_segments_and_odd_texts():
    hypotheses = ["A pub.", "", "a", "Zizzi (cheap), by the river!", "Ä é", "  "]
    references = [["a pub", "A pub ."], ["x"], [""], ["Zizzi is cheap."], ["Ä é"], ["  ", "b"]]
    hypotheses += ["A p", "A pub here"]
    references += [["A pub here"], ["A p"]]  # one side lacks orders that the other has
    [measured] = ours([(hypotheses, references)], by_segment=True)
    pairs = zip(hypotheses, references, strict=True)
    expected = [ORIGINAL.sentence_score(*pair).score / 100 for pair in pairs]
    assert list(measured.by_segment["chrF"]) == pytest.approx(expected, abs=1e-12)
    assert expected[4] == 1 and expected[1] == 0
    assert measured.score == pytest.approx(theirs(hypotheses, references), abs=1e-12)


def test_case_counts():
    [lower], [upper] = (
        ours([([text], [["A cheap pub"]])]) for text in ("a cheap pub", "A cheap pub")
    )
    assert lower.score < upper.score == 1
