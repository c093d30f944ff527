"""The scorer's command line: outputs, errors in one line."""

import json
from pathlib import Path

import pytest

from eval.metrics.systems import Result
from eval.score import main
from solo.errors import SHOWS_WHERE
from tests.eval.test_score import HYPS, REFS, SCORES, SEGMENTS


def test_command_line_errors(capsys, tmp_path):
    refs = tmp_path / "refs.csv"
    refs.write_text(REFS, encoding="utf-8")
    for arguments, text in (
        (["--refs", "r"], "the following arguments are required: --hyps"),
        (["--refs", str(refs), "--hyps", "none.tsv"], "none.tsv does not exist"),
        (["--refs", str(refs), "--hyps", "h", "--json", "no/dir/x"], "folder of --json"),
        (["--refs", str(refs), "--hyps", "h", "--json", str(tmp_path)], "is no regular file"),
        (["--refs", str(refs), "--hyps", "h", "i", "--segments", "s"], "one file of hyp"),
    ):
        assert main(arguments) == 2
        captured = capsys.readouterr()
        assert captured.err.startswith("error: ") and text in captured.err
        assert captured.err.count("\n") == 1 and captured.out == ""


def test_a_run_in_the_place_of_its_outputs_is_told_where_they_are(tmp_path, capsys):
    run, packed = tmp_path / "run", tmp_path / "packed.json"
    outputs = [run / "decode" / name / "predictions.tsv" for name in "ab"]
    for path in outputs:
        path.parent.mkdir(parents=True)
        path.write_text("MR\toutput\nA\ta\n")
    packed.write_text(json.dumps({"config.yaml": {}}))
    packed.with_suffix(".tsv").write_text("MR\toutput\nA\ta\n")
    for given, told in ((run, outputs), (packed, [packed.with_suffix(".tsv")])):
        assert main(["--refs", str(tmp_path / "refs.txt"), "--hyps", str(given)]) == 2
        text = f"{given} is a run; --hyps takes its outputs: {', '.join(map(str, told))}\n"
        assert text in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--json", "--segments"])
def test_outputs_replace_nothing_that_the_scorer_did_not_write(
    capsys, monkeypatch, tmp_path, option
):
    result = Result(SCORES, [SCORES] * 5, {})
    monkeypatch.setattr("eval.score.score_systems", lambda corpora, *rest, **more: [result])
    refs, hyps, out = (tmp_path / name for name in ("refs.csv", "hyps.tsv", "out"))
    refs.write_text(REFS, encoding="utf-8")
    hyps.write_text(HYPS, encoding="utf-8")
    link = tmp_path / "link"
    link.symlink_to(refs)
    command = ["--refs", str(refs), "--hyps", str(hyps), option]
    for path, text in (
        (refs, "refs.csv is an input of this command; name another output"),
        (hyps, "hyps.tsv is an input of this command"),
        (link, "link is an input of this command"),
        (Path("/dev/null"), "/dev/null is no regular file, and is not replaced"),
    ):
        assert main([*command, str(path), "--force"]) == 2
        assert text in capsys.readouterr().err
    assert refs.read_text(encoding="utf-8") == REFS and hyps.read_text(encoding="utf-8") == HYPS
    assert main([*command, str(out)]) == 0
    written = out.read_text(encoding="utf-8")
    assert main([*command, str(out)]) == 0  # over its own
    out.write_text("precious", encoding="utf-8")
    capsys.readouterr()
    assert main([*command, str(out)]) == 2
    assert "and not as this program wrote it; name another" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "precious"
    assert main([*command, str(out), "--force"]) == 0
    assert out.read_text(encoding="utf-8") == written


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (KeyboardInterrupt(), 130, "interrupted; the same command begins again"),
        (
            KeyError("MR"),
            2,
            f"error: KeyError: 'MR'{SHOWS_WHERE}",
        ),
        (MemoryError(), 2, "error: too little memory; score fewer texts in one call"),
        (ValueError("two\nlines"), 2, "error: two lines"),
    ],
)
def test_whatever_comes_is_one_line(capsys, monkeypatch, error, code, line):
    def failing(*arguments):
        raise error

    monkeypatch.setattr("eval.score.score_files", failing)
    assert main(["--refs", "r", "--hyps", "h"]) == code
    assert capsys.readouterr().err == line + "\n"


