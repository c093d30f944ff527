"""A table's lines as Markdown, LaTeX (booktabs) and CSV.

Rendered tables have BLEU, METEOR and ROUGE-L x 100; CSV keeps the official script's scale.
"""

import csv
import io

from eval.tables.lines import PERCENT, Line, Score, rows_of
from eval.tables.runs import METRICS, Run

MISSING = "–"
HEAD = ("row", "source", "trainable", "lr", "seeds")
APART = "Not counted as reproductions: stand-in backbones, partial runs, other settings"
LEGEND = """\
BLEU, METEOR and ROUGE-L x 100. ours: mean ± standard deviation over the seeds (one seed: its score
alone), in parentheses ours minus the paper's. trainable: the paper's count in its line, the exact
one in ours. A dash: no run yet.
"""


def markdown(table: dict, lines: list[Line], left_out: list[str]) -> str:
    """The table, its notes, the runs behind it, the runs that come apart, the directories left
    out."""
    text = [f"# {table['title']}", "", LEGEND, *_note(table), _row([*HEAD, *METRICS])]
    text += ["|---|---|---:|---|---|" + "---:|" * len(METRICS)]
    text += [_row(cells) for cells in _body(lines)]
    noted = [line.row for line in lines if "note" in line.row]
    notes = dict.fromkeys(f"- {row['label']}: {row['note']}." for row in noted)
    text += ["", *notes] if notes else []
    ours = [line for line in lines if line.source == "ours" and line.runs]
    if ours:
        text += ["", "## Runs behind these numbers", ""]
        text += [f"- {_name(line)}: " + "; ".join(map(_run, line.runs)) for line in ours]
    apart = [line for line in lines if line.source == "other"]
    if apart:
        text += ["", f"## {APART}", ""]
        head = ["row", "what it is", "lr", "seed", "trainable", *METRICS, "run"]
        text += [_row(head), "|---" * 5 + "|" + "---:|" * len(METRICS) + "---|"]
        text += [_row(_apart(line)) for line in apart]
    if left_out:
        text += ["", "## Run directories left out", "", *(f"- {line}" for line in left_out)]
    return "\n".join(text) + "\n"


def latex(name: str, title: str, lines: list[Line]) -> str:
    r"""The table without the runs that come apart; needs \usepackage{booktabs}, a UTF-8 source."""
    apart = sum(line.source == "other" for line in lines)
    text = ["% made by scripts/tables.py; needs the package booktabs"]
    if apart:
        text += [f"% {apart} marked runs (stand-in, partial, other settings) are in {name}.md only"]
    text += [r"\begin{table}", r"\centering", rf"\caption{{{_tex(title)}}}"]
    text += [rf"\label{{tab:{name}}}", rf"\begin{{tabular}}{{llrll{'r' * len(METRICS)}}}"]
    text += [r"\toprule", _tex_row([*HEAD, *METRICS]), r"\midrule"]
    body = _body(lines)
    for i, cells in enumerate(body):
        text += [r"\addlinespace"] if i and cells[0] else []
        text += [_tex_row(cells)]
    text += [r"\bottomrule", r"\end{tabular}", r"\end{table}"]
    return "\n".join(text) + "\n"


def as_csv(lines: list[Line]) -> str:
    """A line per row and source, official scale; an unknown value is empty, a range its middle."""
    header = ["row", "label", "source", "variant", "marks", "seeds", "lr", "trainable", *METRICS]
    header += [f"{name}_sd" for name in METRICS] + [f"{name}_minus_paper" for name in METRICS]
    rows = []
    for line in lines:
        scores = [line.scores.get(name) for name in METRICS]
        cells = [line.row["row"], line.row["label"], line.source, line.variant]
        cells += ["; ".join(line.marks), " ".join(map(str, line.seeds)), line.lr, line.trainable]
        for what in ("value", "spread", "difference"):
            cells += [_four(getattr(score, what, None)) for score in scores]
        rows.append([*cells, " ".join(run.directory.name for run in line.runs)])
    return _csv([*header, "runs"], rows)


