"""Readers: formats, order, repairs and every error text."""

import json
import re

import pytest

from eval.formats import read_references, repaired
from eval.readers import check_sources, load

REFS = 'mr,ref\n"a[1], b[2]",one\n"a[1], b[2]",two\nc[3],three\n"a[1], b[2]",four\n'
LORA = "a : 1 | b : 2||one . \na : 1 | b : 2||two . \nc : 3||three . \na : 1 | b : 2||four . \n"


@pytest.fixture
def read(tmp_path):
    """Write both files (text or bytes) and load them; names decide about the format."""

    def _read(refs, hyps, refs_name="refs.csv", hyps_name="hyps.tsv", kind="auto", partial=False):
        for name, content in ((refs_name, refs), (hyps_name, hyps)):
            data = content if isinstance(content, bytes) else content.encode("utf-8")
            (tmp_path / name).write_bytes(data)
        return load(tmp_path / refs_name, [tmp_path / hyps_name], kind, partial)[0]

    return _read


def test_table_follows_the_hypotheses(read):
    data = read(REFS, "MR\toutput\nc[3]\tC\na[1], b[2]\tA\n")
    assert data.hypotheses == ["C", "A"]
    assert data.references == [["three"], ["one", "two", "four"]]
    assert data.notes == []


def test_quotes_mark_and_duplicates(read):
    data = read(REFS, '\ufeffMR\toutput\n"a[1], b[2]"\t""\nc[3]\t"say ""C"""\nc[3]\tD\n')
    assert data.hypotheses == ["", 'say "C"', "D"]
    assert data.references == [["one", "two", "four"], ["three"], ["three"]]


def test_a_mark_before_plain_text_is_told(read):
    """The official script has it in the first word; who is not told wonders about the score."""
    data = read("one two\n", "\ufeffone two\n", "refs.txt", "hyps.txt")
    assert data.hypotheses == ["\ufeffone two"]
    assert [note for note in data.notes if "begins with a byte order mark, which is a" in note]
    assert not any(
        "byte order mark" in note
        for note in read("one two\n", "one two\n", "refs.txt", "hyps.txt").notes
    )


@pytest.mark.parametrize("header", ["input,target", "prompt,ref", "context,text"])
def test_a_header_in_words_of_json_is_no_row(read, header):
    refs = f"{header}\na,one two\nb,three\n"
    data = read(refs, "input,prediction\nb,C\na,A\n", hyps_name="hyps.csv")
    assert data.hypotheses == ["C", "A"] and data.references == [["three"], ["one two"]]
    assert data.notes == []


def test_a_header_without_mrs_is_no_row_either(read):
    with pytest.raises(ValueError, match=r"refs.csv: the header \['id', 'ref'\] must name one col"):
        read("id,ref\n1,one\n2,two\n", "A\nB\n", hyps_name="hyps.txt")


def test_an_empty_reference_is_noted(read):
    data = read("mr,ref\na,one\na,\nb,two\n", "mr\toutput\na\tA\nb\tB\n")
    assert data.references == [["one", ""], ["two"]]
    assert [note for note in data.notes if "refs.csv has 1 empty references, which count" in note]


def test_outputs_in_loras_lines_are_read_as_references_are(read):
    data = read(LORA, "c : 3||C .\na : 1 | b : 2||A .\n", "refs.txt", "hyps.txt")
    assert data.hypotheses == ["C .", "A ."] and data.references[0] == ["three ."]


def test_a_blank_line_that_counts_as_an_output_is_told(read):
    with pytest.raises(ValueError, match="same number; output 2 is empty, and counts as one"):
        read("one\n", "one\n\n", "refs.txt", "hyps.txt")


def test_csv_hypotheses_in_other_columns(read):
    data = read(REFS, 'no,System output,MR\n1,"A, a","a[1], b[2]"\n2,C,c[3]\n', hyps_name="h.csv")
    assert data.hypotheses == ["A, a", "C"]


def test_table_without_its_name_ending(read):
    data = read(REFS, "MR\toutput\na[1], b[2]\tA\nc[3]\tC\n", hyps_name="hyps.txt")
    assert data.hypotheses == ["A", "C"]


def test_encoding_repairs(read):
    data = read(REFS.replace("three", "Ł5"), "MR\toutput\nc[3]\tÂ£5 cafÃ©\na[1], b[2]\tcafã©\n")
    assert data.hypotheses == ["£5 café", "café"] and data.references[0] == ["£5"]


