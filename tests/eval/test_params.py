"""The audit's arithmetic: which counts a printed figure fits, and what the notes say."""

import pytest

from eval.tables.params import Counts, audit_csv, audit_markdown, fits, note


@pytest.mark.parametrize(
    ("printed", "count", "expected"),
    [
        ("0.12M", 122_444, "rounded"),
        ("0.12M", 115_000, "rounded"),
        ("0.12M", 114_999, None),
        ("0.12M", 125_000, "cut off"),
        ("0.12M", 130_000, None),
        ("1.06M", 1_065_472, "cut off"),
        ("354.92M", 354_823_168, None),
        ("78k", 78_644, "cut off"),
        ("78k", 80_436, None),
        ("9k", 8_960, "rounded"),
    ],
)
def test_a_printed_count_stands_for_what_rounds_or_is_cut_to_it(printed, count, expected):
    assert fits(printed, count) == expected


@pytest.mark.parametrize("printed", ["", "0.12", "12m", "M", "-1k"])
def test_other_forms_are_refused(printed):
    with pytest.raises(ValueError, match="is no printed count; known are forms like 0.12M and 78k"):
        fits(printed, 1)


def test_notes():
    def row(reported, exact, **more):
        return Counts("t", "t/a", reported, exact, exact + 5, **more)

    assert note(row("0.2M", 201_088)) == "fits the formula"
    readings = {"60% masked": 191_332, "60% kept": 478_999}
    assert note(row("0.47M", 191_332, readings=readings)) == "fits 60% kept, cut off"
    assert note(row("0.19M", 191_332, readings=readings)) == "fits 60% masked"
    assert note(row("0.3M", 191_332, readings=readings, comment="so it is")) == (
        "fits neither: 60% masked gives 191,332, 60% kept gives 478,999; so it is"
    )
    assert note(row("0.14M", 102_464, elsewhere={"GPT-2 M's count": 143_040, "b": 9})) == (
        "does not fit: the formula gives 102,464; fits GPT-2 M's count (143,040)"
    )


def test_files(tmp_path):
    rows = [
        Counts("table9", "table9/a", "0.2M", 201_088, 201_093, 201_989),
        Counts("table9", "table9/b", "0.35M", 393_216, 393_216, comment="quoted, it says"),
    ]
    (tmp_path / "params.csv").write_text(audit_csv(rows))
    assert (tmp_path / "params.csv").read_text() == (
        "table,row,reported,exact,with_lambdas,devcode,note\n"
        "table9,table9/a,0.2M,201088,201093,201989,fits the formula\n"
        'table9,table9/b,0.35M,393216,393216,,"does not fit: the formula gives 393,216; quoted, '
        'it says"\n'
    )
    markdown = audit_markdown(rows)
    assert (
        "| table9 | table9/a | 0.2M | 201,088 | 201,093 | 201,989 | fits the formula |" in markdown
    )
    assert "1 of 2 printed counts fit" in markdown
