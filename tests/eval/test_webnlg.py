"""WebNLG's scores against figures of the original programs, recorded here, and by hand.

pyter: pyter3 0.3, ter(hypothesis, reference). GenerationEval: WebNLG/GenerationEval, commit
8067849, eval.py -nr 6, on texts as microsoft/LoRA's gpt2_decode.py --tokenize --lower writes them.
"""

import json

import numpy as np
import pytest
from nltk.tokenize import NLTKWordTokenizer
from sacrebleu.metrics import BLEU, CHRF

from eval.bootstrap import Outputs
from eval.claims import compare
from eval.metrics import ALL, METRICS, SETS, ter
from eval.metrics.apart import apart, corpora_apart, nltk_words
from eval.metrics.statistics import read, save, scores
from eval.metrics.systems import score_systems
from eval.metrics.ter import edits
from eval.metrics.texts import Texts
from eval.metrics.webnlg import SEEN, measure_bleu, measure_chrf, measure_ter
from eval.readers import load
from eval.score import main, score_files

XML = """<?xml version="1.0"?>
<benchmark><entries>
<entry category="Airport" eid="Id1" size="1"><modifiedtripleset>
<mtriple>A_B | city | "Łódź"</mtriple></modifiedtripleset>
<lex comment="good" lid="Id1">A "B" serves Łódź.</lex>
<lex comment="toFix" lid="Id2">A B Łódź</lex>
<lex comment="good" lid="Id3">Łódź is served by A B.</lex></entry>
<entry category="Artist" eid="Id2" size="2"><modifiedtripleset>
<mtriple>X | genre | Jazz</mtriple><mtriple>X | born | 1950</mtriple></modifiedtripleset>
<lex comment="good" lid="Id1">X, born in 1950, plays jazz.</lex></entry>
</entries></benchmark>
"""
MRS = ['A_B : city : "Łódź"', "X : genre : Jazz | X : born : 1950"]
HYPOTHESES = ['A "B" serves Łódź .', "X plays jazz."]


@pytest.fixture
def files(tmp_path):
    (tmp_path / "refs.xml").write_text(XML, encoding="utf-8")
    (tmp_path / "hyps.txt").write_text("\n".join(HYPOTHESES) + "\n", encoding="utf-8")
    return tmp_path / "refs.xml", tmp_path / "hyps.txt"


# pyter.ter of pyter3 0.3 times the number of words of the reference.
BY_PYTER = [
    (
        "THIS WEEK THE SAUDIS denied information published in the new york times",
        "SAUDI ARABIA denied THIS WEEK information published in the AMERICAN new york times",
        4,
    ),
    ("a b c d", "a b c d", 0),
    ("", "a b", 2),
    ("c d a b", "a b c d", 1),  # one shift
    ("a a a", "b", 3),
    ("a b c d e f", "f e d c b a", 5),
    ("b a b a", "a b a b a b", 2),
]


@pytest.mark.parametrize(("hypothesis", "reference", "expected"), BY_PYTER)
def test_edits_are_those_of_pyter(hypothesis, reference, expected):
    assert edits([(hypothesis.split(), reference.split())]) == [expected]


def test_pairs_do_not_disturb_each_other_whatever_their_length():
    """Also a reference of more words than a machine word has bits, one shift away and unlike."""
    long = [f"w{i}" for i in range(70)]
    pairs = [(a.split(), b.split()) for a, b, _ in BY_PYTER]
    pairs += [(long[60:] + long[:60], long), (long[:-2] + ["x"], long), ([], long)]
    assert edits(pairs).tolist() == [*(n for _, _, n in BY_PYTER), 1, 2, 70]


def levenshtein(first, second):
    """Row by row, as in every textbook."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


def slow(hypothesis, reference):
    """pyter's rule in its plainest form."""
    shifts = 0
    while True:
        best = (0, hypothesis)
        for i, word in enumerate(hypothesis):
            for j, other in enumerate(reference):
                if word == other and i != j:
                    k = 1
                    while hypothesis[i + k : i + k + 1] == reference[j + k : j + k + 1] != []:
                        k += 1
                    rest = hypothesis[:i] + hypothesis[i + k :]
                    moved = rest[:j] + hypothesis[i : i + k] + rest[j:]
                    gain = levenshtein(hypothesis, reference) - levenshtein(moved, reference)
                    best = max(best, (gain, moved))
        if best[0] <= 0:
            return shifts + levenshtein(hypothesis, reference)
        shifts, hypothesis = shifts + 1, best[1]


