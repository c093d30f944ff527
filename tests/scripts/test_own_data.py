"""The guide to data of one's own: its example as it stands, on a thin random backbone."""

import json
import re
import shlex
from pathlib import Path

import pytest

from eval.readers import check_sources, load
from solo.backbones.loading import load_tokenizer
from solo.datasets import own
from solo.datasets.data import read_pairs, read_rows
from solo.standin.pretrain import new_model

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/own_data.md").read_text(encoding="utf-8")
[EXAMPLE] = re.findall(r"^```json\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
[COMMAND] = re.findall(r"^python (.*)$", GUIDE, re.MULTILINE)


def test_the_guides_example(tmp_path, run_script):
    (tmp_path / "matches.jsonl").write_text(EXAMPLE, encoding="utf-8")
    tokenizer = load_tokenizer(ROOT / "data/backbones/standin12")
    shape = {"n_layer": 4, "n_embd": 32, "n_head": 2, "n_positions": 256}
    new_model(shape, tokenizer, 1, "test: random").save_pretrained(tmp_path / "backbone")
    tokenizer.save_pretrained(tmp_path / "backbone")
    arguments = COMMAND.replace("matches.jsonl", f"{tmp_path}/matches.jsonl").split()
    arguments += [f"model.path={tmp_path}/backbone", f"runs_dir={tmp_path}/runs"]
    arguments += ["train.max_steps=2", "decode.beam=2", "decode.max_new_tokens=8"]
    done = run_script(*arguments)
    assert done.code == 0, done.err
    [decoding] = (tmp_path / "runs").glob("*/decode/*")
    scores = json.loads((decoding / "metrics.json").read_text())
    assert scores["details"]["n_segments"] == 3 and scores["details"]["n_references"] == 4
    assert "chrF" in scores and "SER" not in scores
    following = done.err.splitlines()[-1].removeprefix("next: python ")
    assert following.endswith("'mr=home : Reds | away : Blues | score : 2 - 1'")
    assert run_script(*shlex.split(following)).code == 0

    two = tmp_path / "two.jsonl"  # another test set for the same run: its references come with it
    two.write_text("".join(EXAMPLE.splitlines(keepends=True)[:2]), encoding="utf-8")
    run = decoding.parents[1]
    assert run_script("scripts/decode.py", f"run={run}", f"data.test_path={two}").code == 0
    done = run_script("scripts/evaluate.py", f"run={run}", f"data.test_path={two}")
    assert done.code == 0, done.err
    # an MR is read as it stands, brackets included
    done = run_script("scripts/generate.py", f"run={run}", "mr=points [home, away] 3 - 1")
    assert done.code == 0, done.err


def test_references_that_are_not_of_the_test_sets_mrs_are_told_before_any_training(
    tmp_path, run_script
):
    """Another file's, or a form that the scorer would read as plain text, line by line."""
    (tmp_path / "matches.jsonl").write_text(EXAMPLE, encoding="utf-8")
    (tmp_path / "other.csv").write_text("mr,ref\nhome : X,X won .\n")
    arguments = COMMAND.replace("matches.jsonl", f"{tmp_path}/matches.jsonl").split()
    arguments += ["model=standin12", f"runs_dir={tmp_path}/runs"]
    done = run_script(*arguments, f"data.references_path={tmp_path}/other.csv")
    assert done.code == 1 and not (tmp_path / "runs").exists()
    assert "has no references for the MR 'home : Reds | away : Blues | score : 2 - 1'" in done.err
    lines = tmp_path / "lines.txt"
    lines.write_text("home : Reds => The Reds won .\nhome : Blues => The Blues won .\n")
    with pytest.raises(ValueError, match="lines.txt has plain text without MRs, as the scorer rea"):
        check_sources(["home : Reds", "home : Blues"], lines, own=True)
    check_sources(["home : Reds", "home : Blues"], lines)  # a separate file of references
    with pytest.raises(ValueError, match="has references for 2 segments, as .* test set 1 MRs"):
        check_sources(["home : Reds"], lines)


def test_a_test_file_without_texts_is_told_before_any_training(tmp_path, run_script):
    rows = [json.loads(line) for line in EXAMPLE.splitlines()]
    (tmp_path / "matches.jsonl").write_text(EXAMPLE, encoding="utf-8")
    mrs = tmp_path / "mrs.jsonl"
    mrs.write_text("".join(json.dumps({"mr": row["mr"]}) + "\n" for row in rows))
    arguments = COMMAND.replace("matches.jsonl", f"{tmp_path}/matches.jsonl").split()
    arguments += [f"data.test_path={mrs}", f"runs_dir={tmp_path}/runs", "model=standin12"]
    done = run_script(*arguments)
    assert done.code == 1 and not (tmp_path / "runs").exists()
    assert "none can be the texts" in done.err
    assert "or do without scores (scripts/train.py," in done.err


def test_the_three_kinds_of_file_are_read_alike(tmp_path):
    objects = [json.loads(line) for line in EXAMPLE.splitlines()]
    pairs = [(row["mr"], row["ref"]) for row in objects]
    for suffix, separator in ((".csv", ","), (".tsv", "\t")):
        lines = [separator.join(("mr", "id", "ref"))]
        lines += [separator.join((mr, "7", text)) for mr, text in pairs]
        (tmp_path / f"a{suffix}").write_text("\n".join(lines) + "\n")
    lines = [json.dumps(row | {"id": 7, "tags": ["x"]}) + "\n" for row in objects]
    (tmp_path / "a.jsonl").write_text("\ufeff" + "".join(lines), encoding="utf-8")
    (tmp_path / "hyps.txt").write_text("a\nb\nc\n")
    for suffix in (".csv", ".tsv", ".jsonl"):
        path = tmp_path / f"a{suffix}"
        assert read_pairs(path, "own") == pairs
        [data] = load(path, [tmp_path / "hyps.txt"])
        assert data.references[2] == [text for _, text in pairs[2:]]


def test_prompts_and_completions_train_as_they_score(tmp_path):
    """Names that only JSON has, beside keys that only begin like them."""
    row = {"prompt_id": 1, "mr": "a", "text": "b", "date": 2024}
    others = {"dataset": "football", "reference_id": 7, "human_rating": 5, "human_score": "high"}
    for keys in (("prompt", "completion"), ("input", "output"), ("context", "text")):
        path = tmp_path / f"{keys[0]}.jsonl"
        path.write_text(json.dumps({keys[0]: "a", keys[1]: "b", "n": 1} | others) + "\n")
        (tmp_path / "hyps.jsonl").write_text('{"mr": "a", "output": "b"}\n')
        assert read_pairs(path, "own") == [("a", "b")]
        [data] = load(path, [tmp_path / "hyps.jsonl"])
        assert (data.sources, data.references) == (["a"], [["b"]])
    path.write_text(json.dumps(row) + "\n")
    assert read_pairs(path, "own") == [("a", "b")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "a.jsonl has no rows"),
        ("\n\n", "a.jsonl is empty"),
        ('{"mr": "a", "ref": "b"}\n{"mr": \n', "a.jsonl, line 2: this is no JSON .Expecting value"),
        ("[" * 100_000, "a.jsonl, line 1: this is no JSON"),
        ('["a", "b"]', "a.jsonl, line 1: it is no object; write an object a line, such as"),
        ('{"mr": "a", "ref": []}', "a.jsonl, line 1: 'ref' must be a text or a list of texts; w"),
        ('{"mr": "a", "ref": ["b", 3]}', "a.jsonl, line 1: 'ref' must be a text or a list of t"),
        (
            '{"mr": {"name": "X"}, "ref": "b"}',
            "a.jsonl, line 1: 'mr' must be a text; write an object",
        ),
        ('{"mr": "a", "ref": "b"}\n{"mr": "a"}', r"line 2: the keys are \['mr'\], those of the"),
        ('{"mr": "a", "ref": " "}', "a.jsonl, line 1: the text is empty; write one, or leave"),
        ('{"mr": " ", "ref": "b"}', "a.jsonl, line 1: the MR is empty; write what the text is to"),
        (
            '{"source": "a", "ref": "b", "meaning": 1}',
            "the columns source, meaning can all be that of the MRs; call one of them mr, and the",
        ),
        (
            '{"source": "a", "ref": "b", "prompt": "c"}',
            "the columns source, prompt can all be that of the MRs; call one of them mr, and the",
        ),
        (
            '{"mr": "a", "target": "b", "text": "c"}',
            "the columns target, text can all be that of the texts; call one of them ref, and the",
        ),
        ('{"dataset": "a", "ref": "b"}', r"has columns \['dataset', 'ref'\]; it needs one of MRs"),
        (
            '{"mr": "a", "ref": "b \\ud800"}',
            "a.jsonl, line 1: 'b .* holds half of a surrogate pair",
        ),
        ('{"mr": "\\udc00", "ref": "b"}', "a.jsonl, line 1: .* holds half of a surrogate pair"),
        ('{"name": "a", "ref": "b"}', r"has columns \['name', 'ref'\]; it needs one of MRs"),
    ],
)
def test_bad_json_lines(tmp_path, text, message):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_rows(path, "own")


