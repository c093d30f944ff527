"""ROUGE-L and CIDEr against the classes of the pycocoevalcap package."""

import random

import numpy as np
import pytest
from pycocoevalcap.cider.cider import Cider
from pycocoevalcap.rouge.rouge import Rouge

from eval.metrics.cider import cider
from eval.metrics.rouge_l import rouge_l

WORDS = ["a", "b", "the", "café", "on", "x", "", "of the"]


def package(hypotheses, references):
    """As the official script calls them."""
    outputs = {i: [text] for i, text in enumerate(hypotheses)}
    groups = {i: list(group) for i, group in enumerate(references)}
    computed = {}
    for name, scorer in (("ROUGE_L", Rouge()), ("CIDEr", Cider())):
        score, scores = scorer.compute_score(groups, outputs)
        computed[name] = (float(score), [float(value) for value in scores])
    return computed


def ours(hypotheses, references, cache=None):
    """The same from this project's files."""
    rouge = [rouge_l(*pair) for pair in zip(hypotheses, references, strict=True)]
    computed = {"ROUGE_L": rouge, "CIDEr": cider(hypotheses, references, cache)}
    return {name: (float(np.mean(values)), values) for name, values in computed.items()}


def test_like_the_package():
    pick = random.Random(5)

    def text() -> str:
        return " ".join(pick.choice(WORDS) for _ in range(pick.randrange(12)))

    cache: dict = {}
    for _ in range(150):
        hypotheses = [text() for _ in range(pick.randrange(1, 9))]
        references = [[text() for _ in range(pick.randrange(1, 5))] for _ in hypotheses]
        references[0][0] += " word"
        if len(hypotheses) > 2:
            references[1] = references[2]  # an MR that comes twice
        expected = package(hypotheses, references)
        for _ in range(2):  # the second time with what the first one left
            computed = ours(hypotheses, references, cache)
            for name, (score, scores) in expected.items():
                assert computed[name][0] == pytest.approx(score, abs=1e-12), name
                assert computed[name][1] == pytest.approx(scores, abs=1e-12), name
        hypotheses = hypotheses[::-1]  # another system, the same references
        assert ours(hypotheses, references, cache)["CIDEr"][1] == pytest.approx(
            package(hypotheses, references)["CIDEr"][1], abs=1e-12
        )


def test_very_long_text():
    long = " ".join(f"w{i % 97}" for i in range(3000))
    other = " ".join(f"w{i % 89}" for i in range(1500))
    expected = package([long], [[other]])["ROUGE_L"]
    assert ours([long], [[other]])["ROUGE_L"] == expected
