"""JSON Lines are scored as what they hold, or refused; never as plain text."""

import json

import pytest

from eval.advice import odd_scores
from eval.readers import load
from eval.score import main, score_files

REFS = "mr,ref\na,one two three four five\na,one two three four\nb,six seven eight nine\n"
TEXTS = {"b": "six seven eight nine", "a": "one two three four five"}


@pytest.fixture
def read(tmp_path):
    def _read(refs: str, hyps: str, refs_name="refs.csv", hyps_name="hyps.jsonl"):
        (tmp_path / refs_name).write_text(refs, encoding="utf-8")
        (tmp_path / hyps_name).write_text(hyps, encoding="utf-8")
        return load(tmp_path / refs_name, [tmp_path / hyps_name])[0]

    return _read


def lines(field: str, mr: str | None = "mr", **others) -> str:
    objects = [{**({mr: k} if mr else {}), field: text, **others} for k, text in TEXTS.items()]
    return "\n".join(map(json.dumps, objects)) + "\n"


@pytest.mark.parametrize("name", ["hyps.jsonl", "hyps.txt", "hyps.json", "hyps"])
@pytest.mark.parametrize(
    ("mr", "field"), [("mr", "output"), ("MR", "prediction"), ("input", "generated_text")]
)
def test_hypotheses_are_known_by_what_they_hold(read, name, mr, field):
    data = read(REFS, lines(field, mr, id=3, logits=[0.1], ref_count=None), hyps_name=name)
    assert dict(zip(data.sources, data.hypotheses, strict=True)) == TEXTS
    assert data.references[1] == ["one two three four five", "one two three four"]


def test_without_mrs_the_order_counts_as_in_plain_text(read):
    json_lines = read(REFS, lines("text", mr=None))
    plain = read(REFS, "\n".join(TEXTS.values()) + "\n", hyps_name="hyps.txt")
    assert json_lines == plain


def test_an_output_goes_before_a_reference_in_the_same_line(read):
    assert read(REFS, lines("output", ref="not this")).hypotheses == [*TEXTS.values()]


def test_a_field_is_chosen_by_whole_words(read):
    """Those that only begin with the letters of one, or tell about a text, are others."""
    others = {"dataset": "x", "date": "x", "system": "x", "human_rating": 3, "reference_id": "r1",
              "refusal": False, "output_length": 4, "sourceId": 5}  # fmt: skip
    data = read(REFS, lines("prediction", **others))
    assert dict(zip(data.sources, data.hypotheses, strict=True)) == TEXTS
    refs = "".join(
        json.dumps({"prompt": mr, "reference_text": text} | others) + "\n"
        for mr, text in TEXTS.items()
    )
    data = read(refs, lines("predictedText", mr="inputs", **others), refs_name="refs.jsonl")
    assert dict(zip(data.sources, data.hypotheses, strict=True)) == TEXTS
    assert data.references == [[text] for text in TEXTS.values()]


@pytest.mark.parametrize(
    ("given", "exact", "what"),
    [
        (["sys_out", "prediction"], "output", "texts"),
        (["source", "prompt"], "mr", "MRs"),
        (["generated_text", "completion"], "output", "texts"),
    ],
)
def test_of_two_fields_that_fit_neither_is_taken_without_a_word(read, given, exact, what):
    text = {"output": "x"} if what == "MRs" else {"mr": "a"}
    row = text | dict.fromkeys(given, "a")
    with pytest.raises(ValueError) as caught:
        read("mr,ref\na,x\n", json.dumps(row))
    assert str(caught.value).endswith(
        f"line 1: of the fields {given} several can be the {what}; call one of them {exact}, or "
        "the others otherwise"
    )
    data = read("mr,ref\na,x\n", json.dumps(row | {exact: "a"}))
    assert (data.sources, len(data.hypotheses)) == (["a"], 1)


def test_one_file_may_have_outputs_and_references(read):
    rows = [{"mr": mr, "target": text, "output": "not this"} for mr, text in TEXTS.items()]
    both = "".join(json.dumps(row) + "\n" for row in rows)
    data = read(both, both, "refs.jsonl", "hyps.jsonl")
    assert data.references == [[text] for text in TEXTS.values()]
    assert data.hypotheses == ["not this"] * len(TEXTS)
    data = read(REFS, lines("prediction", reference="not this"))
    assert data.hypotheses == [*TEXTS.values()]


def test_references_may_be_several_a_line(read):
    objects = [{"mr": "a", "refs": ["one two three four five", "one two three four"]},
               {"mr": "b", "refs": "six seven eight nine"}]  # fmt: skip
    refs = "\n".join(map(json.dumps, objects))
    data = read(refs, lines("output"), refs_name="refs.jsonl")
    assert data.references == read(REFS, lines("output")).references
    segments = [{"target": o["refs"]} for o in objects]
    data = read("\n".join(map(json.dumps, segments)), "x y\nz\n", "refs.txt", "hyps.txt")
    assert data.references == [objects[0]["refs"], [objects[1]["refs"]]]


