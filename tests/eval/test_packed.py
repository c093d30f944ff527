"""Packed runs: everything that tables, pictures and comparisons use is as in the directory."""

import hashlib
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from eval import compare, samples
from eval.metrics import METRICS, statistics
from eval.records import contradiction, read_log, read_scores
from eval.tables.lines import load_reported
from eval.tables.packed import hides_mrs, lacks_scores, pack, score_again
from eval.tables.runs import noted_rows, read_runs
from eval.tables.write import write_figures, write_table
from scripts import pack_run
from solo.cli import studies
from solo.cli.studies import definition
from solo.cli.tables import table_of
from solo.triples import content_sha256
from tests.eval.made_runs import DECODED, keep_statistics, make_run, rescore

REPORTED = load_reported()
SOURCES = ["name : A"]  # of a made run's one prediction


def made(root, name="a", **changes):
    """A finished run with statistics that have many digits."""
    directory = make_run(root, name, mrs=1, **changes)
    random = np.random.default_rng(len(name))
    rows = {key: random.random((1, len(m.columns))) for key, m in METRICS.items()}
    rows["ROUGE_L"] = np.array([[1.0]])
    keep_statistics(directory, rows, SOURCES)
    scores = {
        key: float(value) for key, [value] in statistics.scores(rows, np.ones((1, 1))).items()
    }
    rescore(directory, {key: value for key, value in scores.items() if METRICS[key].allows(value)})
    return directory


def test_a_packed_run_is_the_run(tmp_path):
    directory = made(tmp_path / "runs", seed=7, adapter={"variant": "devcode"})
    path = pack(directory, tmp_path / "packed", REPORTED)
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.json", "a.tsv"]
    predictions = (directory / DECODED / "predictions.tsv").read_bytes()
    assert path.with_suffix(".tsv").read_bytes() == predictions
    ([run], _), ([packed], left_out) = (
        read_runs(tmp_path / kind, REPORTED) for kind in ("runs", "packed")
    )
    assert (packed.directory, packed.decoding, left_out) == (path, path, [])
    assert replace(packed, directory=run.directory, decoding=run.decoding) == run
    assert read_log(path) == read_log(directory)
    assert noted_rows(path.parent) == {"table1/solo_s"}
    kept, before = compare.kept(path), compare.kept(directory)
    assert kept.sources == before.sources == SOURCES
    for name in METRICS:  # to the bit
        assert (kept.statistics[name] == before.statistics[name]).all(), name


def test_a_run_whose_mrs_must_not_be_passed_on(tmp_path):
    """Its table is the same; its predictions have outputs, and a digest for each MR."""
    run, pages = made(tmp_path / "runs"), []
    for hidden in (False, True):
        out = tmp_path / f"out{hidden}"
        packed = pack(run, out, REPORTED, hide_mrs=hidden)
        text = packed.with_suffix(".tsv").read_text(encoding="utf-8")
        assert (SOURCES[0] in text) is not hidden
        assert SOURCES[0] not in packed.read_text(encoding="utf-8")
        [found], left_out = read_runs(out, REPORTED)
        assert not left_out
        pages.append(replace(found, directory=run, decoding=run))
    digest = hashlib.sha256(SOURCES[0].encode()).hexdigest()[:12]
    assert text.splitlines()[1].startswith(f"{digest}\t")
    assert pages[0] == pages[1]


@pytest.mark.parametrize("packed", ["solo-small-0a1b2c3d", "0a1b2c3d"])
def test_a_run_that_is_packed_already_keeps_its_name(tmp_path, packed):
    """Its directory may have other words since; the hash says that it is the same run."""
    out = tmp_path / "packed"
    first = pack(made(tmp_path / "before", packed), out, REPORTED)
    (out / ".tmp.solo-0a1b2c3d.json").touch()  # of a packing that was killed
    again = made(tmp_path / "now", "solo-r128-s0.4-small-0a1b2c3d")
    assert pack(again, out, REPORTED, force=True) == first == out / f"{packed}.json"
    other = pack(made(tmp_path / "now", "solo-small-ffffffff"), out, REPORTED)
    assert {path.name for path in out.glob("[!.]*.json")} == {first.name, other.name}


def test_tables_and_pictures_of_packed_runs_are_the_same(tmp_path):
    for name, row in (("s", "solo"), ("l", "lora")):
        pack(made(tmp_path / "runs", name, row=f"table1/{row}_s"), tmp_path / "packed", REPORTED)
    written = []
    for kind in ("runs", "packed"):
        table, out = (
            table_of("standin12", tmp_path / kind, definition("standin12")),
            tmp_path / f"out_{kind}",
        )
        write_table(table, out)
        write_figures(table, out)
        written.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert written[0] == written[1]
    assert {"table.md", "table.csv", "table_loss.png"} <= set(written[0])
    assert b"## Against LoRA" in written[1]["table.md"]


