"""Runs read from their directories: what is marked, what is left out, what is refused."""

import json
import shutil

import numpy as np
import pytest

from eval.tables.checks import check_adapter
from eval.tables.lines import load_reported
from eval.tables.runs import differences, read_runs
from solo.cli.rows import settings_of
from solo.cli.tables import table_of
from solo.runs.identity import short_name
from tests.eval.made_runs import DECODED, SCORES, keep_statistics, make_run, rescore

REPORTED = load_reported()


def read(root):
    return read_runs(root, REPORTED)


def otherwise(run, row: str) -> list[str]:
    return differences(run, settings_of(row))


def test_a_whole_run(tmp_path):
    make_run(tmp_path, "a", seed=7, lr=1e-3, n_params=201_989, adapter={"variant": "devcode"})
    [run], left_out = read(tmp_path)
    assert (run.seed, run.lr, run.variant, run.n_params) == (7, 1e-3, "devcode", 201_989)
    assert run.scores["BLEU"] == 0.6764 and run.rows == ["table1/solo_s"]
    assert run.marks == otherwise(run, "table1/solo_s") == left_out == []


@pytest.mark.parametrize(
    ("changes", "mark"),
    [
        ({"stand_in": "stand-in: tiny"}, "stand-in: tiny"),
        ({"path": "some/dir"}, "backbone of unknown origin (some/dir)"),
        ({"steps": 200}, "200 of 52,580 training steps"),
        ({"steps": 52_581}, "52,581 of 52,580 training steps"),
        ({"mrs": 12}, "12 test MRs, not E2E's 630"),
        ({"mrs": 631}, "631 test MRs, not E2E's 630"),
    ],
)
def test_what_counts_for_no_row(tmp_path, changes, mark):
    make_run(tmp_path, "a", **changes)
    [run], _ = read(tmp_path)
    assert run.marks == [mark] and otherwise(run, "table1/solo_s") == []


@pytest.mark.parametrize(
    ("kind", "marks"),
    [
        ("e2e_raw", []),
        ("e2e_clean", ["630 test MRs, not the cleaned E2E's 1847"]),
        ("webnlg", ["630 test MRs, not WebNLG's 1862"]),
        ("own", ["630 test MRs of no published test set (own)"]),
    ],
)
def test_a_test_set_is_counted_by_its_own_kind(tmp_path, kind, marks):
    path = make_run(tmp_path, "a")
    for file in path.rglob("identity.json"):
        file.write_text(json.dumps(json.loads(file.read_text()) | {"test_kind": kind}))
    [run], _ = read(tmp_path)
    assert run.marks == marks


