"""Tables in Markdown: what is written is read again."""

from eval.markdown import cells, table


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
