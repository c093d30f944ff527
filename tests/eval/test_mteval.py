"""BLEU and NIST against hand computations, a slow formula and the official tokeniser."""

import math
import random

import pytest
from nltk.translate.bleu_score import corpus_bleu
from nltk.translate.nist_score import corpus_nist

from eval.metrics.bleu import METRIC, bleu
from eval.metrics.mteval import matches, tokenize
from eval.metrics.nist import nist

CAT = (["The cat sat on mat"], [["the cat sat on the mat"]])


def mteval_scores(hypotheses, references) -> dict[str, float]:
    counted = matches(hypotheses, references)
    return {"BLEU": bleu(counted), "NIST": nist(counted)}


def test_bleu_by_hand():
    # 5 of 5 words, 3 of 4 pairs, 2 of 3 triples, 1 of 2 quadruples; 5 words against 6
    expected = (1 * 3 / 4 * 2 / 3 * 1 / 2) ** 0.25 * math.exp(1 - 6 / 5)
    assert bleu(matches(*CAT)) == pytest.approx(expected, abs=1e-12)


def test_nist_by_hand():
    # "the" is 2 of the 6 reference words, four more words match, each 1 of 6; of the pairs only
    # "the cat" tells anything: "the" is followed by "cat" in 1 of 2 cases. Longer ones tell 0.
    information = (math.log2(6 / 2) + 4 * math.log2(6)) / 5 + math.log2(2 / 1) / 4
    penalty = math.exp(math.log(0.5) * (math.log(5 / 6) / math.log(2 / 3)) ** 2)
    assert nist(matches(*CAT)) == pytest.approx(information * penalty, abs=1e-12)


def test_a_score_above_1_is_one_of_outputs_of_few_words():
    """The official rule takes words off the totals, more than there are: 12 outputs of two words
    and 2 of five. A run with such a score is scored, not damaged."""
    texts = ["yes please"] * 12 + ["a b c d e"] * 2
    score = bleu(matches(texts, [[text] for text in texts]))
    assert score > 2 and METRIC.allows(score)
    assert not any(map(METRIC.allows, (math.inf, math.nan, -0.1)))


def test_perfect_and_hopeless():
    texts = ["a b c d e f", "g h i j k l"]
    assert mteval_scores(texts, [[text] for text in texts])["BLEU"] == pytest.approx(1)
    hopeless = mteval_scores(["x x x x x"], [["a b c d e"]])
    assert 0 < hopeless["BLEU"] < 1e-12 and hopeless["NIST"] == 0


def test_closest_reference_prefers_the_shorter():
    # 4 words; references of 3 and 5 are equally close, so nothing is lost to brevity
    assert bleu(matches(["a b c d"], [["a b c d e", "b c d"]])) == pytest.approx(1)
    assert bleu(matches(["a b c d"], [["a b c d e"]])) == pytest.approx(math.exp(-1 / 4))


def test_short_outputs_shorten_the_totals():
    # 10 words match in all orders; a second output of one word adds 1, 0, -1, -2 n-grams
    ten = "a b c d e f g h i j"
    expected = ((10 / 11) * (9 / 9) * (8 / 7) * (7 / 5)) ** 0.25
    assert bleu(matches([ten, "x"], [[ten], ["y"]])) == pytest.approx(expected)


def test_empty_text_is_one_empty_token():
    assert tokenize("") == tokenize("  \n ") == [""]
    # which matches an empty reference: two words here, each 1 of 2 of the references
    assert nist(matches(["", "a"], [[""], ["a"]])) == pytest.approx(math.log2(2 / 1))


def _nltk(scorer, hypotheses, references):
    """A score of nltk's from the same tokens."""
    groups = [[tokenize(text) for text in group] for group in references]
    return scorer(groups, [tokenize(text) for text in hypotheses])


def test_nltk_gives_the_same_where_it_counts_the_same():
    """BLEU where every output has four words; NIST where it has five and one reference."""
    hypotheses, references = CAT[0] + ["a cheap pub near the big river"], [*CAT[1]]
    references += [["the cheap pub by the big river"]]
    corpus = (hypotheses, references)
    theirs = [_nltk(scorer, *corpus) for scorer in (corpus_bleu, corpus_nist)]
    assert list(mteval_scores(*corpus).values()) == pytest.approx(theirs, abs=1e-12)
    references[1] += ["a cheap and cheerful pub", "near the big river"]
    theirs = _nltk(corpus_bleu, *corpus)
    assert mteval_scores(*corpus)["BLEU"] == pytest.approx(theirs, abs=1e-12)