def test_edits_of_many_texts_against_the_plain_rule():
    random = np.random.default_rng(0)
    pairs = [
        tuple(random.choice(list("abcde"), random.integers(low, 12)).tolist() for low in (0, 1))
        for _ in range(150)
    ]
    assert edits(pairs).tolist() == [slow(*pair) for pair in pairs]


def test_tokens_are_those_of_lora_and_of_nltk():
    """Expected by hand from gpt2_decode.py; nltk's tokeniser takes a text for one sentence."""
    assert apart("It's 18L/36R, U.S.  (a_b) Łódź–é.") == (
        "it ' s 18l / 36r , u . s . ( a_b ) łódź – é ."
    )
    texts = ['"Cannot" they?', "gonna, wanna; lemme gimme gotta", "don't ''x'' ... a_b wannabe"]
    for text in map(apart, texts):
        assert nltk_words(text).split() == NLTKWordTokenizer().tokenize(text)


def test_bleu_and_chrf_are_sacrebleus():
    """With what makes them GenerationEval's: 13a without smoothing, and epsilons; an empty output,
    an empty reference and more than six references among them."""
    groups = [[f"the cat no {i} sat on the mat ." for i in range(8)], ["a dog , 3 . 5 ran off"]]
    groups += [["x y z w v"], ["so it is , he said"], ["", "a b"]]
    hypotheses = ["the cat no 7 sat on a mat .", "a dog ran off , 3 . 5", "", "so it is he said"]
    hypotheses += ["so"]  # as near to no word as to two; the shorter one counts
    texts = Texts([(hypotheses, groups)], False, None, None)
    [bleu], [chrf] = measure_bleu(texts), measure_chrf(texts)
    wide = [[(group * 6)[i] if i >= len(group) else group[i] for group in groups] for i in range(6)]
    expected = BLEU(smooth_method="none").corpus_score(hypotheses, wide).score
    assert bleu.score == pytest.approx(expected / 100, abs=1e-12) and bleu.score > 0.1
    expected = CHRF(word_order=2, eps_smoothing=True).corpus_score(hypotheses, wide).score
    assert chrf.score == pytest.approx(expected / 100, abs=1e-12)


def test_a_resample_without_a_part_says_nothing_of_it():
    """Ten MRs, two of them unseen: one resample in ten has neither. The difference is -0.2 in all
    others, so nothing of the interval may be 0."""
    column = {"a": 0.5, "b": 0.7}
    sides = []
    for name, rate in column.items():
        rows = np.column_stack([np.ones(10), np.full(10, rate)])
        part = rows * np.array([0.0] * 8 + [1.0] * 2)[:, None]
        statistics = {"TER all": rows, "TER unseen": part}
        sides.append(Outputs(name, statistics, [f"MR {i}" for i in range(10)]))
    found = compare(*([side] for side in sides))["TER unseen"]
    assert (found.low, found.high) == pytest.approx((-0.2, -0.2)) and found.p < 0.001


def test_seen_and_unseen_are_the_corpora_of_these_segments(files, tmp_path):
    refs, hyps = files
    [result] = score_files(refs, [hyps], by_segment=True)
    assert list(result.statistics) == list(SETS["webnlg"])
    [data] = load(refs, [hyps])
    for i, part in enumerate(("seen", "unseen")):
        [alone] = score_systems([([data.hypotheses[i]], [data.references[i]])], metrics="webnlg")
        for metric in ("BLEU", "METEOR", "TER", "chrF"):
            expected = alone.scores[f"{metric} all"]
            assert result.scores[f"{metric} {part}"] == pytest.approx(expected, abs=1e-6)
        assert list(alone.scores) == ["BLEU all", "METEOR all", "TER all", "chrF all"]
    # "X plays jazz ." is two commas, "born", "in" and "1950" short of nine words.
    assert result.scores["TER seen"] == 0 and result.scores["TER unseen"] == 5 / 9
    assert result.segments[1]["TER"] == 5 / 9
    save(tmp_path / "s.json", result.statistics, MRS, {})
    assert json.loads((tmp_path / "s.json").read_text())["parts"] == {
        "seen": [1, 0], "unseen": [0, 1],
    }  # fmt: skip
    statistics, _ = read(tmp_path / "s.json", {})
    assert all((rows == result.statistics[name]).all() for name, rows in statistics.items())
    drawn = scores(statistics, np.array([[1, 1], [2, 0]]))
    assert drawn["TER unseen"][0] == 5 / 9 and np.isnan(drawn["TER unseen"][1])  # none was drawn
    assert drawn["TER all"][0] == 5 / 18