def test_the_scores_are_those_of_the_same_table(tmp_path):
    (tmp_path / "refs.csv").write_text(REFS)
    table = "MR\toutput\n" + "".join(f"{k}\t{v}\n" for k, v in TEXTS.items())
    for name, text in (("a.jsonl", lines("output")), ("b.tsv", table)):
        (tmp_path / name).write_text(text)
    results = score_files(tmp_path / "refs.csv", [tmp_path / "a.jsonl", tmp_path / "b.tsv"])
    of_json, of_table = (result.scores for result in results)
    assert of_json["BLEU"] == of_table["BLEU"] == pytest.approx(1)
    assert of_json["CIDEr"] == of_table["CIDEr"]


@pytest.mark.parametrize(
    ("hyps", "message"),
    [
        ('[{"mr": "a", "output": "x"}]\n', "hyps.json, line 1: this is no JSON object; write"),
        ('[\n{"mr": "a"}\n]\n', "line 1: this is no JSON object; write one object a line .JSON Li"),
        ('{\n"mr": "a"\n}\n', "line 1: this is no JSON object"),
        ('{"mr": "a", "output": "x"}\nno\n', "line 2: this is no JSON object"),
        ('{"mr": "a", "words": "x"}\n', r"of the fields \['mr', 'words'\] none can be the texts; .*"
         "with a word of: out, output, ref, reference, sys, system output, pred, prediction"),
        ('{"mr": "a", "out1": "x", "out2": "y"}\n', "several can be the texts"),
        ('{"mr": "a", "output": 3}\n', "line 1: 'output' must be a text; write"),
        ('{"mr": "a", "output": ["x"]}\n', "'output' must be a text"),
        ('{"mr": ["a"], "output": "x"}\n', "line 1: 'mr' must be a text; write"),
        ('{"mr": "a", "output": "x"}\n{"mr": "b", "prediction": "y"}\n',
         "line 2: it has no 'output', which the lines before it have; every line needs"),
        ('{"mr": "a", "output": "x"}\n{"output": "y"}\n', "line 2: it has no 'mr', which the li"),
        ('{"mr": "a", "output": "half a \\ud800"}\n', "line 1: .* holds half of a surrogate pair"),
    ],
)  # fmt: skip
def test_other_json_is_refused_in_one_line(read, hyps, message):
    with pytest.raises(ValueError, match=message):
        read(REFS, hyps, hyps_name="hyps.json")


def test_a_list_on_one_line_is_no_text_whatever_the_file_is_called(read):
    for text in ('[{"output": "one two"}]\n', '["one two"]\n', "[]\n"):
        with pytest.raises(ValueError, match="line 1: this is no JSON object; write one object"):
            read("one two\n", text, "refs.txt", "hyps.txt")


def test_without_mrs_references_are_repaired_as_hypotheses_are(read):
    texts = [json.dumps({"text": text}) + "\n" for text in ("Łódź, a Ł5 price", "cafÃ© Brazil")]
    data = read("".join(texts), "".join(texts), "refs.jsonl", "hyps.jsonl")
    assert (
        data.hypotheses == [of for [of] in data.references] == ["Łódź, a £5 price", "café Brazil"]
    )


def test_text_that_begins_with_a_brace_is_text(read):
    data = read("one\ntwo\n", "{curly} words\n[square] ones\n", "refs.txt", "hyps.txt")
    assert data.hypotheses == ["{curly} words", "[square] ones"]


OWN = 'mr,ref\n"name[A], food[Thai]",one two three four\n'
LORA = "name : A | food : Thai||one two three four\n"


@pytest.mark.parametrize(
    ("refs", "hyps", "there", "named"),
    [
        ("official.csv", "MR\toutput\nname : A | food : Thai\tone\n", "lora_format/test.txt", True),
        (
            "official.csv",
            "MR\toutput\nname : A | food : Thai\tone\n",
            "lora_format/test.txt",
            False,
        ),
        ("lora.txt", 'MR\toutput\n"name[A], food[Thai]"\tone\n', "testset_w_refs.csv", True),
    ],
)
def test_the_matching_file_of_references_is_named(tmp_path, capsys, refs, hyps, there, named):
    (tmp_path / "official.csv").write_text(OWN)
    (tmp_path / "lora.txt").write_text(LORA)
    (tmp_path / "hyps.tsv").write_text(hyps)
    if named:
        (tmp_path / there).parent.mkdir(exist_ok=True)
        (tmp_path / there).write_text(LORA if there.endswith("txt") else OWN)
    command = ["--refs", str(tmp_path / refs), "--hyps", str(tmp_path / "hyps.tsv")]
    assert main(command) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert line.endswith(
        f"score with --refs {tmp_path / there if named else f'E2E{chr(39)}s {there}'}"
    )
    assert "has no references for the MR 'name" in line
    own, loras = "E2E's own (name[Blue Spice])", "LoRA's (name : Blue Spice)"
    ours, theirs = (own, loras) if "[" in hyps else (loras, own)
    assert f"they are spelt as {ours}, the references' as {theirs}; " in line


