"""Paired bootstrap: by a slow obvious version, on data where the answer is known, and errors."""

import json
import random
import shlex

import numpy as np
import pytest
import yaml

from eval import samples
from eval.bootstrap import Outputs
from eval.claims import compare
from eval.compare import decoding_of, main, markdown, outputs, references_of
from eval.metrics import METRICS
from eval.metrics.statistics import scores
from eval.score import main as score_main
from eval.score import score_systems

WORDS = "the cheap pub near river serves good food Blue Wok Zizzi is a".split()


def made(seed: int, noise: float, count: int = 40) -> tuple[list[str], list[list[str]]]:
    pick = random.Random(7)
    references = [[" ".join(pick.choices(WORDS, k=9)) for _ in range(2)] for _ in range(count)]
    pick = random.Random(seed)
    hypotheses = [
        " ".join(pick.choice(WORDS) if pick.random() < noise else w for w in group[0].split())
        for group in references
    ]
    return hypotheses, references


@pytest.fixture(scope="module")
def systems() -> list[Outputs]:
    """Two of the same quality, one much worse."""
    results = score_systems([made(1, 0.3), made(2, 0.3), made(3, 0.8)])
    sources = [f"MR {i}" for i in range(40)]
    return [Outputs(name, r.statistics, sources) for name, r in zip("abc", results, strict=True)]


def test_known_answers(systems):
    good, same, worse = systems
    for name, found in compare([good], [worse], samples=2000).items():
        assert found.p == pytest.approx(2 / 2001) and found.low > 0, name
        assert found.low < found.a - found.b < found.high
    assert all(found.p > 0.05 for found in compare([good], [same], samples=2000).values())
    itself = compare([good], [good], samples=500)["BLEU"]
    assert (itself.low, itself.high, itself.p) == (0, 0, 1)


def test_slow_obvious_version(systems):
    """Sample by sample, segment by segment; other draws, so intervals agree within their error."""
    good, same, _ = systems
    random_ = np.random.default_rng(123)
    differences = []
    for _ in range(10_000):
        drawn = random_.integers(0, 40, 40)
        pair = [
            scores({"BLEU": s.statistics["BLEU"][drawn]}, np.ones((1, 40)))["BLEU"][0]
            for s in (good, same)
        ]
        differences.append(pair[0] - pair[1])
    found = compare([good], [same], samples=10_000)["BLEU"]
    low, high = np.percentile(differences, [2.5, 97.5])
    width = high - low
    assert found.low == pytest.approx(low, abs=0.03 * width)  # from 2.5 to 5 % is 0.08
    assert found.high == pytest.approx(high, abs=0.03 * width)
    p = 2 * min(np.mean(np.array(differences) <= 0), np.mean(np.array(differences) >= 0))
    assert found.p == pytest.approx(p, abs=0.06)


def test_order_of_the_mrs_does_not_matter(systems):
    good, same, _ = systems
    order = np.random.default_rng(0).permutation(40)
    rows = {name: rows[order] for name, rows in same.statistics.items()}
    shuffled = Outputs("s", rows, [same.sources[i] for i in order])
    assert compare([good], [shuffled], samples=300) == compare([good], [same], samples=300)
    assert compare([good], [same], samples=300, seed=2) != compare([good], [same], samples=300)


def test_other_mrs(systems):
    other = Outputs("other", {"CIDEr": np.zeros((40, 1))}, [f"MR {i}" for i in range(1, 41)])
    with pytest.raises(ValueError, match=r"a and other have outputs for other MRs \(40 and 40\)"):
        compare([systems[0]], [other])


def test_metrics_that_both_have(systems):
    """One of the two was scored before chrF was a metric: five are compared, as they were."""
    good, same, _ = systems
    fewer = {name: rows for name, rows in same.statistics.items() if name != "chrF"}
    whole = compare([good], [same], samples=300)
    assert compare([good], [Outputs("old", fewer, same.sources)], samples=300) == {
        name: whole[name] for name in METRICS if name not in ("chrF", "SER")
    }
    with pytest.raises(ValueError, match="a and none have no metric in common; score them again"):
        compare([good], [Outputs("none", {}, same.sources)])