def test_comparisons_and_samples_take_packed_runs(tmp_path, monkeypatch, capsys):
    """Their statistics are read, not computed; with other references they are, and not written."""
    references = tmp_path / "refs.csv"
    references.write_text("mr,ref\nname : A,a good pub\n")
    digest = content_sha256(references)
    paths = []
    for name in "ab":
        directory = made(tmp_path / "runs", name, references=digest)
        config = (directory / "config.yaml").read_text()
        (directory / "config.yaml").write_text(f"{config}evaluate: {{references: {references}}}\n")
        paths.append(pack(directory, tmp_path / "packed", REPORTED))
    before = [path.read_bytes() for path in paths]
    assert compare.references_of(paths[0]) == references
    page = samples.markdown(*paths, None, "AB")
    assert "- A, 100.0: a\n- B, 100.0: b\n" in page and "- reference: a good pub" in page
    out = tmp_path / "samples.md"
    assert samples.main([*map(str, paths), "--out", str(out)]) == 0
    assert out.read_text().startswith("# Samples: a (A) against b (B)\n")
    monkeypatch.setattr("eval.compare.score_files", lambda *a: pytest.fail("scored again"))
    assert compare.main([*map(str, paths), "--samples", "10"]) == 0
    for tool, option in ((samples, "--out"), (compare, "--json")):
        for given, text in ((paths[1], "is an input of this command"), (out, "there already, and")):
            out.write_text("precious")
            capsys.readouterr()
            command = [*map(str, paths), option, str(given)]
            assert tool.main(command) == 2 and text in capsys.readouterr().err
        assert tool.main([*command, "--force"]) == 0 and out.read_text() != "precious"
        assert tool.main(command) == 0  # over its own
    monkeypatch.undo()
    references.write_text("mr,ref\nname : A,a\n")
    assert compare.outputs(paths[0]).statistics["ROUGE_L"][0, 0] == pytest.approx(1)
    assert [path.read_bytes() for path in paths] == before
    references.unlink()  # the data lie elsewhere, which a comparison does not need
    capsys.readouterr()
    assert compare.main([*map(str, paths), "--samples", "10"]) == 0
    assert "eval.samples" not in capsys.readouterr().err  # which does
    predictions = compare.records.predictions_of(paths[0])
    predictions.write_text(predictions.read_text().replace("\ta", "\tb"))
    assert compare.main([*map(str, paths), "--samples", "10"]) == 2


def test_a_training_with_two_decodings_is_packed_one_by_one(tmp_path):
    directory = made(tmp_path / "runs")
    other = directory / "decode" / "ff"
    shutil.copytree(directory / DECODED, other)
    (other / "identity.json").write_text(
        json.dumps({"decode": {"beam": 1}, "test": "x", "test_kind": "own"})
    )
    with pytest.raises(ValueError, match="was decoded several times; name one: "):
        pack(directory, tmp_path, REPORTED)
    assert pack(other, tmp_path, REPORTED).name == "a-ff.json"
    [run], _ = read_runs(tmp_path, REPORTED)
    assert run.name == "a-ff" and run.options["decode"] == {"beam": 1}


def test_packing_replaces_only_what_the_program_wrote(tmp_path):
    directory, out = made(tmp_path / "runs"), tmp_path / "packed"
    path = pack(directory, out, REPORTED)
    pack(directory, out, REPORTED)
    for name in ("a.json", "a.tsv"):
        kept = {path: path.read_bytes() for path in out.iterdir()}
        (out / name).write_text("precious")
        with pytest.raises(ValueError, match=f"{name} is there already, and not as this program"):
            pack(directory, out, REPORTED)
        assert (out / name).read_text() == "precious"
        pack(directory, out, REPORTED, force=True)
        assert {path: path.read_bytes() for path in out.iterdir()} == kept
    (directory / "a.json").write_text("precious")
    with pytest.raises(ValueError, match="a.json is a file that this command works with"):
        pack(directory, directory, REPORTED, force=True)
    assert path.exists()


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda d: (d / "train_log.jsonl").write_text(""), "train_log.jsonl is empty"),
        (lambda d: (d / DECODED / "statistics.json").unlink(), "unfinished: no statistics.json"),
        (lambda d: shutil.rmtree(d / "decode"), "unfinished: no decode stage in environment.json"),
        (
            lambda d: keep_statistics(d, {"ROUGE_L": np.ones((1, 1))}, ["name : B"]),
            "statistics.json is of other MRs than the predictions; evaluate it again",
        ),
    ],
)
def test_what_tables_would_leave_out_is_not_packed(tmp_path, damage, reason):
    directory = made(tmp_path / "runs")
    damage(directory)
    with pytest.raises(ValueError, match=f"runs/a cannot be packed: {reason}"):
        pack(directory, tmp_path / "packed", REPORTED)
    assert not (tmp_path / "packed").exists()