@pytest.mark.parametrize(
    ("changes", "difference"),
    [
        ({"adapter": {"rank": 64}}, "adapter.rank=64 (the row has 128)"),
        ({"adapter": {"dropout": 0.0}}, "adapter.dropout=0.0 (the row has null)"),
        ({"train": {"batch_size": 8}}, "train.batch_size=8 (the row has 4)"),
        ({"train": {"epochs": 1}}, "train.epochs=1 (the row has 5)"),
        ({"train": {"precision": "bf16"}}, "train.precision=bf16 (the row has fp32)"),
        ({"decode": {"beam": 1}}, "decode.beam=1 (the row has 10)"),
        ({"data": {"train": "00"}}, "other train data than E2E's"),
        ({"data": {"valid": "00"}}, "other valid data than E2E's"),
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
    assert run.marks == [] and otherwise(run, "table1/solo_s")[0] == difference


def test_a_local_copy_of_the_hubs_weights_is_the_real_thing(tmp_path):
    [sha256] = REPORTED["weights"]
    make_run(tmp_path, "a", path="some/dir", file_sha256=sha256)
    make_run(tmp_path, "b", row="table1/solo_m", path="some/dir", file_sha256=sha256)
    (small, medium), _ = read(tmp_path)
    assert small.marks == medium.marks == otherwise(small, "table1/solo_s") == []
    assert otherwise(medium, "table1/solo_m") == [
        "backbone openai-community/gpt2, not openai-community/gpt2-medium"
    ]


def change(file: str, path: str, value):
    """A function that sets what `path` names in a run's JSON file; value ...: takes it away."""

    def damage(directory):
        content = json.loads((directory / file).read_text())
        *groups, last = path.split("/")
        group = content
        for key in groups:
            group = group[key]
        group[last] = value
        if value is ...:
            del group[last]
        (directory / file).write_text(json.dumps(content))

    return damage


def write(file: str, content: str | bytes):
    data = content if isinstance(content, bytes) else content.encode()
    return lambda directory: (directory / file).write_bytes(data)


def cut(file: str):
    return lambda d: (d / file).write_bytes((d / file).read_bytes()[:-3])


DAMAGED = "environment.json is damaged"
DAMAGE = [
    (write("environment.json", ""), "environment.json is damaged (Expecting value"),
    (write("environment.json", "null"), "unfinished: no train stage in environment.json"),
    (write("environment.json", b"\xff"), "environment.json is damaged ('utf-8' codec"),
    (cut("environment.json"), "environment.json is damaged (Expecting ','"),
    (
        change(f"{DECODED}/environment.json", "decode", ...),
        "unfinished: no decode stage in environment.json",
    ),
    (change("environment.json", "train", None), "environment.json has no train/steps"),
    (change("environment.json", "train/steps", "x"), f"{DAMAGED} (train/steps is x)"),
    (change("environment.json", "train/steps", True), f"{DAMAGED} (train/steps is true)"),
    (change("environment.json", "train/n_params", None), f"{DAMAGED} (train/n_params is null)"),
    (change(f"{DECODED}/identity.json", "decode/beam", ...), "identity.json has no decode/beam"),
    (
        change(f"{DECODED}/identity.json", "decode/beam", 0),
        "identity.json is damaged (decode/beam is 0)",
    ),
    (change(f"{DECODED}/identity.json", "test", ...), "identity.json has no test"),
    (lambda d: (d / DECODED / "identity.json").unlink(), "unfinished: no identity.json"),
    (lambda d: (d / DECODED / "environment.json").unlink(), "unfinished: no environment.json"),
    (lambda d: (d / DECODED / "metrics.json").unlink(), "unfinished: no metrics.json"),
    (
        change(f"{DECODED}/environment.json", "evaluate", ...),
        "unfinished: no evaluate stage in environment.json",
    ),
    (
        change(f"{DECODED}/environment.json", "evaluate/inputs/test.txt", ...),
        "environment.json names 0 files of references, not one",
    ),
    (
        change(f"{DECODED}/environment.json", "evaluate/inputs/b.txt", "0"),
        "environment.json names 2 files of references, not one",
    ),
    (lambda d: (d / "identity.json").unlink(), "unfinished: no identity.json"),
    (write("identity.json", "[]"), "identity.json has no training/seed"),
    (
        change("identity.json", "training/seed", "one"),
        "identity.json is damaged (training/seed is one)",
    ),
    (
        change("identity.json", "training/train/lr", None),
        "identity.json is damaged (training/train/lr is null)",
    ),
    (
        change("identity.json", "training/train/precision", ...),
        "identity.json has no training/train/precision",
    ),
    (change("identity.json", "training/data", []), "identity.json has no training/data/train"),
    (cut(f"{DECODED}/metrics.json"), "metrics.json is damaged (Expecting"),
    (write(f"{DECODED}/metrics.json", "{}"), "metrics.json has no score of BLEU, NIST, "),
    (write(f"{DECODED}/metrics.json", "[]"), "metrics.json has no score of BLEU, NIST, "),
    *[
        (
            change(f"{DECODED}/metrics.json", name, value),
            f"metrics.json is damaged ({name} is {said}; from ",
        )
        for name, value, said in (
            ("NIST", "8.64", "8.64"),
            ("NIST", None, "null"),
            ("NIST", True, "true"),
            ("NIST", float("nan"), "NaN"),
            ("NIST", float("inf"), "Infinity"),
            ("NIST", 10**400, "1" + "0" * 39 + "..."),
            ("NIST", 1e308, "1e+308"),
            ("BLEU", -0.1, "-0.1"),
            ("METEOR", 45.7, "45.7"),
            ("ROUGE_L", 1.001, "1.001"),
            ("CIDEr", 10.1, "10.1"),
            ("chrF", 58.7, "58.7"),
        )
    ],
    (
        change("environment.json", "train/n_params", -1),
        f"{DAMAGED} (train/n_params is -1)",
    ),
    (
        change("environment.json", "train/n_params", 1e6),
        f"{DAMAGED} (train/n_params is 1000000.0)",
    ),
    (
        change(f"{DECODED}/environment.json", "decode/n_predictions", -5),
        f"{DAMAGED} (decode/n_predictions is -5)",
    ),
    *[
        (
            change("identity.json", path, value),
            f"identity.json is damaged ({path} is {json.dumps(value)})",
        )
        for path, value in (
            ("training/seed", -1),
            ("training/seed", 1.5),
            ("training/seed", 2**32),
            ("training/train/lr", -1e-3),
            ("training/train/lr", float("inf")),
            ("training/train/lr", float("nan")),
            ("training/train/lr", 1e308),
            ("training/train/lr", True),
        )
    ],
    (write("rows.json", '["table1'), "rows.json is damaged (Unterminated string"),
    (write("rows.json", '"table1/solo_s"'), "rows.json is damaged (it is no list of rows)"),
    (write("rows.json", '[["table1/solo_s"]]'), "rows.json is damaged (it is no list of rows)"),
    (write("config.yaml", "adapter: {"), "config.yaml is damaged (while parsing"),
    (write("config.yaml", b"\xff"), "config.yaml is damaged ('utf-8' codec"),
    (write("config.yaml", ""), "config.yaml has no adapter/name"),
    (write("config.yaml", "adapter: solo"), "config.yaml has no adapter/name"),
    (
        write("config.yaml", "adapter: {name: solo, rank: 64}"),
        "config.yaml says adapter.rank=64, identity.json 128; they are not of one run",
    ),
    (lambda d: (d / DECODED / "predictions.tsv").unlink(), "unfinished: no predictions.tsv"),
    (
        cut(f"{DECODED}/predictions.tsv"),
        "predictions.tsv was changed since it was decoded; decode it again",
    ),
    (lambda d: (d / "train_log.jsonl").unlink(), "unfinished: no train_log.jsonl"),
    (cut("train_log.jsonl"), "train_log.jsonl is damaged (line 3 is no JSON)"),
    (write("train_log.jsonl", b"\xff"), "train_log.jsonl is damaged ('utf-8' codec"),
    (write("train_log.jsonl", ""), "train_log.jsonl is empty"),
    (write("train_log.jsonl", "5\n"), "train_log.jsonl is damaged (line 1 has no step)"),
    (
        write("train_log.jsonl", '{"step": 1, "loss": "x"}'),
        "train_log.jsonl is damaged (line 1: loss is x)",
    ),
    (
        write("train_log.jsonl", '{"step": 1, "loss": 1e308}'),
        "train_log.jsonl is damaged (line 1: loss is 1e+308)",
    ),
    (write("train_log.jsonl", "[" * 100_000), "train_log.jsonl is damaged (line 1 is no JSON"),
    (write("identity.json", "[" * 100_000), "identity.json is damaged (maximum recursion"),
    (
        write("config.yaml", "a: &a [x, x]\nb: &b [*a, *a]\nadapter: {name: [*b, *b]}"),
        "config.yaml is damaged (it has aliases, which a run never writes)",
    ),
    (write("config.yaml", "[" * 100_000), "config.yaml is damaged (it has more than 50 levels"),
    (
        change(f"{DECODED}/metrics.json", "BLEU", 0.99),
        "metrics.json was changed since it was written; evaluate it again",
    ),
    (
        change(f"{DECODED}/environment.json", "evaluate/inputs/predictions.tsv", "0"),
        "predictions.tsv is not the file that was scored; evaluate it again",
    ),
    (
        change(f"{DECODED}/environment.json", "decode/n_predictions", 12),
        "predictions.tsv has 630 outputs, environment.json says 12",
    ),
    (
        lambda d: [path.unlink() for path in d.iterdir() if path.is_file()],
        "unfinished: no environment.json",
    ),
]


@pytest.mark.parametrize(("damage", "reason"), DAMAGE, ids=[reason for _, reason in DAMAGE])
def test_a_broken_directory_is_named_with_the_reason_and_left_out(tmp_path, damage, reason):
    make_run(tmp_path, "good")
    damage(make_run(tmp_path, "bad", lr=1e-3))
    runs, [line] = read(tmp_path)
    assert [run.directory.name for run in runs] == ["good"]
    assert line.startswith(f"{tmp_path}/bad/{DECODED}: left out, {reason}")


def test_scores_at_the_ends_of_what_can_be(tmp_path):
    """0.99 is a NIST like any other, and a perfect CIDEr may round beyond 10."""
    scores = {"BLEU": 1, "NIST": 0.99, "METEOR": 0, "ROUGE_L": 1.0, "CIDEr": 10 + 1e-12}
    make_run(tmp_path, "a", scores=scores)
    [run], left_out = read(tmp_path)
    assert run.scores == scores and left_out == []


def test_a_run_is_read_without_a_metric_that_it_was_not_scored_with(tmp_path):
    bare = {name: score for name, score in SCORES.items() if name != "NIST"}
    rescore(make_run(tmp_path, "a"), bare)
    twin = make_run(tmp_path, "b", scores={"chrF": 0.7})  # the same run, scored again later
    [run], left_out = read(tmp_path)
    assert list(run.scores) == ["BLEU", "METEOR", "ROUGE_L", "CIDEr"] and left_out == []
    rescore(twin, SCORES | {"CIDEr": 2.4})
    with pytest.raises(ValueError, match="different results .CIDEr 2.3100 and 2.4000."):
        read(tmp_path)


def test_scores_that_were_written_before_their_checksum_was_kept(tmp_path):
    """They must be what the statistics give, here ROUGE-L as a mean; without these, a mark."""
    directory = make_run(tmp_path, "a", mrs=2)
    change(f"{DECODED}/environment.json", "evaluate/sha256", ...)(directory)
    [run], _ = read(tmp_path)
    assert run.marks == ["2 test MRs, not E2E's 630", "scores without their statistics.json"]
    keep_statistics(directory, {"ROUGE_L": np.array([[0.6], [0.7664]])}, ["m", "n"])
    [run], _ = read(tmp_path)
    assert run.marks == ["2 test MRs, not E2E's 630"] and run.scores["ROUGE_L"] == 0.6832
    keep_statistics(directory, {"ROUGE_L": np.array([[0.6], [0.8]])}, ["m", "n"])
    runs, [line] = read(tmp_path)
    reason = "metrics.json has ROUGE_L 0.6832, statistics.json gives 0.7000; evaluate it again"
    assert runs == [] and line.endswith(reason)


@pytest.mark.parametrize(
    ("file", "path", "value", "reason"),
    [
        (
            "environment.json",
            "train/n_params",
            7,
            "n_params is 7; solo on its backbone has 122,",
        ),
        ("environment.json", "train/identity", "0", "identity.json is of run "),
        ("identity.json", "training/seed", 2, "identity.json is of run "),
    ],
)
def test_counts_and_seeds_are_not_believed(tmp_path, file, path, value, reason):
    """The count is the closed form's, and the name that was recorded follows from the identity."""
    directory = make_run(tmp_path, "a")
    identity = json.loads((directory / "identity.json").read_text())["training"]
    change("environment.json", "train/identity", short_name(identity))(directory)
    assert [run.name for run in table_of("table1", tmp_path).runs] == ["a"]
    change(file, path, value)(directory)
    table = table_of("table1", tmp_path)
    assert table.runs == [] and f"left out, {reason}" in table.left_out[0]


def test_full_fine_tuning_trains_the_positions_too(tmp_path):
    """354,823,168: GPT-2 M with its 1,024 positions, which a run's record leaves out."""
    directory = make_run(tmp_path, "a", row="table1/full_m")
    assert table_of("table1", tmp_path).runs[0].n_params == 354_823_168
    for count in (354_823_169, 1024 * 10):
        change("environment.json", "train/n_params", count)(directory)
        assert table_of("table1", tmp_path).runs == []


def test_every_decoding_of_a_training_is_a_run(tmp_path):
    """Each with its name; a broken one is left out with its own path."""
    directory = make_run(tmp_path, "a")
    decoding, other = directory / DECODED, directory / "decode" / "ff"
    [run], _ = read(tmp_path)
    assert (run.name, run.directory, run.decoding) == ("a", directory, decoding)
    shutil.copytree(decoding, other)
    change("identity.json", "decode/beam", 1)(other)
    runs, _ = read(tmp_path)
    assert [run.name for run in runs] == ["a/decode/0a1b2c3d", "a/decode/ff"]
    assert [otherwise(run, "table1/solo_s") for run in runs] == [
        [], ["decode.beam=1 (the row has 10)"],
    ]  # fmt: skip
    (other / "metrics.json").unlink()
    [run], [line] = read(tmp_path)
    assert run.decoding == decoding
    assert line == f"{other}: left out, unfinished: no metrics.json"


def test_a_training_that_was_never_decoded_is_unfinished(tmp_path):
    """Also if a decoding lies in the training's own directory, as runs once had it."""
    directory = make_run(tmp_path, "a")
    later = json.loads((directory / DECODED / "environment.json").read_text())
    for file in ("metrics.json", "predictions.tsv"):
        (directory / DECODED / file).rename(directory / file)
    shutil.rmtree(directory / "decode")
    for stages in ({}, later):
        trained = json.loads((directory / "environment.json").read_text())
        (directory / "environment.json").write_text(json.dumps(trained | stages))
        runs, [line] = read(tmp_path)
        assert runs == []
        assert line == f"{tmp_path}/a: left out, unfinished: no decode stage in environment.json"


def test_a_run_is_what_it_was_decoded_with(tmp_path):
    """Trained for beam 10, as the row has it, but decoded with beam 1 by hand."""
    change(f"{DECODED}/identity.json", "decode/beam", 1)(make_run(tmp_path, "a"))
    [run], _ = read(tmp_path)
    assert otherwise(run, "table1/solo_s") == ["decode.beam=1 (the row has 10)"]
    make_run(tmp_path, "b", scores={"BLEU": 0.7})  # no twin of it
    assert len(read(tmp_path)[0]) == 2


def test_two_runs_of_one_key_with_different_results_are_an_error_that_names_both(tmp_path):
    make_run(tmp_path, "a")
    make_run(tmp_path, "c", seed=2, scores={"BLEU": 0.6})
    make_run(tmp_path, "b", scores={"CIDEr": 2.4})
    make_run(tmp_path, "aa")  # as a: no contradiction
    with pytest.raises(
        ValueError,
        match=f"{tmp_path}/a/{DECODED} and {tmp_path}/b/{DECODED} are runs of one configuration "
        "and seed with different results .CIDEr 2.3100 and 2.4000.; find out why, and move one",
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


def test_an_option_in_words_is_held_against_the_identity_too():
    check_adapter({"mask": "fixed", "rank": 2}, {"mask": "fixed", "rank": 2})
    with pytest.raises(ValueError, match="config.yaml says adapter.mask=fixed, identity.json oth"):
        check_adapter({"mask": "fixed"}, {"mask": "other"})