def test_two_orders_of_mrs_are_not_compared_by_references_without_any(tmp_path, capsys):
    """Line by line one of the two would be scored against the other MR's."""
    (tmp_path / "refs.txt").write_text("a pub\n\na cafe\n")
    paths = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    for path, order in zip(paths, ("AB", "BA"), strict=True):
        path.write_text("MR\toutput\n" + "".join(f"{mr}\t{mr} is a pub\n" for mr in order))
    given = [*map(str, paths), "--samples", "10", "--refs"]
    assert main([*given, str(tmp_path / "refs.txt")]) == 2
    assert "have their MRs in different orders, and " in capsys.readouterr().err
    (tmp_path / "refs.tsv").write_text("MR\tref\nA\ta pub\nB\ta cafe\n")
    assert main([*given, str(tmp_path / "refs.tsv")]) == 0
    assert "+0.00" in capsys.readouterr().out


def test_run_directories(tmp_path, capsys, monkeypatch):
    """The command on two run directories; statistics are computed once and then read."""
    hypotheses, references = made(1, 0.3)
    lines = ["mr,ref"] + [f"m{i},{text}" for i, group in enumerate(references) for text in group]
    (tmp_path / "refs.csv").write_text("\n".join(lines))
    for name, texts in (("a", hypotheses), ("b", made(3, 0.8)[0])):
        decoding = tmp_path / name / "decode" / "aa"
        decoding.mkdir(parents=True)
        rows = [f"m{i}\t{text}" for i, text in enumerate(texts)]
        (decoding / "predictions.tsv").write_text("\n".join(["MR\toutput", *rows]) + "\n")
        config = {"evaluate": {"references": str(tmp_path / "refs.csv")}}
        (tmp_path / name / "config.yaml").write_text(yaml.safe_dump(config))
    runs = [str(tmp_path / "a"), str(tmp_path / "b")]
    assert main([*runs, "--samples", "200", "--json", str(tmp_path / "out.json")]) == 0
    text = capsys.readouterr().out
    assert "40 MRs, 200 samples" in text
    assert text.count("| 0.0100 |") == len(METRICS) - 1  # p = 2 / 201; SER is not for these MRs
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["BLEU"]["a"] > found["BLEU"]["b"] and found["n_segments"] == 40

    monkeypatch.setattr("eval.compare.score_files", lambda *a: pytest.fail("scored again"))
    assert main([*runs, "--samples", "200"]) == 0
    assert capsys.readouterr().out == text
    monkeypatch.undo()
    predictions = tmp_path / "b/decode/aa/predictions.tsv"
    predictions.write_text((tmp_path / "a/decode/aa/predictions.tsv").read_text())
    assert compare(*([outputs(tmp_path / name)] for name in "ab"), samples=10)["NIST"].high == 0


def make_runs(folder, sides):
    """Run directories by name, of (MR, output) rows, that name folder/refs.csv."""
    for name, rows in sides.items():
        decoding = folder / name / "decode" / "aa"
        decoding.mkdir(parents=True)
        table = "".join(f"{mr}\t{text}\n" for mr, text in rows)
        (decoding / "predictions.tsv").write_text("MR\toutput\n" + table)
        config = {"evaluate": {"references": str(folder / "refs.csv")}}
        (folder / name / "config.yaml").write_text(yaml.safe_dump(config))
    return [folder / name for name in sides]


ROWS = [("a", "one two three four"), ("b", "five six seven eight"), ("a", "nine two three ten")]
REFERENCES = "mr,ref\na,one two three four\nb,five six seven eight\n"