OFFICIAL = (("Ł", "£"), ("Â£", "£"), ("Ã©", "é"), ("ã©", "é"))  # of measure_scores.py


@pytest.mark.parametrize("variable", ["E2E_DATA_DIR", "E2E_CLEAN_DIR", "E2E_SYSTEMS_DIR"])
def test_every_file_of_e2e_is_repaired_as_the_official_script_repairs_it(real, variable):
    """As it is, and with each of its pound signs and accents gone through a wrong encoding: of one
    text of the training set's, with its slip `a £and up`, none could tell."""

    def official(text: str) -> str:
        for wrong, right in OFFICIAL:
            text = text.replace(wrong, right)
        return text

    files = [p for p in real(variable).rglob("*") if p.suffix in (".csv", ".tsv", ".txt")]
    lines = {line for file in files for line in file.read_text(encoding="utf-8").splitlines()}
    odd = {line for line in lines if not line.isascii() and not re.search("a £ ?and up", line)}
    assert odd
    assert all(repaired(line) == line for line in lines)
    for wrong, right in [("", ""), *OFFICIAL]:
        for line in {line.replace(right, wrong) for line in odd}:
            assert repaired(line) == official(line)


@pytest.mark.parametrize("name", ["refs.csv", "refs.tsv", "refs.jsonl", "test.txt", "refs.txt"])
@pytest.mark.parametrize("hyps", ["hyps.csv", "hyps.jsonl", "hyps.txt"])
def test_letters_that_are_no_broken_signs_stay(tmp_path, name, hyps):
    """Łódź is a town, on every way in which MRs and texts are read."""
    rows = [("home : Łódź | away : 2 Łany", "Łódź beat Łany 2 Ã 1 ."), ("home : Ł. Noê", "Ł. ã !")]
    mrs, texts = zip(*rows, strict=True)

    def write(name: str, head: tuple[str, str]):
        separator = "\t" if name.endswith(".tsv") else ","
        table = [f'"{mr}"{separator}"{text}"' for mr, text in rows]
        written = {
            "refs.txt": [f"{text}\n" for text in texts],
            "hyps.txt": texts,
            "test.txt": [f"{mr}||{text}" for mr, text in rows],
        }.get(name, [separator.join(head), *table])
        if name.endswith(".jsonl"):
            written = [json.dumps(dict(zip(head, row, strict=True))) for row in rows]
        (tmp_path / name).write_text("\n".join(written) + "\n", encoding="utf-8")
        return tmp_path / name

    references = write(name, ("mr", "ref"))
    [data] = load(references, [write(hyps, ("mr", "output"))])
    assert data.hypotheses == [text for [text] in data.references] == [*texts]
    if name != "refs.txt":
        assert data.sources == [*mrs]
        check_sources(mrs, references, own=True)


def test_mrs_with_broken_signs_are_those_of_their_own_table(tmp_path):
    """Training reads them as they are, the scorer with the signs put right."""
    mr = "name : CafÃ© Ł5 | price : Â£20-25"
    (tmp_path / "own.csv").write_text(f"mr,ref\n{mr},text\n", encoding="utf-8")
    check_sources([mr], tmp_path / "own.csv", own=True)
    with pytest.raises(ValueError, match="no references for the MR 'name : X'"):
        check_sources(["name : X"], tmp_path / "own.csv", own=True)


def test_before_training_no_option_of_the_scorer_is_advised(tmp_path):
    (tmp_path / "refs.csv").write_text(REFS)
    with pytest.raises(ValueError, match="the first MR without a hypothesis is 'c.3.'$"):
        check_sources(["a[1], b[2]"], tmp_path / "refs.csv")


def test_plain_hypotheses_take_a_table_by_runs(read):
    groups = [["one", "two"], ["three"], ["four"]]  # as the official script
    assert read(REFS, "A\nC\n\n", hyps_name="h.txt").references == groups
    # where that cannot be meant, by MR
    assert read(REFS, "A\nC\n", hyps_name="h.txt").references == [["one", "two", "four"], ["three"]]


def test_lora_lines(read):
    groups = [["one .", "two .", "four ."], ["three ."]]
    assert read(LORA, "A\nC\n", "test.txt", "h.txt").references == groups
    hyps = "MR\toutput\nc : 3\tC\na : 1 | b : 2\tA\n"
    assert read(LORA, hyps, "test.txt").references == groups[::-1]


