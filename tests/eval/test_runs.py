"""Runs read from their directories: what is marked, what is left out, what is refused."""

import json

import pytest

from eval.runs import differences, read_runs
from eval.tables import load_reported
from tests.eval.made_runs import make_run

REPORTED = load_reported()


def read(root):
    return read_runs(root, REPORTED)


def test_a_whole_run(tmp_path):
    make_run(tmp_path, "a", seed=7, lr=1e-3, adapter={"variant": "devcode"})
    [run], left_out = read(tmp_path)
    assert (run.seed, run.lr, run.variant, run.n_params) == (7, 1e-3, "devcode", 122_449)
    assert run.scores["BLEU"] == 0.6764 and run.rows == ["table1/solo_s"]
    assert run.marks == differences(run, "table1/solo_s") == left_out == []


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"stand_in": "stand-in: tiny"}, "stand-in: tiny"),
        ({"path": "some/dir"}, "backbone of unknown origin (some/dir)"),
        ({"steps": 200}, "200 of 52,580 training steps"),
        ({"mrs": 12}, "12 test MRs, not E2E's 630"),
    ],
)
def test_what_counts_for_no_row(tmp_path, changes, mark):
    make_run(tmp_path, "a", **changes)
    [run], _ = read(tmp_path)
    assert run.marks == [mark] and differences(run, "table1/solo_s") == []


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"adapter": {"rank": 64}}, "adapter.rank=64 (the row has 128)"),
        ({"adapter": {"dropout": 0.0}}, "adapter.dropout=0.0 (the row has null)"),
        ({"train": {"batch_size": 8}}, "train.batch_size=8 (the row has 4)"),
        ({"train": {"epochs": 1}}, "train.epochs=1 (the row has 5)"),
        ({"decode": {"beam": 1}}, "decode.beam=1 (the row has 10)"),
        ({"data": {"train": "00"}}, "other train data than E2E's"),
        ({"data": {"test": "00"}, "references": "x"}, "other test data than E2E's"),
        ({"references": "x"}, "scored against other references"),
        (
            {"path": "openai-community/gpt2-medium"},
            "backbone openai-community/gpt2-medium, not openai-community/gpt2",
        ),
    ],
)
def test_what_a_run_does_otherwise_than_its_row(tmp_path, changes, difference):
    make_run(tmp_path, "a", **changes)
    [run], _ = read(tmp_path)
    assert run.marks == [] and differences(run, "table1/solo_s")[0] == difference


def test_a_local_copy_of_the_hubs_weights_is_the_real_thing(tmp_path):
    [sha256] = REPORTED["weights"]
    make_run(tmp_path, "a", path="some/dir", file_sha256=sha256)
    make_run(tmp_path, "b", row="table1/solo_m", path="some/dir", file_sha256=sha256)
    (small, medium), _ = read(tmp_path)
    assert small.marks == medium.marks == differences(small, "table1/solo_s") == []
    assert differences(medium, "table1/solo_m") == [
        "backbone openai-community/gpt2, not openai-community/gpt2-medium"
    ]


def test_a_broken_directory_is_named_with_the_reason_and_left_out(tmp_path):
    make_run(tmp_path, "good")
    for name, file, content in [
        ("cut", "metrics.json", '{"BLEU": '),
        ("deaf", "identity.json", "[]"),
        ("few", "metrics.json", '{"BLEU": 0.5}'),
        (
            "nan",
            "metrics.json",
            (tmp_path / "good/metrics.json").read_text().replace("2.31", "NaN"),
        ),
        ("log", "train_log.jsonl", '{"step": 1}\n{"st'),
        ("other", "predictions.tsv", "MR\toutput\n"),
        ("yaml", "config.yaml", "adapter: {"),
    ]:
        (make_run(tmp_path, name, lr=len(name)) / file).write_text(content)
    (make_run(tmp_path, "lost", lr=9) / "identity.json").unlink()
    half = make_run(tmp_path, "half", lr=10) / "environment.json"
    half.write_text(json.dumps({"train": json.loads(half.read_text())["train"]}))
    (tmp_path / "started").mkdir()
    runs, left_out = read(tmp_path)
    assert [run.directory.name for run in runs] == ["good"]
    reasons = dict(line.removeprefix(f"{tmp_path}/").split(": left out, ") for line in left_out)
    assert list(reasons) == sorted(p.name for p in tmp_path.iterdir() if p.name != "good")
    assert reasons["cut"].startswith("metrics.json is damaged (Expecting value")
    assert reasons["deaf"].startswith("TypeError: ")
    assert reasons["few"] == "KeyError: no key 'NIST'"
    assert reasons["nan"] == "metrics.json holds a score that is not finite"
    assert reasons["other"] == "predictions.tsv is not the file that was scored; evaluate it again"
    assert reasons["yaml"].startswith("config.yaml is damaged (")
    assert reasons["log"].startswith("train_log.jsonl is damaged (")
    assert reasons["lost"] == "unfinished: no identity.json"
    assert reasons["half"] == "unfinished: no decode stage in environment.json"
    assert reasons["started"] == "unfinished: no environment.json"


def test_two_runs_of_one_key_with_different_results_are_an_error_that_names_both(tmp_path):
    make_run(tmp_path, "a")
    make_run(tmp_path, "c", seed=2, scores={"BLEU": 0.6})
    make_run(tmp_path, "b", scores={"CIDEr": 2.4})
    with pytest.raises(
        ValueError,
        match=f"{tmp_path}/a and {tmp_path}/b are runs of one configuration and seed with "
        "different results .CIDEr 2.3100 and 2.4000.; find out why, and move one",
    ):
        read(tmp_path)


def test_the_same_run_twice_counts_once_for_the_rows_of_both(tmp_path):
    """Also from a local copy of the weights: what they are decides, not where they lie."""
    make_run(tmp_path, "a")
    twin = make_run(tmp_path, "b")
    (twin / "rows.json").write_text('["table2/solo_s_r128_sparse"]')
    identity = json.loads((twin / "identity.json").read_text())
    identity["training"]["model"] = {"sha256": "a local copy"}
    (twin / "identity.json").write_text(json.dumps(identity))
    [run], left_out = read(tmp_path)
    assert run.rows == ["table1/solo_s", "table2/solo_s_r128_sparse"] and not left_out
    assert run.directory.name == "a"