def test_an_mr_that_comes_twice_is_paired_in_order(tmp_path, capsys):
    (tmp_path / "refs.csv").write_text(REFERENCES)
    a, b = make_runs(tmp_path, {"A": ROWS, "B": [ROWS[1], ('"a" ', ROWS[0][1]), ROWS[2]]})
    found = compare([outputs(a)], [outputs(b)], samples=50)
    assert all(each.a == each.b and each.low == each.high == 0 for each in found.values())
    assert samples.main([str(a), str(b)]) == 0
    page = capsys.readouterr().out
    for mr, text in ROWS:
        block = f"**: {mr}\n\n- reference: {dict(ROWS[:2])[mr]}\n- A, "
        assert block in page and page.count(f": {text}\n") >= 2


@pytest.mark.parametrize(("n", "told"), [(29, True), (30, False)])
def test_few_mrs_are_told_of(tmp_path, capsys, n, told):
    rows = [f"m{i},{text} ." for i, text in enumerate(["the pub is cheap"] * n)]
    (tmp_path / "refs.csv").write_text("\n".join(["mr,ref", *rows]))
    for name in ("a", "b"):
        (tmp_path / name).write_text(f"the pub is {name}\n" * n)
    files = [str(tmp_path / name) for name in ("a", "b", "refs.csv")]
    assert main([*files[:2], "--refs", files[2], "--samples", "10"]) == 0
    assert ("with fewer than 30 MRs the bootstrap" in capsys.readouterr().err) == told


def test_runs_scored_against_different_references_are_not_compared(tmp_path, capsys):
    (tmp_path / "refs.csv").write_text(REFERENCES)
    a, b = make_runs(tmp_path, {"A": ROWS[:2], "B": ROWS[:2]})
    other = tmp_path / "other.csv"
    other.write_text(REFERENCES.replace("seven", "nine"))
    (b / "config.yaml").write_text(yaml.safe_dump({"evaluate": {"references": str(other)}}))
    assert main([str(a), str(b), "--samples", "20"]) == 2
    assert "were scored against different references (" in capsys.readouterr().err
    statistics = b / "decode/aa/statistics.json"
    before = statistics.read_bytes()
    assert main([str(a), str(b), "--samples", "20", "--refs", str(tmp_path / "refs.csv")]) == 0
    assert statistics.read_bytes() == before  # a question leaves what evaluation made


def test_hypotheses_as_json_are_compared_with_references_given(tmp_path, capsys):
    (tmp_path / "refs.csv").write_text(REFERENCES)
    paths = [tmp_path / "x.json", tmp_path / "y.json"]
    for path in paths:
        path.write_text("".join(json.dumps({"mr": m, "out": t}) + "\n" for m, t in ROWS[:2]))
    arguments = [*map(str, paths), "--refs", str(tmp_path / "refs.csv"), "--samples", "20"]
    assert main(arguments) == 0, capsys.readouterr().err


def test_outputs_that_lack_some_of_the_mrs(tmp_path, capsys):
    """An error that names the option, which the command has; of a run, too, scored or not."""
    (tmp_path / "refs.csv").write_text(REFERENCES)
    a, b = make_runs(tmp_path, {"A": ROWS[:1], "B": ROWS[:1]})
    files = [str(path / "decode/aa/predictions.tsv") for path in (a, b)]
    refs = ["--refs", str(tmp_path / "refs.csv")]
    for given in ([*files, *refs], [str(a), str(b)]):
        assert main([*given, "--samples", "20"]) == 2
        assert "; the option --partial scores the others alone\n" in capsys.readouterr().err
        assert main([*given, "--samples", "20", "--partial"]) == 0
        said = capsys.readouterr()
        assert "1 MRs, 20 samples" in said.out and "eval.samples" not in said.err
    assert not (a / "decode/aa/statistics.json").exists()
    assert samples.main([str(a), str(b)]) == 2
    assert "--partial" not in capsys.readouterr().err  # it has no such option