def plain_markdown(table: dict, runs: list[Run], left_out: list[str]) -> str:
    """One line per run, for a table that nobody reported (the demo)."""
    text = [f"# {table['title']}", "", "BLEU, METEOR and ROUGE-L x 100.", "", *_note(table)]
    text += [_row(["row", "seed", "trainable", "lr", *METRICS])]
    text += ["|---|---|---|---|" + "---|" * len(METRICS)]
    for row, filling in rows_of(table, runs):
        for run in filling:
            scores = [scaled(run.scores[name], name) for name in METRICS]
            label = row["label"] if run.variant in (None, "paper") else f"{row['label']}, devcode"
            head = [label, str(run.seed), f"{run.n_params:,}", f"{run.lr:g}"]
            text += [_row([*head, *scores])]
        if not filling:
            text += [_row([row["label"], *[MISSING] * (3 + len(METRICS))])]
    if left_out:
        text += ["", "## Run directories left out", "", *(f"- {line}" for line in left_out)]
    return "\n".join(text) + "\n"


def plain_csv(table: dict, runs: list[Run]) -> str:
    """Columns row, trainable and the five scores on the official scale."""
    rows = [
        [row["label"], run.n_params, *(f"{run.scores[name]:.4f}" for name in METRICS)]
        for row, filling in rows_of(table, runs)
        for run in filling
    ]
    return _csv(["row", "trainable", *METRICS], rows)


def _note(table: dict) -> list[str]:
    return [f"{table['note']}.", ""] if "note" in table else []


def _body(lines: list[Line]) -> list[list[str]]:
    """The cells of the lines that count; a row's label stands in its first line only."""
    body, before = [], None
    for line in lines:
        if line.source == "other":
            continue
        label = "" if line.row is before else line.row["label"]
        before = line.row
        source = f"{line.source}, variant={line.variant}" if line.variant else line.source
        reported = line.source in ("paper", "independent")
        trainable = f"{line.trainable:,}" if isinstance(line.trainable, int) else line.trainable
        lr, seeds = f"{line.lr:g}" if line.lr else MISSING, ", ".join(map(str, line.seeds))
        middle = ["", ""] if reported else [lr, seeds or MISSING]
        scores = [_cell(line.scores.get(name), name) for name in METRICS]
        empty = "" if line.source == "independent" else MISSING
        body.append([label, source, trainable or empty, *middle, *scores])
    return body


def _apart(line: Line) -> list[str]:
    [run] = line.runs
    head = [_name(line), "; ".join(line.marks), f"{run.lr:g}", str(run.seed), f"{run.n_params:,}"]
    return [*head, *(_cell(line.scores[name], name) for name in METRICS), run.directory.name]


def _name(line: Line) -> str:
    return line.row["label"] + (f", variant={line.variant}" if line.variant else "")


def _run(run: Run) -> str:
    return f"{run.directory.name} (seed {run.seed})"


def _cell(score: Score | None, metric: str) -> str:
    if score is None:
        return MISSING
    text = score.printed or scaled(score.value, metric)
    if score.spread is not None:
        text += f" ± {scaled(score.spread, metric)}"
    if score.difference is not None:
        text += f" ({scaled(score.difference, metric, '+')})"
    return text


def scaled(score: float, metric: str, sign: str = "") -> str:
    """A score as tables show it: BLEU, METEOR and ROUGE-L x 100."""
    value, digits = (score * 100, 2) if metric in PERCENT else (score, 3)
    value = round(value, digits) + 0.0  # no minus before a zero
    return f"{value:{sign}.{digits}f}".replace("-", "−")


def _four(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _tex_row(cells: list[str]) -> str:
    return " & ".join(map(_tex, cells)) + r" \\"


def _tex(text: str) -> str:
    for plain, escaped in (("_", r"\_"), ("%", r"\%"), ("&", r"\&"), ("#", r"\#")):
        text = text.replace(plain, escaped)
    for plain, escaped in (("±", r"$\pm$"), ("−", "$-$"), ("–", "--")):
        text = text.replace(plain, escaped)
    return text


def _csv(header: list[str], rows: list[list]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()
