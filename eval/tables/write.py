"""Write tables and their pictures from the runs in a directory."""

from pathlib import Path

from solo.files import check_output, write_output

from .. import claims, compare, samples
from . import figures, render, study, style
from .groups import Kind, groups_of, why_incomparable
from .lines import FAMILY, Table, lines_of, plain_rows, rows_of
from .runs import Run, is_stand_in

# Tables in miniature, that nobody reported figures for, and the names of their files.
PLAIN = {"demo": "table1", "demo-e2e": "table1", "demo-family": "family"}
RANKS = ("table2", "table3")  # tables that vary rank and sparsity
# The paper's central claim: in each pair the first is above the second.
CLAIMS = {
    "table1": [("table1/solo_s", "table1/lora_s"), ("table1/solo_m", "table1/lora_m")],
}


def is_study(table: Table) -> bool:
    """Whether it is the table of a study, whose rows are compared with one of them."""
    return "against" in table.definition


def is_plain(table: Table) -> bool:
    """Whether nobody reported figures for it: the demo's, and a study's."""
    return table.name in PLAIN or is_study(table)


def _stem(table: Table) -> str:
    return "table" if is_study(table) else PLAIN.get(table.name, table.name)


def page_of(table: Table, out_dir: Path) -> Path:
    """Where write_table writes a table's Markdown."""
    return Path(out_dir) / f"{_stem(table)}.md"


def write_table(table: Table, out_dir: Path, force: bool = True) -> str:
    """Write NAME.md, NAME.csv and, for a table of the paper, NAME.tex; returns the Markdown.

    The demo's table is Table 1 in miniature and has its name. Raises ValueError for what is no
    file in the place of one of them or, without `force`, a file that this program did not write.
    """
    texts = {}
    if is_plain(table):
        page = study.markdown if is_study(table) else render.plain_markdown
        markdown, csv = page(table) + _samples(table), render.plain_csv(table)
    else:
        lines = lines_of(table)
        markdown, csv = render.markdown(table, lines), render.as_csv(table, lines)
        markdown += "".join(_claims(table, *pair) for pair in CLAIMS.get(table.name, ()))
        texts["tex"] = render.latex(table, lines)
    texts |= {"md": markdown, "csv": csv}
    paths = {suffix: Path(out_dir) / f"{_stem(table)}.{suffix}" for suffix in texts}
    for path in paths.values():
        check_output(path, force=force)
    for suffix, path in paths.items():
        write_output(path, texts[suffix])
    return markdown


def _samples(table: Table) -> str:
    """Some MRs with the reference and the output of each row, where the table asks for them."""
    first = {
        row["label"]: [*runs, *others][0]
        for row, runs, others in plain_rows(table)
        if runs or others
    }
    tests = [run.options["data"]["test"] for run in first.values()]
    filled = [  # of one test file alone
        (label, run.decoding)
        for label, run in first.items()
        if run.options["data"]["test"] == tests[0]
    ]
    if "samples" not in table.definition or not filled:
        return ""
    try:  # tables are written from logs alone, the samples are not
        references = compare.references_of(filled[0][1])
    except ValueError:
        return ""
    if not references.exists():
        return ""
    lines = samples.side_by_side(filled, references, table.definition["samples"])
    return "\n".join(["", "## What they say", "", *lines]).rstrip("\n") + "\n"


def summary(table: Table) -> str:
    """How many lines of a table our runs fill, and how many runs come apart."""
    n_rows = len(table.definition["rows"])
    if is_plain(table):
        rows = [runs for _, runs, _ in plain_rows(table) if runs]
        marks = {mark for runs in rows for run in runs for mark in run.marks}
        words = " with stand-ins" if any(map(is_stand_in, marks)) else ""
        return f"{n_rows} rows, {len(rows)} filled{words}"
    lines = lines_of(table)
    ours = [line for line in lines if line.source == "ours"]
    filled = sum(bool(line.runs) for line in ours)
    others = sum(line.source == "other" for line in lines)
    return f"{n_rows} rows, {filled} of {len(ours)} lines filled, {others} runs apart"