def change(part: str, key: str, value):
    def damage(path):
        content = json.loads(path.read_text())
        content[part][key] = value
        path.write_text(json.dumps(content))

    return damage


def without(part: str):
    def damage(path):
        content = json.loads(path.read_text())
        del content[part]
        path.write_text(json.dumps(content))

    return damage


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (lambda p: p.write_text(p.read_text()[:-3]), "a.json is damaged (Expecting"),
        (lambda p: p.write_text("[]"), "a.json has no environment.json; pack its run again"),
        (without("identity.json"), "a.json has no identity.json; pack its run again"),
        (without("train_log.jsonl"), "train_log.jsonl is damaged (a.json has no train_log.jsonl"),
        (change("metrics.json", "METEOR", 7), "metrics.json is damaged (METEOR is 7; from "),
        (change("environment.json", "train", {}), "environment.json has no train/steps"),
        (lambda p: p.with_suffix(".tsv").unlink(), "unfinished: no a.tsv"),
        (
            lambda p: p.with_suffix(".tsv").write_text("MR\toutput\n"),
            "a.tsv was changed since it was decoded; decode it again",
        ),
        (
            change("metrics.json", "ROUGE_L", 0.99),
            "metrics.json has ROUGE_L 0.9900, ",
        ),
    ],
)
def test_a_damaged_packed_run_is_left_out_with_the_reason(tmp_path, damage, reason):
    path = pack(made(tmp_path / "runs"), tmp_path / "packed", REPORTED)
    damage(path)
    runs, [line] = read_runs(path.parent, REPORTED)
    assert runs == [] and line.startswith(f"{path}: left out, {reason}")


def test_a_packed_run_whose_statistics_are_of_other_files_is_marked(tmp_path):
    path = pack(made(tmp_path / "runs"), tmp_path / "packed", REPORTED)
    change("statistics.json", "inputs", {})(path)
    [run], left_out = read_runs(path.parent, REPORTED)
    assert run.marks[-1] == "scores without their statistics.json" and left_out == []