def test_plain_references(read):
    data = read("r1\n r2 \n\nr3 ||| x||y\n", "A\n\n", "refs.txt", "h.txt")
    assert data.references == [["r1", "r2"], ["r3 ||| x||y"]]
    assert data.hypotheses == ["A", ""]
    assert read("r1\n\n\nr2\n\n\n", "A\nB\n", "refs.txt", "h.txt").references == [["r1"], ["r2"]]
    # no blank line: one reference a segment
    assert read("r1\nr2\n", "A\nB\n", "refs.txt", "h.txt").references == [["r1"], ["r2"]]


def test_format_can_be_forced(read):
    assert read("a||b\nc||d\n", "A\nB\n", "r.txt", "h.txt", "text").references[0] == ["a||b"]
    with pytest.raises(ValueError, match="unknown reference format 'x'; known: auto, table"):
        read("a\n", "A\n", kind="x")


def test_reasonable_input_that_the_official_script_refuses(read):
    data = read(REFS, "c[3]\tC\na[1], b[2]\tA\n")
    assert data.hypotheses == ["C", "A"] and "no header" in data.notes[0]
    data = read(REFS, "MR\toutput\nc[3]\t\na[1], b[2]\tA\n")
    assert data.hypotheses == ["", "A"] and "line 2: an empty text" in data.notes[0]
    data = read(REFS, 'MR\toutput\nc[3]\tC\n"""a[1], b[2]"""\tA\n')
    assert data.references[1] == ["one", "two", "four"] and "without regard" in data.notes[0]


def test_an_output_of_spaces_is_an_empty_one(read):
    for empty in ("", "  ", "\t", '""'):
        data = read(REFS, f"MR\toutput\nc[3]\t{empty}\na[1], b[2]\tA\n")
        assert data.hypotheses == ["", "A"], repr(empty)
    data = read(REFS, "output\tMR\n \tc[3]\nA\ta[1], b[2]\n")
    assert (data.sources, data.hypotheses) == (["c[3]", "a[1], b[2]"], ["", "A"])
    assert "line 2: an empty text" in data.notes[0]


@pytest.mark.parametrize("end", ["\n", "\r\n", " \n\n ", "\u2028", "\x0c"])
def test_a_line_break_inside_a_field_glues_words_and_is_noted(read, end):
    """As in the official script, which joins its stripped lines; an MR has a space there."""
    refs = f'mr,ref\n"a[1], b[2]","a nice{end}place"\n"c[3],{end}d[4]",C\n'
    data = read(refs, f'MR,output\n"a[1], b[2]","A{end}B"\n"c[3], d[4]",C\n', hyps_name="h.csv")
    assert (data.hypotheses, data.references) == (["AB", "C"], [["a niceplace"], ["C"]])
    assert [name in note for name, note in zip(("refs.csv", "h.csv"), data.notes, strict=True)]
    assert "line 2: the words around a line break inside a text are glued" in data.notes[1]


def test_other_line_breaks_end_no_line(read):
    data = read("a||A\u2028B\nb||C\n", "x\x0bX\ny\n", "test.txt", "h.txt")
    assert (data.hypotheses, data.references) == (["x X", "y"], [["A B"], ["C"]])
    assert len(data.notes) == 1 and "h.txt: U+2028 and the like end a line for" in data.notes[0]
    assert read("A\u2028B\nC\n", "x\ny\n", "r.txt", "h.txt").references == [["A B"], ["C"]]


def test_one_hypothesis_for_each_reference_is_noted(read):
    hyps = 'MR\toutput\na[1], b[2]\tA\n"a[1], b[2]"\tB\nc[3]\tC\n'
    data = read(REFS, hyps)
    assert [len(group) for group in data.references] == [3, 3, 1]
    assert "has 3 hypotheses for 2 MRs; an MR counts as often as it comes" in data.notes[0]


def test_references_that_are_all_the_same_are_noted(read):
    """CIDEr is 0 then: a single MR, or one that comes twice."""
    for hyps in ("c[3]\tC\n", "c[3]\tC\nc[3]\tC\n"):
        data = read("mr,ref\nc[3],three\n", "MR\toutput\n" + hyps)
        assert "all hypotheses have the same references, so CIDEr" in data.notes[-1]


def test_of_several_columns_the_plain_one_counts(read):
    refs = "orig_mr,mr,ref_2,ref\nx,c[3],no,three\n"
    assert read(refs, "MR\toutput\nc[3]\tC\n").references == [["three"]]