def test_nltk_counts_short_outputs_and_several_references_otherwise():
    # Here a word alone takes 0, 1, 2 from the n-grams of orders 2, 3, 4; in nltk it adds 1 to each.
    ten = "a b c d e f g h i j"
    ours, theirs = (9 / 9 * 8 / 7 * 7 / 5) ** 0.25, (9 / 10 * 8 / 9 * 7 / 8) ** 0.25
    corpus = ([ten, "x"], [[ten], ["y"]])
    assert mteval_scores(*corpus)["BLEU"] == pytest.approx(ours * (10 / 11) ** 0.25)
    assert _nltk(corpus_bleu, *corpus) == pytest.approx(theirs * (10 / 11) ** 0.25)
    # Six words, each 1 of 12, three of them in either reference; pairs and longer ones tell 0.
    corpus = (["a b c d e f"], [["a b c x y z", "u v w d e f"]])
    assert mteval_scores(*corpus)["NIST"] == pytest.approx(math.log2(12))
    assert _nltk(corpus_nist, *corpus) == pytest.approx(math.log2(12) / 2)


@pytest.mark.parametrize(
    ("text", "tokens"),  # from NGramScore.tokenize of the official script, then lower()
    [
        ("It costs £20-25, i.e. 3.50!", "it costs £20 - 25 , i . e . 3.50 !"),
        ("non-\nstop 5-star\nB&amp;B (1,000)", "nonstop 5 - star b & b ( 1,000 )"),
        ("<skipped>&quot;It's&quot; &lt;b&gt; Café.", '" it\'s " < b > café .'),
        ("a ||| b", "a | | | b"),
        ("U.S. .5 x,y 1.", "u . s . . 5 x , y 1 ."),
    ],
)
def test_tokens(text, tokens):
    assert tokenize(text) == tokens.split(" ")


def _count(tokens, ngram):
    n = len(ngram)
    return sum(tokens[i : i + n] == ngram for i in range(len(tokens) - n + 1))


def _slow(corpus):
    """Both formulas from their papers, with lists and nested loops only."""

    def clipped(hyp, refs, n):
        seen = []
        for i in range(len(hyp) - n + 1):
            if hyp[i : i + n] not in seen:
                seen.append(hyp[i : i + n])
        return [(g, min(_count(hyp, g), max(_count(r, g) for r in refs))) for g in seen]

    def information(ngram):
        refs = [r for _, rs in corpus for r in rs]
        whole = sum(_count(r, ngram) for r in refs)
        rest = sum(_count(r, ngram[:-1]) if ngram[1:] else len(r) for r in refs)
        return math.log(rest / whole) / math.log(2)

    length = sum(len(h) for h, _ in corpus)
    product = 1.0
    for n in range(1, 5):
        hits = sum(k for h, rs in corpus for _, k in clipped(h, rs, n))
        product *= max(hits, 1e-15) / (length - (n - 1) * len(corpus))
    closest = 0
    for h, rs in corpus:
        closest += min((len(r) for r in rs), key=lambda k, h=h: (abs(k - len(h)), k))
    slow_bleu = product**0.25 * min(1, math.exp(1 - closest / length))

    slow_nist = 0.0
    for n in range(1, 6):
        gain = sum(k * information(g) for h, rs in corpus for g, k in clipped(h, rs, n) if k)
        slow_nist += gain / (length - (n - 1) * len(corpus))
    ratio = min(1, length / sum(sum(map(len, rs)) / len(rs) for _, rs in corpus))
    return slow_bleu, slow_nist * 0.5 ** ((math.log(ratio) / math.log(1.5)) ** 2)


@pytest.mark.parametrize("seed", range(12))
def test_against_slow_formula(seed):
    rng = random.Random(seed)

    def sentence():
        return " ".join(rng.choice("abc") for _ in range(rng.randint(6, 10)))

    hypotheses = [sentence() for _ in range(5)]
    references = [[sentence() for _ in range(rng.randint(1, 4))] for _ in hypotheses]
    corpus = [
        (h.split(), [r.split() for r in rs]) for h, rs in zip(hypotheses, references, strict=True)
    ]
    expected = _slow(corpus)
    got = mteval_scores(hypotheses, references)
    assert (got["BLEU"], got["NIST"]) == pytest.approx(expected, abs=1e-10)
