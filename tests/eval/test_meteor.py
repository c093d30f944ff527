"""METEOR fed fast against METEOR run the official way, and the dictionaries cut down for it."""

import gzip
import os
import random
import zipfile
from itertools import combinations
from pathlib import Path

import pytest

from eval.metrics import lexicon, meteor
from eval.metrics.java import jar, run_filter
from eval.metrics.lexicon import paraphrases, read_paraphrases, synonyms
from eval.metrics.meteor import JAR, PARAPHRASES, OddText, normalize, prepare

# Words that share stems, synonyms, irregular forms and paraphrases, in all kinds of writing.
WORDS = """
the a cheap inexpensive low-cost low-priced cheaper restaurant restaurants diner eatery pub coffee
shop café cafés men man children child kids family-friendly kid-friendly families n't 's 'll ' ''
`` -lrb- -rrb- # 20 3.5 1,000 20-25 u.s. st. etc. . .. ... , ; & | - -- – ’ “ ” is are was were be
been located situated near close to by in city centre center riverside good better best great
excellent high highly rated rating customer customers offers offering serves serving served food
foods dishes boxes churches geese goose went go goes feet foot us it its it's a-b-c x'y't 'tis
rock'n'roll İstanbul über naïve 100% $5 @ * / \\ ~ _ nan 1/2 mr. no. 5 fig. average price range
moderately priced does not do allow welcome wonderful hopeful less
""".split()


def texts(seed: int, count: int, longest: int = 25) -> list[str]:
    pick = random.Random(seed)
    return [
        " ".join(pick.choice(WORDS) for _ in range(pick.randrange(longest))) for _ in range(count)
    ]


def picker(table):
    """What eval/metrics/systems.py does in the background, done at once."""
    return lambda texts: lambda: gzip.compress(paraphrases(table, texts), 1)


