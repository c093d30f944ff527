"""Text and tables as LaTeX prints them; tables need the package booktabs."""

from collections.abc import Iterable, Sequence

SIGNS = str.maketrans(
    {character: rf"\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "−": "$-$", "–": "--", "↓": r"$\downarrow$"}
)


def escaped(text: str) -> str:
    """`text` with every sign that LaTeX would take for a command in the form that prints it."""
    return text.translate(SIGNS)


def tex_row(cells: Iterable[str]) -> str:
    """A line of a table."""
    return " & ".join(map(escaped, cells)) + r" \\"


def tabular(columns: str, head: Sequence[str], body: Iterable[str]) -> str:
    """A table without a caption. columns: as LaTeX has them, "lrr"; body: lines, see `tex_row`."""
    lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", tex_row(head), r"\midrule"]
    return "\n".join([*lines, *body, r"\bottomrule", r"\end{tabular}"])