def test_help(capsys):
    with pytest.raises(SystemExit) as leave:
        main(["--help"])
    assert leave.value.code == 0 and "python -m eval.score --refs" in capsys.readouterr().out


def test_outputs(capsys, tmp_path, monkeypatch):
    """--table, --latex, --json of several systems, --segments; nothing is left behind."""
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    refs, hyps, other = tmp_path / "refs.csv", tmp_path / "my_hyps.tsv", tmp_path / "b.tsv"
    refs.write_text(REFS, encoding="utf-8")
    hyps.write_text(HYPS, encoding="utf-8")
    other.write_text(HYPS.replace("Chinese", "Thai"), encoding="utf-8")
    files = ["--refs", str(refs), "--hyps", str(hyps)]
    figures = [f"{score:.4f}" for score in SCORES.values()]

    assert main([*files, str(other), "--json", str(tmp_path / "all.json")]) == 0
    head, first, second = capsys.readouterr().out.splitlines()
    assert head.split("\t") == ["File", *SCORES]
    assert first.split("\t") == [str(hyps), *figures] != second.split("\t")
    found = json.loads((tmp_path / "all.json").read_text(encoding="utf-8"))
    assert [scores["details"]["hypotheses"] for scores in found] == [str(hyps), str(other)]
    assert f"{found[1]['chrF']:.4f}" == second.split("\t")[-1]

    monkeypatch.chdir(tmp_path)
    segments = tmp_path / "segments.tsv"
    command = ["--refs", "refs.csv", "--hyps", "my_hyps.tsv", "--latex"]
    assert main([*command, "--segments", str(segments)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[4] == r"my\_hyps.tsv & 30.72 & 3.558 & 32.85 & 46.74 & 2.802 & 49.40 \\"
    assert lines[0] == r"\begin{tabular}{lrrrrrr}" and lines[-1] == r"\end{tabular}"
    assert segments.read_text(encoding="utf-8") == SEGMENTS
    assert list(temporary.iterdir()) == []


def test_one_bad_file_stops_no_other(capsys, tmp_path, monkeypatch):
    """It is named, and the exit code is not 0."""
    (tmp_path / "refs.csv").write_text(REFS, encoding="utf-8")
    (tmp_path / "good.tsv").write_text(HYPS, encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    result = Result(SCORES, [], {})
    monkeypatch.setattr(
        "eval.score.score_systems", lambda corpora, *rest, **more: [result] * len(corpora)
    )
    hyps = ["--hyps", "good.tsv", "none.tsv", "good.tsv"]
    assert main(["--refs", "refs.csv", *hyps, "--json", "all.json"]) == 2
    captured = capsys.readouterr()
    assert captured.out.count("\ngood.tsv\t0.3072\t") == 2 and "none" not in captured.out
    assert "error: none.tsv does not exist\n" in captured.err
    assert len(json.loads((tmp_path / "all.json").read_text())) == 2
    assert main(["--refs", "refs.csv", "--hyps", "none.tsv", "no.tsv"]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("does not exist") == 2 and captured.out == ""


def test_two_names_of_one_output_are_refused(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "refs.csv").write_text("mr,ref\na,x\n")
    (tmp_path / "hyps.txt").write_text("x\n")
    outputs = ["--json", str(tmp_path / "o.json"), "--segments", "o.json"]
    assert main(["--refs", "refs.csv", "--hyps", "hyps.txt", *outputs]) == 2
    assert "name two files" in capsys.readouterr().err and not (tmp_path / "o.json").exists()