def test_fast_equals_official():
    """Same score of every segment, on odd texts and, where there are, on real outputs."""
    hypotheses = texts(1, 250)
    groups = [texts(seed, 1 + seed % 4) for seed in range(250)]
    for i in range(0, 250, 5):  # near copies, so that long phrases match
        words = groups[i][0].split(" ")
        hypotheses[i] = " ".join(words[: len(words) // 2] + texts(i, 1, 6) + words[-3:])
    corpora = [(hypotheses, groups), (hypotheses[:3], [["x"], [""], groups[0]])]
    table = meteor.read_paraphrases(jar(PARAPHRASES))
    fast, official = prepare(corpora, picker(table)), prepare(corpora)
    assert fast.dictionaries is not None and official.dictionaries is None
    scores = meteor.meteor(fast)
    assert scores == meteor.meteor(official)
    assert len(scores[0][1]) == 250 and len({round(score, 6) for score in scores[0][1]}) > 150


def test_pieces_normalise_like_whole_texts():
    whole = list(dict.fromkeys(text.strip() for text in texts(2, 3000)))
    arguments = ["-cp", jar(JAR), "edu.cmu.meteor.util.Normalizer", "en", "true"]
    output = run_filter("the normaliser", arguments, "\n".join(whole) + "\n").split("\n")[:-1]
    found = normalize(whole)
    assert len(output) == len(whole) > 2500
    assert [found[text].split() for text in whole] == [line.split() for line in output]


@pytest.mark.parametrize("text", ["a ||| b", "a\rb", "a\nb"])
def test_odd_texts_go_the_official_way(text):
    with pytest.raises(OddText):
        normalize([text])
    job = prepare([(["a"], [["b", text]])], lambda texts: pytest.fail("no table is needed"))
    assert job.dictionaries is None


def test_paraphrases_are_those_whose_words_all_occur(tmp_path):
    """Against the slow obvious filter, on a sorted table with phrases that begin one another."""
    pick = random.Random(3)
    words = ["a", "ab", "b", "c'", "d", "é", "e-f"]
    phrases = sorted({" ".join(pick.choices(words, k=pick.randrange(1, 5))) for _ in range(400)})
    entries = [
        (phrase, " ".join(pick.choices([*words, "zz"], k=pick.randrange(1, 4))))
        for phrase in sorted(phrases, key=lambda phrase: phrase.encode())
        for _ in range(pick.randrange(1, 4))
    ]
    path = tmp_path / "table.gz"
    text = "".join(f"0.{i}\n{phrase}\n{other}\n" for i, (phrase, other) in enumerate(entries))
    path.write_bytes(gzip.compress(text.encode("utf-8")))
    lines = ["a ab a", "d  é b", "E-F ab c'", ""]
    split = [line.lower().split() for line in lines]
    vocabulary = {word for line in split for word in line}

    def occurs(phrase: list[str]) -> bool:
        return any(line[i : i + len(phrase)] == phrase for line in split for i in range(len(line)))

    expected = [
        (phrase, other)
        for phrase, other in entries
        if occurs(phrase.split()) and vocabulary.issuperset(other.split())
    ]
    found = paraphrases(read_paraphrases(path), lines).decode("utf-8").split("\n")
    assert list(zip(found[1::3], found[2::3], strict=True)) == expected
    assert 0 < len(expected) < len(entries) / 2


def test_no_paraphrase_table(tmp_path):
    path = tmp_path / "table.gz"
    path.write_bytes(gzip.compress(b"0.5\na\n"))
    with pytest.raises(ValueError, match="is not a paraphrase table: 2 lines"):
        read_paraphrases(path)


def test_synonyms_link_the_same_words():
    """Two words have a synset in common where they have one in METEOR's own dictionary."""

    def read(text: str) -> dict[str, set[str]]:
        lines = text.split("\n")
        return dict(zip(lines[0::2], (set(line.split()) for line in lines[1::2]), strict=False))

    with zipfile.ZipFile(jar(JAR)) as archive:
        original = read(archive.read(lexicon.SYNSETS).decode("utf-8"))
    words = ["big", "large", "hound", "goose", "xyzzy", *[*original][30000:31500]]
    found = read(synonyms(jar(JAR), [" ".join(words), "dogs geese"])[lexicon.SYNSETS])
    assert original.keys() & {*words, "dog"} <= found.keys() - {"xyzzy"}
    assert all(own <= original[word] for word, own in found.items())
    linked = 0
    for first, second in combinations(sorted(found.keys() & set(words)), 2):
        assert found[first].isdisjoint(found[second]) == original[first].isdisjoint(
            original[second]
        ), (first, second)
        linked += not found[first].isdisjoint(found[second])
    assert linked > 100 and not found["big"].isdisjoint(found["large"])
    assert not found["dog"].isdisjoint(found["hound"])  # dogs has no entry of its own
    assert len(found["goose"]) == 1  # which goose and geese have in common
    assert sum(map(len, found.values())) < sum(len(original[word]) for word in found) / 3


def test_real_outputs_fast_and_official():
    """One system of the E2E challenge, segment by segment (half a minute)."""
    data, systems = os.environ.get("E2E_DATA_DIR"), os.environ.get("E2E_SYSTEMS_DIR")
    if not data or not systems:
        pytest.skip("E2E_DATA_DIR or E2E_SYSTEMS_DIR is not set")
    if not os.environ.get("EVAL_ALL_SYSTEMS"):
        pytest.skip("takes half a minute; set EVAL_ALL_SYSTEMS=1")
    from eval.metrics.ptb import tokenize_corpora
    from eval.readers import load

    loaded = load(Path(data, "testset_w_refs.csv"), [Path(systems, "tuda.tsv")])
    corpora = tokenize_corpora([(d.hypotheses, d.references) for d in loaded])
    table = read_paraphrases(jar(PARAPHRASES))
    assert meteor.meteor(prepare(corpora, picker(table))) == meteor.meteor(prepare(corpora))
