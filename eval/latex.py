"""Text as LaTeX prints it."""

SIGNS = str.maketrans(
    {character: rf"\{character}" for character in "_%&#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "−": "$-$", "–": "--", "↓": r"$\downarrow$"}
)


def escaped(text: str) -> str:
    """`text` with every sign that LaTeX would take for a command in the form that prints it."""
    return text.translate(SIGNS)