def test_the_first_category_of_an_mr_counts(tmp_path):
    """An MR of two entries is one segment."""
    entry = XML.split("<entries>")[1].split("</entry>")[0] + "</entry>"
    twice = entry + entry.replace("Airport", "Artist").replace("Id1", "Id9")
    (tmp_path / "a.xml").write_text(f"<benchmark><entries>{twice}</entries></benchmark>")
    (tmp_path / "hyps.txt").write_text("x\n")
    [data] = load(tmp_path / "a.xml", [tmp_path / "hyps.txt"])
    assert data.categories == ["Airport"]


def test_references_in_xml(files, tmp_path):
    refs, hyps = files
    [data] = load(refs, [hyps])
    assert data.references[0] == ['A "B" serves Łódź.', "Łódź is served by A B."]
    assert data.categories == ["Airport", "Artist"] and "Airport" in SEEN and "Artist" not in SEEN
    table = tmp_path / "t.tsv"
    quoted = MRS[0].replace('"', '""')
    table.write_text(f'MR\toutput\n{MRS[1]}\tb\n"{quoted}"\tŁódź\n', encoding="utf-8")
    [data] = load(refs, [table])
    assert data.hypotheses == ["b", "Łódź"] and data.categories == ["Artist", "Airport"]
    table.write_text(f"MR\toutput\n{MRS[1]}\tb\n", encoding="utf-8")
    with pytest.raises(ValueError, match="references for 2 MRs; the first MR without a hypothesis"):
        load(refs, [table])


def test_an_empty_reference_is_wholly_wrong():
    """As GenerationEval's eval.py has it; its best reference counts, and less is better."""
    texts = Texts([(["a b c", "a b c"], [["", "x"], ["", "a b"]])], False, None, None)
    [measured] = measure_ter(texts)
    assert [*measured.by_segment["TER"]] == [1, 1 / 2] and measured.score == 3 / 4
    better = {name for name, metric in SETS["webnlg"].items() if metric.lower_is_better}
    assert better == {"TER all", "TER seen", "TER unseen"}


def test_the_command_line(files, capsys):
    refs, hyps = map(str, files)
    assert main(["--refs", refs, "--hyps", hyps]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines] == list(SETS["webnlg"])
    assert main(["--refs", refs, "--hyps", hyps, "--metrics", "webnlg2"]) == 2
    assert "invalid choice" in capsys.readouterr().err


def test_names_are_unique_and_e2e_comes_first():
    assert list(ALL) == [*METRICS, *SETS["webnlg"]] and len(ALL) == len(METRICS) + 12


def test_six_references_count():
    [(_, [group])] = corpora_apart([(["a"], [list("bcdefgh")])])
    assert group == list("bcdefg")


def test_a_text_that_repeats_a_word_takes_no_more_memory_than_another(monkeypatch):
    """Each pair of equal words is a shift, and each shift a row of words."""
    reference = "the cat and the dog saw the bird near the house".split()
    pairs = [(["the"] * 60 + [str(i)], reference) for i in range(40)]
    expected, blocks = edits(pairs).tolist(), []
    whole = ter._edits
    monkeypatch.setattr(ter, "_edits", lambda block: blocks.append(len(block)) or whole(block))
    monkeypatch.setattr(ter, "CELLS", 61 * 60 * 4 * 3)
    assert edits(pairs).tolist() == expected and max(blocks) <= 3