def _claims(table: Table, first: str, second: str) -> str:
    """Paired bootstrap of every two runs of two rows with the same weights, seed and test set."""
    filling = {row["row"]: (row["label"], of_row) for row, of_row in rows_of(table)}
    (a_label, a_runs), (b_label, b_runs) = filling[first], filling[second]
    lines = ["", f"## Is it real? {a_label} against {b_label}", ""]
    pairs = [(a, b) for a in a_runs for b in b_runs if (a.seed, a.weights) == (b.seed, b.weights)]
    if not pairs:
        lines.append(f"{render.MISSING} (no two runs with the same weights and seed yet)")
    for a, b in pairs:
        names = f"{a.name} against {b.name}"
        marks = dict.fromkeys([*a.marks, *b.marks])
        note = f"Not a reproduction ({'; '.join(marks)}): " if marks else ""
        if words := why_incomparable(a, b):
            lines += [f"{note}{names}: {words}", ""]
        else:
            methods = [run.options["adapter"]["name"] for run in (a, b)]
            labels = [
                f"{m} {run.variant or ''}".strip() for m, run in zip(methods, (a, b), strict=True)
            ]
            over = f"seed {a.seed}, paired bootstrap over the test MRs of these two runs alone"
            lines += [f"{note}{names}, {over} (another seed moves it further):", ""]
            lines += [compare.markdown(claims.compare([a.outputs], [b.outputs]), labels), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def write_figures(table: Table, out_dir: Path, force: bool = True) -> list[Path]:
    """Draw a table's pictures as PNG and SVG; returns the paths, none where nothing is to draw.

    NAME_loss: loss curves, of a study's runs those that its claims compare; NAME_lambda: lambda of
    every connection. Of runs that differ in their seed alone the latter, and a study's pictures,
    show those of the lowest seed. NAME_bleu: BLEU against trainable parameters, for the
    tables that vary the rank or the method. Raises ValueError as write_table does.
    """
    title, plain = table.definition["title"], is_plain(table)
    if is_study(table):
        curves = _curves_of_study(table)
        claimed = {kind for _, *kinds in table.definition["claims"] for kind in kinds}
        compared = [curves[kind] for kind in curves if kind in claimed]
        curves = [*curves.values()]
    else:
        compared = [c for row, filling in rows_of(table) for c in _curves(row, filling, plain)]
        curves = figures.first_seeds(
            compared, lambda curve: curve.run.seed, lambda curve: (curve.row, curve.run.group)
        )
    pictures = {
        "loss": figures.loss_curves(compared, title),
        "lambda": figures.lambda_curves(curves, title),
    }
    if table.name in RANKS:
        pictures["bleu"] = figures.bleu_against_parameters(lines_of(table), table.settings, title)
    if table.name in FAMILY:
        pictures["bleu"] = figures.bleu_of_methods(lines_of(table), title, plain)
    paths = []
    for kind, figure in pictures.items():
        if figure is None:
            continue
        for suffix in ("png", "svg"):
            paths.append(out_dir / f"{_stem(table)}_{kind}.{suffix}")
            check_output(paths[-1], force=force)
            write_output(paths[-1], lambda path, figure=figure: style.save(figure, path))
        style.plt.close(figure)
    return paths


def _curves_of_study(table: Table) -> dict[Kind, figures.Curve]:
    """The run of the lowest seed of every group of a study, with a look of its own."""
    curves = {}
    for group in groups_of(table):
        run = min(group.runs, key=lambda run: run.seed)
        curves.setdefault(group.kind, figures.Curve(group.label, group.label, run))
    return curves


def _curves(row: dict, filling: list[Run], plain: bool) -> list[figures.Curve]:
    """The row's runs with labels: what tells them apart, and * for what is no reproduction."""
    seeds = len({run.seed for run in filling}) > 1
    rates = len({run.lr for run in filling}) > 1
    curves = []
    for run in filling:
        label = row["label"] + (", devcode" if run.variant == "devcode" else "")
        label += (f", lr {run.lr:g}" if rates else "") + (f", seed {run.seed}" if seeds else "")
        marked = run.marks and not plain
        curves.append(figures.Curve(row["row"], label + (" *" if marked else ""), run))
    return curves