def test_a_file_that_cannot_be_read_stops_no_other(tmp_path):
    (tmp_path / "refs.csv").write_text(REFS)
    for name, text in (("a", GOOD), ("b", "MR\toutput\nx\ty\tz\n"), ("c", GOOD)):
        (tmp_path / f"{name}.tsv").write_text(text)
    paths = [tmp_path / f"{name}.tsv" for name in "abcd"]
    failures = {}
    loaded = load(tmp_path / "refs.csv", paths, failures=failures)
    assert [data.hypotheses for data in loaded] == [["A", "C"]] * 2
    assert list(failures) == [paths[1], paths[3]]
    assert "b.tsv, line 2: 3 columns" in str(failures[paths[1]])
    with pytest.raises(ValueError, match="b.tsv, line 2: 3 columns"):
        load(tmp_path / "refs.csv", paths)


def test_partial(read):
    """The official script scores such a file without a word; here it must be asked for."""
    hyps = "MR\toutput\nc[3]\tC\n"
    data = read(REFS, hyps, partial=True)
    assert (data.hypotheses, data.references) == (["C"], [["three"]])
    assert "1 of 2 MRs are scored" in data.notes[0]
    with pytest.raises(ValueError, match="no references for the MR 'd'"):
        read(REFS, hyps + "d\tD\n", partial=True)


def test_several_files_share_the_references(tmp_path):
    (tmp_path / "refs.csv").write_text(REFS)
    (tmp_path / "a.tsv").write_text("c[3]\tC\na[1], b[2]\tA\n")
    (tmp_path / "b.txt").write_text("A\nC\n")
    first, second = load(tmp_path / "refs.csv", [tmp_path / "a.tsv", tmp_path / "b.txt"])
    assert first.references == [["three"], ["one", "two", "four"]] == second.references[::-1]
    assert len(first.notes) == 1 and second.notes == []


def test_very_long_field(read):
    long = "word " * 40_000
    assert read(REFS, f"MR\toutput\nc[3]\t{long}x\na[1], b[2]\tA\n").hypotheses[0] == long + "x"


GOOD = "MR\toutput\na[1], b[2]\tA\nc[3]\tC\n"


@pytest.mark.parametrize(
    ("refs", "hyps", "names", "text"),
    [
        (REFS, "A\n", ("r.csv", "h.txt"), r"h.txt has 1 hypotheses, but .*r.csv .* 2 segments"),
        (REFS, "A\nB\nC\nD\n", ("r.csv", "h.txt"), r"has 4 hypotheses, but .* for 2 segments"),
        ("x\n\ny\n", GOOD + "d\tD\n", ("r.txt", "h.tsv"), r"3 hypotheses, but .* 2 segments"),
        (
            REFS,
            "MR\toutput\nc[3]\tC\n",
            ("r.csv", "h.tsv"),
            r"1 hypotheses for 1 MRs, but .* for 2 MRs; the first .* is 'a\[1\], b\[2\]'",
        ),
        (REFS, GOOD + "d[4]\tD\n", ("r.csv", "h.tsv"), r"r.csv has no references for .* 'd\[4\]'"),
        (LORA + "c : 3 | four\n", GOOD, ("test.txt", "h.tsv"), r"test.txt, line 5: no '\|\|'"),
        (REFS, b"MR\toutput\nc[3]\tok\nc[3]\t\xa35\n", ("r.csv", "h.tsv"), r"h.tsv, line 3: byte"),
        (REFS.encode("utf-16"), GOOD, ("r.csv", "h.tsv"), r"r.csv, line 1: byte 0 \(0xff\) is not"),
        (REFS, GOOD + "c[3]\tC\tmore\n", ("r.csv", "h.tsv"), r"line 4: 3 columns, .* has 2"),
        (REFS, "MR\tguess\nc[3]\tC\n", ("r.csv", "h.tsv"), r"the header \['MR', 'guess'\] must"),
        (REFS, "MR\tout\tref\nc\td\te\n", ("r.csv", "h.tsv"), r"must name one column of MRs"),
        ("c[3]\n", "MR\toutput\nc[3]\tC\n", ("r.txt", "h.tsv"), r"r.txt holds the MRs of .*h.tsv"),
        (REFS, "MR\toutput\n", ("r.csv", "h.tsv"), r"h.tsv holds no hypotheses"),
        (REFS, "", ("r.csv", "h.txt"), r"h.txt holds no hypotheses"),
        (REFS, "", ("r.csv", "h.tsv"), r"h.tsv is empty"),
        ("\n \n", "A\n", ("r.txt", "h.txt"), r"r.txt holds no references: it is empty"),
    ],
)
def test_errors(read, refs, hyps, names, text):
    with pytest.raises(ValueError, match=text) as error:
        read(refs, hyps, *names)
    assert "\n" not in str(error.value)