def test_packed_runs_get_the_scores_that_came_since(tmp_path):
    """From their predictions; those that they have stay as they are."""
    home = Path(__file__).resolve().parents[2] / "results/standin12/runs"
    [path, *_] = sorted(home.glob("lora-*.json"))
    run, references = tmp_path / path.name, tmp_path / "refs.txt"
    shutil.copyfile(path, run)
    lines = path.with_suffix(".tsv").read_text(encoding="utf-8").splitlines()[:4]
    run.with_suffix(".tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    texts = [line.replace("\t", "||") for line in lines[1:]]
    references.write_text("\n".join(texts) + "\n", encoding="utf-8")
    parts = json.loads(run.read_text(encoding="utf-8"))
    del parts["metrics.json"]["SER"], parts["statistics.json"]["rows"]["SER"]
    run.write_text(json.dumps(parts), encoding="utf-8")
    assert lacks_scores(run) and not lacks_scores(path)
    with pytest.raises(ValueError, match="lora.*json was scored against other references than"):
        score_again([run], references)
    inputs = parts["statistics.json"]["inputs"]
    inputs |= {
        "references": content_sha256(references),
        "predictions": content_sha256(run.with_suffix(".tsv")),
    }
    parts["environment.json"]["evaluate"]["inputs"] = {
        "predictions.tsv": inputs["predictions"], "refs.txt": inputs["references"],
    }  # fmt: skip
    parts["environment.json"]["evaluate"]["sha256"] = "of the scores that were there"
    run.write_text(json.dumps(parts), encoding="utf-8")
    score_again([run], references)
    assert not lacks_scores(run)
    scores, kept = read_scores(run), compare.kept(run)
    assert scores["BLEU"] == 1 and scores["SER"] == 0 and list(scores) == list(METRICS)
    assert contradiction(scores, kept.statistics) is None and len(kept.sources) == 3
    recorded = json.loads(run.read_text(encoding="utf-8"))["environment.json"]["evaluate"]
    assert "sha256" not in recorded  # tables would find the new scores altered


def test_runs_without_their_mrs_stay_as_they_are(tmp_path, capsys):
    """Newer scores would need the MRs: that is told, and nothing ends for it."""
    home = Path(__file__).resolve().parents[2] / "results/standin12_webnlg/runs"
    [path, *_] = sorted(home.glob("lora-*.json"))
    run = tmp_path / path.name
    for suffix in (".json", ".tsv"):
        shutil.copyfile(path.with_suffix(suffix), run.with_suffix(suffix))
    parts = json.loads(run.read_text(encoding="utf-8"))
    del parts["metrics.json"]["chrF all"]
    run.write_text(json.dumps(parts), encoding="utf-8")
    before = run.read_bytes()
    studies._score_packed(tmp_path, run)  # a file that is there
    studies._score_packed(tmp_path, tmp_path / "nowhere")
    assert run.read_bytes() == before and hides_mrs(run) and lacks_scores(run)
    kept, absent = capsys.readouterr().err.splitlines()
    assert kept == f"1 runs in {tmp_path} lack newer scores; they are kept without their MRs"
    assert absent.endswith("nowhere is not here to score")


def test_the_command_packs_every_run_it_is_given(tmp_path, monkeypatch, capsys):
    runs = [str(made(tmp_path / "runs", name)) for name in "ab"]
    monkeypatch.setattr("sys.argv", ["pack_run.py", *runs, "--out", str(tmp_path / "out")])
    pack_run.main()
    assert capsys.readouterr().out.splitlines() == [f"{tmp_path}/out/{n}.json" for n in "ab"]
    monkeypatch.setattr("sys.argv", ["pack_run.py", str(tmp_path), "--out", str(tmp_path / "out")])
    with pytest.raises(SystemExit):
        pack_run.main()
    assert capsys.readouterr().err.startswith(f"error: {tmp_path} cannot be packed: unfinished")


def test_other_metrics_than_those_kept_need_the_references(tmp_path, capsys):
    """Whose statistics a packed run has not; it is not compared by others unasked."""
    directory, references = made(tmp_path / "runs"), tmp_path / "refs.csv"
    with open(directory / "config.yaml", "a") as config:
        config.write(f"evaluate: {{references: {references}}}\n")
    parts = pack(directory, tmp_path / "packed", REPORTED)
    assert compare.outputs(parts).sources == SOURCES
    for more in ({"metrics": "webnlg"}, {"partial": True}):
        with pytest.raises(FileNotFoundError, match="refs.csv does not exist"):
            compare.outputs(parts, **more)


@pytest.mark.parametrize("name", ["loss", "valid_loss", "lambda/2"])
def test_a_log_with_a_lambda_or_a_loss_that_is_no_number_is_damaged(tmp_path, name):
    (tmp_path / "train_log.jsonl").write_text(json.dumps({"step": 1, name: float("nan")}) + "\n")
    with pytest.raises(ValueError, match=f"line 1: {name} is NaN"):
        read_log(tmp_path)


def test_a_score_that_was_not_measured_is_no_score_that_came_since(tmp_path, monkeypatch):
    """METEOR without Java: the packed run is not scored again for it each time."""
    kept = dict.fromkeys(METRICS, 0.5) | {"signature": "METEOR: not measured"}
    del kept["METEOR"]
    monkeypatch.setattr("eval.tables.packed.records.read", lambda run, name: kept)
    monkeypatch.setattr("eval.tables.packed.not_measured", lambda signature: {"METEOR"})
    assert not lacks_scores(tmp_path)


def test_mrs_of_which_one_looks_like_a_digest_are_not_hidden():
    hidden = compare.records.hidden
    assert hidden(["0123456789ab"] * 2) and not hidden(["0123456789ab", "name : A"])


def test_another_decoding_of_a_packed_training_has_a_place_of_its_own(tmp_path):
    """Decoded once more, and the first decoding moved away."""
    directory, out = made(tmp_path / "runs"), tmp_path / "packed"
    first = pack(directory, out, REPORTED)
    before = first.read_bytes()
    path = directory / DECODED / "identity.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decode": {"beam": 2}}))
    (directory / DECODED).rename(directory / "decode/ff")
    other = pack(directory, out, REPORTED)
    assert other.name == f"{first.stem}-ff.json" and first.read_bytes() == before
    assert pack(directory, out, REPORTED) == other