def test_the_command_that_scoring_suggests_compares_by_the_same_metrics(tmp_path, capsys):
    texts = [text for _, text in ROWS]
    for name, lines in (("refs.txt", texts), ("a.txt", texts), ("b.txt", texts[::-1])):
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    files = [str(tmp_path / name) for name in ("a.txt", "b.txt")]
    scored = ["--refs", str(tmp_path / "refs.txt"), "--hyps", *files, "--metrics", "webnlg"]
    assert score_main(scored) == 0
    [line] = [line for line in capsys.readouterr().err.splitlines() if line.startswith("next: ")]
    words = line.split("eval.compare ")[1].split()
    assert main([*words, "--samples", "20"]) == 0
    assert "| chrF all |" in capsys.readouterr().out


def test_errors(tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    (tmp_path / "h.txt").write_text("a\n")
    for arguments, text in (
        ([str(tmp_path / "empty")] * 2, "predictions.tsv does not exist; decode this run first"),
        ([str(tmp_path / "h.txt")] * 2, "h.txt is no run directory; name its references with --re"),
        ([str(tmp_path / "h.txt")] * 2 + ["--refs", "none"], "none does not exist; run `make data"),
        (
            ["a", "b", "--samples", "0"],
            "argument --samples: 0 is no whole number of at least 1;",
        ),
        (["a", "b", "--seed", "-1"], "argument --seed: -1 is no whole number of at least 0"),
        (["a"], "error: the following arguments are required: b; see"),
    ):
        assert main(arguments) == 2
        assert text in capsys.readouterr().err


def test_markdown(systems):
    lines = markdown(compare(systems[:1], systems[1:2], samples=100), ("Solo", "LoRA")).splitlines()
    assert lines[0] == "| metric | Solo | LoRA | difference | 95 % interval | p |"
    assert [line.split(" | ")[0] for line in lines[2:]] == [
        "| BLEU",
        "| NIST",
        "| METEOR",
        "| ROUGE_L",
        "| CIDEr",
        "| chrF",
    ]


def test_a_training_with_one_decoding_is_named_by_its_own_directory(tmp_path):
    config = {"evaluate": {"references": "refs.csv"}}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(config))
    assert decoding_of(tmp_path) == tmp_path
    first = tmp_path / "decode" / "aa"
    first.mkdir(parents=True)
    (first / "predictions.tsv").write_text("MR\toutput\n")
    assert decoding_of(tmp_path) == decoding_of(first) == first
    assert references_of(first).name == references_of(tmp_path).name == "refs.csv"
    (tmp_path / "decode" / "bb").mkdir()
    with pytest.raises(ValueError, match="was decoded several times; name one: .*/aa, .*/bb"):
        decoding_of(tmp_path)


