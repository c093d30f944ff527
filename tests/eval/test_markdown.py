"""Tables in Markdown: what is written is read again."""

import pytest

from eval.markdown import cells, table, with_part


def test_a_table_by_hand():
    assert table(["a", "b"], [["x", "1"], ["y", "2"]], "lr") == [
        "| a | b |",
        "|---|---:|",
        "| x | 1 |",
        "| y | 2 |",
    ]


def test_a_bar_in_a_cell_stays_in_it():
    """As in a text that a model wrote; two backslashes before a bar are a matter of Markdown."""
    for row in (["", "a|b", " |c| "], ["|", "x", "||"], ["-", "", "é"]):
        [*_, line] = table(["1", "2", "3"], [row])
        assert cells(line) == [cell.strip() for cell in row]


def test_what_a_command_writes_stands_between_its_marks():
    """And of two commands each has its own."""
    begin, end = "<!-- make it writes from here -->", "<!-- to here -->"
    other = "<!-- make that writes from here -->\n\nkept\n\n<!-- to here -->\n"
    page = f"{other}# Title\n\n{begin}\nold\n{end}\nand after {end}\n"
    made = with_part(page, "make it", "\nnew\n")
    assert made == f"{other}# Title\n\n{begin}\n\nnew\n\n{end}\nand after {end}\n"
    assert with_part(made, "make it", "new") == made
    for lost in ("# Title\n", begin, f"{end} {begin}"):
        with pytest.raises(ValueError, match="has lost a mark; it needs '<!-- make it"):
            with_part(lost, "make it", "new")