def test_the_headers_that_it_takes_are_named(read):
    with pytest.raises(
        ValueError,
        match=r"of: mr, src, source, .*input, context, prompt\) and one of texts \(out, output, "
        r"ref, reference, sys, system output, pred, .*\); several texts of an MR have a row each",
    ):
        read(REFS, "MR\tguess\na\tx\n", hyps_name="h.tsv")


def test_a_note_where_most_outputs_have_under_four_words(tmp_path):
    short, long = "one two three", "one two three four"
    (tmp_path / "refs.txt").write_text(f"{long}\n" * 3)
    notes = []
    for outputs in ([short, short, long], [short, long, long]):
        (tmp_path / "h.txt").write_text("\n".join(outputs) + "\n")
        [result] = score_files(tmp_path / "refs.txt", [tmp_path / "h.txt"])
        notes.append([n for n in result.scores["details"]["notes"] if "under four words" in n])
    assert len(notes[0]) == 1 and notes[1] == []
    assert "2 of 3 outputs have under four words; BLEU and NIST of such are odd" in notes[0][0]
    assert odd_scores(tmp_path, [short], {"BLEU all": 0.5}) == []  # WebNLG's has no such rule
    assert odd_scores(tmp_path, [short, long], {"BLEU": 0.5}) == []  # half are not most


def test_a_note_where_a_score_cannot_be_whatever_the_share_of_short_outputs(tmp_path):
    """By the official rule a text of fewer than four words takes away from BLEU's totals."""
    (tmp_path / "refs.txt").write_text("one two three four\none\n")
    (tmp_path / "h.txt").write_text("one two three four\none\n")
    [result] = score_files(tmp_path / "refs.txt", [tmp_path / "h.txt"])
    notes = result.scores["details"]["notes"]
    assert result.scores["BLEU"] > 1 and any("1 of 2 outputs have under four" in n for n in notes)


IDS = '{"id": 1, "ref": ["one", "two"]}\n{"id": "b", "ref": "three"}\n'


def test_lines_without_mrs_are_paired_by_their_ids(read):
    data = read(IDS, '{"id": "b", "output": "B"}\n{"id": 1, "output": "A"}\n')
    assert data.hypotheses == ["B", "A"] and data.references == [["three"], ["one", "two"]]
    assert data.sources == ["", ""]  # an id is no MR
    with pytest.raises(ValueError, match="has no references for the id 'c'"):
        read(IDS, '{"id": "c", "output": "B"}\n{"id": 1, "output": "A"}\n')


@pytest.mark.parametrize(
    ("refs", "hyps", "sources"),
    [
        (IDS, '{"mr": "x", "output": "A"}\n{"mr": "y", "output": "B"}\n', ["x", "y"]),
        (IDS, '{"output": "A"}\n{"output": "B"}\n', ["", ""]),
        (
            '{"mr": "x", "ref": ["one", "two"]}\n{"mr": "y", "ref": "three"}\n',
            '{"id": "b", "output": "A"}\n{"id": 1, "output": "B"}\n',
            ["x", "y"],
        ),
        (
            '{"ref": ["one", "two"]}\n{"ref": "three"}\n',
            '{"id": "b", "output": "A"}\n{"id": 1, "output": "B"}\n',
            ["", ""],
        ),
    ],
)
def test_ids_of_one_file_alone_pair_nothing(read, refs, hyps, sources):
    """Order counts then."""
    data = read(refs, hyps)
    assert data.hypotheses == ["A", "B"] and data.references == [["one", "two"], ["three"]]
    assert data.sources == sources


def test_the_matching_file_of_references_is_found_above_loras_folder(tmp_path, capsys):
    (tmp_path / "lora_format").mkdir()
    refs, hyps = tmp_path / "lora_format" / "test.txt", tmp_path / "hyps.tsv"
    refs.write_text(LORA)
    hyps.write_text('MR\toutput\n"name[A], food[Thai]"\tone\n')
    (tmp_path / "testset_w_refs.csv").write_text(OWN)
    assert main(["--refs", str(refs), "--hyps", str(hyps)]) == 2
    line = capsys.readouterr().err.strip()
    assert line.endswith(f"score with --refs {tmp_path / 'testset_w_refs.csv'}")


def test_a_list_over_several_lines_is_no_plain_text(read):
    with pytest.raises(ValueError, match="line 1: this is no JSON object; write one object a line"):
        read("one\ntwo\nthree\n", '[{\n"output": "one"\n}]\n', "refs.txt", "hyps.txt")