def test_references_that_are_there_are_taken_from_there(tmp_path, monkeypatch):
    """Another folder of the data, named by the environment, counts only where they are gone."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here/refs.csv").write_text(REFERENCES)
    [run] = make_runs(tmp_path, {"A": ROWS})
    config = {"data": {"name": "e2e", "dir": str(tmp_path / "here")}}
    config["evaluate"] = {"references": str(tmp_path / "here/refs.csv")}
    (run / "config.yaml").write_text(yaml.safe_dump(config))
    (tmp_path / "there").mkdir()
    monkeypatch.setenv("E2E_DATA_DIR", str(tmp_path / "there"))
    assert references_of(run) == tmp_path / "here/refs.csv"
    (tmp_path / "here/refs.csv").unlink()
    assert references_of(run) == tmp_path / "there/refs.csv"


def test_files_are_compared_with_the_notes_that_scoring_them_gives(tmp_path, capsys):
    (tmp_path / "refs.csv").write_text("mr,ref\nname[A],a b\nname[B],c d\n")
    (tmp_path / "hyps.tsv").write_text("MR\toutput\nname[A]\ta\nname[A]\ta\nname[B]\tc\n")
    files = [str(tmp_path / "hyps.tsv")] * 2
    options = ["--refs", str(tmp_path / "refs.csv"), "--samples", "10"]
    assert main([*files, *options]) == 0
    assert "3 hypotheses for 2 MRs" in capsys.readouterr().err
    assert main([*files, *options, "--json", str(tmp_path / "none" / "o.json")]) == 2
    assert "does not exist; make it" in capsys.readouterr().err
    assert samples.main([*files, *options[:2]]) == 2
    assert "hyps.tsv is no run; name a run directory" in capsys.readouterr().err


def test_samples_are_chosen_by_the_references_that_are_given(tmp_path):
    (tmp_path / "refs.csv").write_text(REFERENCES)
    (tmp_path / "other.csv").write_text("mr,ref\na,p q r s\nb,t u v w\n")
    a, b = make_runs(tmp_path, {"A": ROWS[:2], "B": [("a", "p q r s"), ("b", "t u v w")]})
    page = samples.markdown(a, b, tmp_path / "other.csv", "AB")
    assert "- A, 0.0: one two three four\n- B, 100.0: p q r s\n" in page


def test_samples_do_not_replace_the_references(tmp_path, capsys):
    refs = tmp_path / "refs.csv"
    refs.write_text(REFERENCES)
    runs = map(str, make_runs(tmp_path, {"A": ROWS[:2], "B": ROWS[:2]}))
    assert samples.main([*runs, "--refs", str(refs), "--out", str(refs), "--force"]) == 2
    assert "refs.csv is an input of this command" in capsys.readouterr().err
    assert refs.read_text() == REFERENCES


def test_the_options_of_a_comparison_are_heeded_and_its_references_kept(
    tmp_path, capsys, monkeypatch
):
    refs, out = tmp_path / "refs.csv", tmp_path / "out.json"
    refs.write_text(REFERENCES)
    twice = [*map(str, make_runs(tmp_path, {"A": ROWS, "B": ROWS})), "--refs", str(refs)]
    assert main([*twice, "--json", str(refs), "--force"]) == 2
    assert "is an input of this command" in capsys.readouterr().err
    assert refs.read_text() == REFERENCES
    asked = []
    monkeypatch.setattr("eval.compare.compare", lambda *sides, **how: asked.append(how) or {})
    assert main([*twice, "--json", str(out), "--seed", "7", "--samples", "9"]) == 0
    assert asked == [{"samples": 9, "seed": 7}] and json.loads(out.read_text())["seed"] == 7
    err = capsys.readouterr().err
    assert f"next: python -m eval.samples {shlex.join(twice)}" in err
    assert "3 hypotheses for 2 MRs" not in err  # of runs, scoring has said it


def test_what_a_command_reads_or_another_packed_is_not_replaced(tmp_path, capsys):
    refs = tmp_path / "refs.csv"
    refs.write_text(REFERENCES)
    runs = [*map(str, make_runs(tmp_path, {"A": ROWS[:2], "B": ROWS[:2]}))]
    packed = tmp_path / "C.json"
    packed.write_text(json.dumps({"config.yaml": {}, "identity.json": {}}))
    (tmp_path / "C.tsv").write_text("MR\toutput\n")
    predictions = tmp_path / "A/decode/aa/predictions.tsv"
    before = {p: p.read_bytes() for p in (refs, packed, packed.with_suffix(".tsv"), predictions)}
    for path in before:
        for command, option in ((main, "--json"), (samples.main, "--out")):
            assert command([*runs, option, str(path), "--force"]) == 2, (path, option)
            assert "name another output" in capsys.readouterr().err
    assert before == {path: path.read_bytes() for path in before}


def test_a_comparison_leaves_the_statistics_of_another_evaluation(tmp_path, capsys):
    """A run was evaluated on other references than its configuration names."""
    (tmp_path / "refs.csv").write_text(REFERENCES)
    a, b = make_runs(tmp_path, {"A": ROWS[:2], "B": ROWS[:2]})
    inputs = {"predictions.tsv": "1", "other.csv": "2"}
    environment = a / "decode/aa/environment.json"
    environment.write_text(json.dumps({"evaluate": {"inputs": inputs}}))
    assert main([str(a), str(b), "--samples", "20"]) == 0
    assert "aa was evaluated with other references than " in capsys.readouterr().err
    kept = [run / "decode/aa/statistics.json" for run in (a, b)]
    assert [path.exists() for path in kept] == [False, True]