def test_missing_file(tmp_path):
    (tmp_path / "refs.csv").write_text(REFS)
    for pair in (("refs.csv", "none.tsv"), ("none.tsv", "refs.csv")):
        with pytest.raises(FileNotFoundError, match=re.escape("none.tsv does not exist")):
            load(tmp_path / pair[0], [tmp_path / pair[1]])
    with pytest.raises(FileNotFoundError, match="has no XML files"):  # a folder is WebNLG's
        load(tmp_path, [tmp_path / "refs.csv"])


@pytest.mark.parametrize("partial", [False, True])
def test_a_stray_quote_is_told_with_the_rows_that_it_took(read, partial):
    refs = "mr,ref\nname[A],a\nname[B],b\n"
    hyps = 'MR\toutput\nname[A]\t"The Mill is nice .\nname[B]\tThe Eagle is big .\n'
    if partial:
        assert "line break inside a text" in " ".join(read(refs, hyps, partial=True).notes)
        return
    with pytest.raises(ValueError, match="look for a stray double quote: .*hyps.tsv, line 2: the"):
        read(refs, hyps)


def test_mrs_that_differ_in_spaces_alone_are_not_mixed_up(read):
    """Two MRs that are alike without regard to spaces: neither's references are the other's."""
    refs = "mr,ref\na  b,one\na b,two\n"
    with pytest.raises(ValueError, match=r"has no references for the MR 'a   b'"):
        read(refs, "MR\toutput\na   b\tA\n", partial=True)
    data = read("mr,ref\na  b,one\n", "MR\toutput\na b\tA\n")
    assert data.references == [["one"]]
    assert "MRs were matched without regard to quotes and repeated spaces" in data.notes


def test_three_bars_in_plain_text_are_no_separator_of_loras(read):
    data = read("one ||| two\nthree ||| four\n", "A\nB\n", "refs.txt", "hyps.txt")
    assert data.references == [["one ||| two"], ["three ||| four"]]


@pytest.mark.parametrize("key", ["output", "reference"])
def test_the_only_text_of_an_object_is_taken_whatever_it_is_called(read, key):
    """References under "output", outputs under "reference": each gives way only to a better one."""
    refs = "".join(json.dumps({"mr": mr, "output": "one"}) + "\n" for mr in "ab")
    hyps = "".join(json.dumps({"mr": mr, key: "A"}) + "\n" for mr in "ab")
    data = read(refs, hyps, "refs.jsonl", "hyps.jsonl")
    assert data.references == [["one"], ["one"]] and data.hypotheses == ["A", "A"]


def test_blank_lines_do_not_count_among_loras_lines(tmp_path):
    (tmp_path / "refs.txt").write_text("name : A||x y\n\n\n\nname : B||z\n")
    rows = read_references(tmp_path / "refs.txt", "auto", [])
    assert rows.sources == ["name : A", "name : B"] and rows.texts == ["x y", "z"]


@pytest.mark.parametrize("head", ["mr,reference,prediction", "mr,ref,generated", "mr,refs,hyps"])
def test_outputs_that_stand_beside_their_references_are_the_outputs(read, head):
    """As of JSON Lines with such keys."""
    rows = f"{head}\na,right text,said this\n"
    assert read("mr,ref\na,right text\n", rows, "refs.csv", "hyps.csv").hypotheses == ["said this"]


def test_two_orders_of_mrs_do_not_fit_one_list_of_references(tmp_path):
    """Line by line one of them would be scored against the other MR's."""
    (tmp_path / "refs.txt").write_text("one\n\ntwo\n")
    paths = [tmp_path / "a.tsv", tmp_path / "b.tsv"]
    for path, order in zip(paths, ("AB", "BA"), strict=True):
        path.write_text("MR\toutput\n" + "".join(f"{mr}\ttext {mr}\n" for mr in order))
    assert [data.sources for data in load(tmp_path / "refs.txt", paths[:1])] == [["A", "B"]]
    with pytest.raises(ValueError, match="have their MRs in different orders, and .*refs.txt has"):
        load(tmp_path / "refs.txt", paths)
