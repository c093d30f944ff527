"""Claims over seeds and MRs: by hand, by the slow obvious version, and against the paired one."""

import numpy as np
import pytest

from eval.claims import POWER, hierarchical, holm
from eval.compare import Outputs, compare
from eval.metrics import METRICS

SOURCES = [f"MR {i}" for i in range(40)]


def run(rouge, name="run", sources=SOURCES) -> Outputs:
    return Outputs(name, {"ROUGE_L": np.asarray(rouge, float)[:, None]}, list(sources))


@pytest.fixture
def methods():
    """Three seeds of two methods: seeds differ by 0.05, methods by 0.02, MRs by more."""
    random = np.random.default_rng(3)
    mrs = random.random(40)
    return [
        [run(mrs + shift + 0.05 * seed + 0.1 * random.random(40)) for seed in range(3)]
        for shift in (0.02, 0.0)
    ]


def test_the_slow_obvious_version(methods):
    a, b = methods
    claim = hierarchical(a, b, samples=4000)["ROUGE_L"]
    random, differences = np.random.default_rng(8), []
    for _ in range(4000):
        mrs = random.integers(40, size=40)
        means = [
            np.mean([side[i].statistics["ROUGE_L"][mrs].mean() for i in random.integers(3, size=3)])
            for side in methods
        ]
        differences.append(means[0] - means[1])
    low, high = np.percentile(differences, [2.5, 97.5])
    assert claim.low == pytest.approx(low, abs=0.006)
    assert claim.high == pytest.approx(high, abs=0.006)
    assert claim.visible == pytest.approx(POWER * np.std(differences), rel=0.06)
    share = 2 * min(np.mean(np.array(differences) <= 0), np.mean(np.array(differences) >= 0))
    assert claim.p == pytest.approx(share, abs=0.04)
    by_hand = [np.mean([r.statistics["ROUGE_L"].mean() for r in side]) for side in methods]
    assert [claim.a, claim.b] == pytest.approx(by_hand)


def test_one_seed_is_the_paired_bootstrap(methods):
    (a, *_), (b, *_) = methods
    claim, paired = hierarchical([a], [b])["ROUGE_L"], compare(a, b)["ROUGE_L"]
    for name in ("a", "b", "low", "high", "p"):
        assert getattr(claim, name) == pytest.approx(getattr(paired, name), abs=1e-12), name


def test_seeds_that_differ_widen_the_interval(methods):
    a, b = methods
    three, first = hierarchical(a, b)["ROUGE_L"], hierarchical(a[:1], b[:1])["ROUGE_L"]
    assert three.high - three.low > 2 * (first.high - first.low)
    assert three.p > 0.05 > first.p  # what a pair of runs shows, other seeds do not


def test_the_order_of_the_mrs_and_bad_sides(methods):
    a, b = methods
    turned = [run(r.statistics["ROUGE_L"][::-1, 0], sources=SOURCES[::-1]) for r in b]
    assert hierarchical(a, turned) == hierarchical(a, b)
    with pytest.raises(ValueError, match="a method has no run"):
        hierarchical(a, [])
    with pytest.raises(ValueError, match="have outputs for other MRs"):
        hierarchical(a, [run(np.ones(3), sources=SOURCES[:3])])
    with pytest.raises(ValueError, match="no metric in common"):
        hierarchical(
            a, [Outputs("x", {"BLEU": np.ones((40, len(METRICS["BLEU"].columns)))}, SOURCES)]
        )


def test_holm_by_hand():
    """Of four: 0.01 x 4, 0.02 x 3, 0.03 x 2 (raised to the one before), 0.5 x 1."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []
