"""Differences over seeds and MRs: by hand, and by the slow obvious version."""

import numpy as np
import pytest

from eval.bootstrap import Outputs
from eval.claims import Spread, compare, holm, seed_spread
from eval.metrics import METRICS

SOURCES = [f"MR {i}" for i in range(40)]


def run(rouge, name="run", sources=SOURCES) -> Outputs:
    return Outputs(name, {"ROUGE_L": np.asarray(rouge, float)[:, None]}, list(sources))


METHODS, SEEDS, MRS, REST, NOISE = 6, 3, 40, 0.02, 0.1


def design(random, shift=0.0) -> list[list[Outputs]]:
    """Runs of METHODS methods with SEEDS seeds: a seed moves all methods alike and each by REST
    beside; a method suits some MRs more, by NOISE; the first one is better by `shift`."""
    seeds, methods = random.normal(0, 0.05, SEEDS), []
    for i in range(METHODS):
        mrs = 0.5 + shift * (i == 0) + random.normal(0, NOISE, MRS)
        methods.append([run(mrs + seed + random.normal(0, REST)) for seed in seeds])
    return methods


def mean(of_run: Outputs) -> float:
    return float(of_run.statistics["ROUGE_L"].mean())


def spread_of(methods) -> dict[str, Spread]:
    return {"ROUGE_L": seed_spread([dict(enumerate(map(mean, runs))) for runs in methods])}


@pytest.fixture
def methods():
    return design(np.random.default_rng(3), 0.03)


def test_the_spread_of_seeds_by_hand():
    """Two methods, three seeds: the sample deviation of the three differences. Method by method and
    seed by seed nothing else is left; a third method adds degrees, a single run none."""
    differences = np.array([0.1, 0.4, 0.3])
    pair = [{1: 0.5, 2: 0.9, 3: 0.2}, {}]
    pair[1] = {seed: pair[0][seed] - d for seed, d in zip(pair[0], differences, strict=True)}
    assert seed_spread(pair) == pytest.approx((differences.std(ddof=1), 2))
    assert seed_spread([*pair, {7: 0.3}]) == pytest.approx((differences.std(ddof=1), 2))
    third = {1: 0.0, 2: 0.1, 3: 0.3}
    rows = np.array([list(of.values()) for of in [*pair, third]])
    rest = rows - rows.mean(0) - rows.mean(1)[:, None] + rows.mean()
    assert seed_spread([*pair, third]) == pytest.approx((np.sqrt(2 * (rest**2).sum() / 4), 4))
    assert seed_spread([]) is seed_spread([{1: 0.5}, {1: 0.4, 2: 0.3}]) is None


def test_the_slow_obvious_version(methods):
    a, b, spreads = methods[0], methods[1], spread_of(methods)
    claim = compare(a, b, spreads, samples=4000)["ROUGE_L"]
    random, differences, spread = np.random.default_rng(8), [], spreads["ROUGE_L"]
    for _ in range(4000):
        mrs = random.integers(MRS, size=MRS)
        of_seeds = [
            x.statistics["ROUGE_L"][mrs].mean() - y.statistics["ROUGE_L"][mrs].mean()
            for x, y in zip(a, b, strict=True)
        ]
        error = spread.deviation / np.sqrt(SEEDS)
        differences.append(np.mean(of_seeds) + error * random.standard_t(spread.freedom))
    low, high = np.percentile(differences, [2.5, 97.5])
    assert claim.low == pytest.approx(low, abs=0.006)
    assert claim.high == pytest.approx(high, abs=0.006)
    assert claim.visible == pytest.approx(2.8 * np.std(differences), rel=0.1)
    share = 2 * min(np.mean(np.array(differences) <= 0), np.mean(np.array(differences) >= 0))
    assert claim.p == pytest.approx(share, abs=0.04)
    assert [claim.a, claim.b] == pytest.approx([np.mean(list(map(mean, side))) for side in (a, b)])


@pytest.mark.parametrize("runs", [SEEDS, 1])
def test_an_interval_holds_the_truth_as_often_as_it_says(runs):
    """In 95 of 100 repetitions of the whole experiment, with three seeds and with one."""
    random, hits = np.random.default_rng(5), []
    for _ in range(400):
        methods = design(random)
        sides = (side[:runs] for side in methods[:2])
        claim = compare(*sides, spread_of(methods), samples=400)["ROUGE_L"]
        hits.append(claim.low <= 0 <= claim.high)
    assert 0.92 <= np.mean(hits) <= 0.98


def test_asked_the_other_way_round_the_answer_is_the_same(methods):
    a, b, spreads = methods[0], methods[1], spread_of(methods)
    claim, turned = (compare(*sides, spreads)["ROUGE_L"] for sides in ((a, b), (b, a)))
    assert [turned.low, turned.high, turned.p] == pytest.approx([-claim.high, -claim.low, claim.p])


def test_the_order_of_the_mrs_and_bad_sides(methods):
    a, b = methods[:2]
    turned = [run(r.statistics["ROUGE_L"][::-1, 0], sources=SOURCES[::-1]) for r in b]
    assert compare(a, turned, {}) == compare(a, b, {})
    with pytest.raises(ValueError, match="a method has no run"):
        compare(a, [], {})
    with pytest.raises(ValueError, match="have outputs for other MRs"):
        compare(a[:1], [run(np.ones(3), sources=SOURCES[:3])], {})
    with pytest.raises(ValueError, match="need the same seeds"):
        compare(a, b[:2], {})
    with pytest.raises(ValueError, match="no metric in common"):
        compare(
            a[:1],
            [Outputs("x", {"BLEU": np.ones((40, len(METRICS["BLEU"].columns)))}, SOURCES)],
            {},
        )


def test_holm_by_hand():
    """Of four: 0.01 x 4, 0.02 x 3, 0.03 x 2 (raised to the one before), 0.5 x 1."""
    assert holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx([0.06, 0.04, 0.5, 0.06])
    assert holm([0.6, 0.9]) == [1.0, 1.0] and holm([]) == []
    some, planned = [0.03, 0.01], [0.03, 0.01, 1, 1]  # what has not been run decides nothing
    assert holm(some, 4) == holm(planned)[:2] == pytest.approx([0.09, 0.04])