def test_json_lines_by_their_other_suffix(tmp_path):
    path = tmp_path / "a.ndjson"
    path.write_text('{"mr": "a", "ref": "b"}\n')
    assert read_pairs(path, "own") == read_pairs(path) == [("a", "b")]


def test_a_list_of_texts_trains_and_scores_as_a_row_for_each(tmp_path):
    path = tmp_path / "a.jsonl"
    path.write_text('{"mr": "a", "ref": ["b", "c"], "n": [1]}\n{"mr": "d", "ref": "e", "n": 2}\n')
    assert read_pairs(path, "own") == [("a", "b"), ("a", "c"), ("d", "e")]
    (tmp_path / "hyps.jsonl").write_text('{"mr": "a", "output": "b"}\n{"mr": "d", "output": "e"}\n')
    [data] = load(path, [tmp_path / "hyps.jsonl"])
    assert (data.sources, data.references) == (["a", "d"], [["b", "c"], ["e"]])


def test_json_that_is_no_json_lines(tmp_path):
    path = tmp_path / "a.json"
    path.write_text('[\n  {"mr": "a", "ref": "b"}\n]\n')
    with pytest.raises(ValueError, match="a.json is no table; write an object a line, .* .jsonl"):
        read_rows(path, "own")


@pytest.mark.parametrize(
    ("text", "note"),
    [
        ("mr,ref\na,b\n", None),
        ("MR,Ref,source\na,b,crowd\n", None),
        (
            "source,facts,text\ncrowd,a,b\n",
            "the MRs .*a.csv are its column 'source', the texts its 'text'$",
        ),
        ("input,target\na,b\n", "are its column 'input', the texts its 'target'$"),
        ("id,Meaning,ref_text\n1,a,b\n", "are its column 'Meaning', the texts its 'ref_text'$"),
    ],
)
def test_columns_with_other_names_are_told(tmp_path, text, note):
    """A column that is taken for that of the MRs may hold something else."""
    path = tmp_path / "a.csv"
    path.write_text(text)
    said = own.SOURCE.note(path)
    assert said is None if note is None else re.search(note, said)


def test_no_texts_and_no_file(tmp_path, run_script):
    path = tmp_path / "a.jsonl"
    path.write_text('{"mr": "a", "words": "b"}\n')
    with pytest.raises(ValueError, match=r"has MRs but no texts; .* needs both .columns mr, ref"):
        read_pairs(path, "own")
    done = run_script("scripts/train.py", "data=own", f"data.train_path={path}", "model=standin12")
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith("error: data/own/valid.csv is missing; set data.train_path, data.v")
