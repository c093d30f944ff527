"""Tables from run directories alone: what was reported beside what our runs gave.

A run counts as a reproduction only with the hub's GPT-2 weights, trained to the end of the recipe
and decoded on the whole test set. Every other run is listed apart, with the reason; a row without
a run shows a dash.
"""

import csv
import io
import json
from dataclasses import dataclass
from pathlib import Path

import yaml

METRICS = ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")
PERCENT = ("BLEU", "METEOR", "ROUGE_L")
REPORTED = Path(__file__).parent / "paper.yaml"
E2E_TEST_MRS = 630
MISSING = "–"


@dataclass(frozen=True)
class Run:
    """A finished run: the rows it fills, its scores (official scale), and what marks it.

    marks: why it is no reproduction, empty if it is one.
    """

    directory: Path
    rows: list[str]
    n_params: int
    seed: int
    scores: dict[str, float]
    marks: list[str]


def load_reported() -> dict:
    """The reported figures of eval/paper.yaml."""
    return yaml.safe_load(REPORTED.read_text(encoding="utf-8"))


def read_runs(runs_dir: Path) -> tuple[list[Run], list[str]]:
    """(finished runs, one line for each directory that is broken), in order of their names.

    A directory whose run has not been evaluated yet is neither.
    """
    runs, broken = [], []
    reported = load_reported()
    for directory in sorted(path for path in Path(runs_dir).glob("*") if path.is_dir()):
        try:
            environment = _read(directory / "environment.json", default={})
            if "evaluate" in environment:
                runs.append(_run(directory, environment, reported))
        except (OSError, ValueError, KeyError, TypeError) as error:
            broken.append(f"{directory}: left out, {type(error).__name__}: {error}")
    return runs, broken


def _run(directory: Path, environment: dict, reported: dict) -> Run:
    train, decode = environment["train"], environment["decode"]
    metrics = _read(directory / "metrics.json")
    return Run(
        directory=directory,
        rows=_read(directory / "rows.json", default=[]),
        n_params=train["n_params"],
        seed=_read(directory / "identity.json")["training"]["seed"],
        scores={name: float(metrics[name]) for name in METRICS},
        marks=_marks(train, decode, reported),
    )


def _marks(train: dict, decode: dict, reported: dict) -> list[str]:
    backbone, marks = train["backbone"], []
    known = backbone["path"] in reported["hub"] or backbone["file_sha256"] in reported["weights"]
    if backbone["stand_in"] or not known:
        marks.append(backbone["stand_in"] or f"backbone of unknown origin ({backbone['path']})")
    if train["steps"] < train["planned_steps"]:
        marks.append(f"{train['steps']:,} of {train['planned_steps']:,} training steps")
    if decode["n_predictions"] != E2E_TEST_MRS:
        marks.append(f"{decode['n_predictions']} test MRs, not E2E's {E2E_TEST_MRS}")
    return marks


def _read(path: Path, default=None):
    if default is not None and not path.exists():
        return default
    return json.loads(path.read_text(encoding="utf-8"))


def rows_of(table: dict, runs: list[Run]) -> list[tuple[dict, list[Run]]]:
    """Each row of a table with the runs that fill it."""
    return [(row, [run for run in runs if row["row"] in run.rows]) for row in table["rows"]]


def comparison_markdown(table: dict, runs: list[Run], broken: list[str]) -> str:
    """Paper, independent reproductions and ours, a line per row and metric; the rest below."""
    lines = [f"# {table['title']}", "", "BLEU, METEOR and ROUGE-L x 100.", ""]
    lines += ["| row | params: paper | exact | metric | paper | independent | ours |"]
    lines += ["|---|---|---|---|---|---|---|"]
    others = []
    for row, filling in rows_of(table, runs):
        ours = [run for run in filling if not run.marks]
        others += [(row, run) for run in filling if run.marks]
        exact = f"{ours[0].n_params:,}" if ours else MISSING
        head = [row["label"], row.get("reported", MISSING), exact]
        for i, metric in enumerate(METRICS):
            reported = [_reported(row.get(key, {}).get(metric)) for key in ("paper", "independent")]
            cells = (head if i == 0 else ["", "", ""]) + [metric, *reported, _ours(ours, metric)]
            lines.append("| " + " | ".join(cells) + " |")
    notes = [f"{row['label']}: {row['note']}." for row in table["rows"] if "note" in row]
    lines += ["", *notes]
    if others:
        lines += ["", "## Not a reproduction: stand-in backbones and partial runs", ""]
        lines += [_header(["row", "what it is", "seed", "trainable"])]
        lines += ["|---|---|---|---|" + "---|" * len(METRICS)]
        lines += [_run_line([row["label"], "; ".join(run.marks)], run) for row, run in others]
    return "\n".join([*lines, *_broken(broken)]) + "\n"


def comparison_csv(table: dict, runs: list[Run]) -> str:
    """The same, official scale, a line per row and source; an unknown value is empty."""
    rows = []
    for row, filling in rows_of(table, runs):
        for source in ("paper", "independent"):
            values = [_official(row.get(source, {}).get(metric), metric) for metric in METRICS]
            count = row.get("reported", "") if source == "paper" else ""
            if any(values):
                rows.append([row["row"], source, "", "", count, *values])
        for run in filling:
            source = "other" if run.marks else "ours"
            values = [f"{run.scores[metric]:.4f}" for metric in METRICS]
            rows.append([row["row"], source, "; ".join(run.marks), run.seed, run.n_params, *values])
    return _csv(["row", "source", "marks", "seed", "trainable", *METRICS], rows)


def plain_markdown(table: dict, runs: list[Run], broken: list[str]) -> str:
    """One line per row, for a table that nobody reported (the demo)."""
    lines = [f"# {table['title']}", "", "BLEU, METEOR and ROUGE-L x 100.", ""]
    lines += [_header(["row", "seed", "trainable"]), "|---|---|---|" + "---|" * len(METRICS)]
    for row, filling in rows_of(table, runs):
        lines += [_run_line([row["label"]], run) for run in filling]
        if not filling:
            lines += ["| " + " | ".join([row["label"], *[MISSING] * (2 + len(METRICS))]) + " |"]
    return "\n".join([*lines, *_broken(broken)]) + "\n"


def plain_csv(table: dict, runs: list[Run]) -> str:
    """Columns row, trainable and the five scores on the official scale."""
    rows = [
        [row["label"], run.n_params, *(f"{run.scores[metric]:.4f}" for metric in METRICS)]
        for row, filling in rows_of(table, runs)
        for run in filling
    ]
    return _csv(["row", "trainable", *METRICS], rows)


def _header(first: list[str]) -> str:
    return "| " + " | ".join([*first, *METRICS]) + " |"


def _run_line(first: list[str], run: Run) -> str:
    scores = [_scaled(run.scores[metric], metric) for metric in METRICS]
    return "| " + " | ".join([*first, str(run.seed), f"{run.n_params:,}", *scores]) + " |"


def _reported(value) -> str:
    if value is None:
        return MISSING
    return f"{value[0]} to {value[1]}" if isinstance(value, list) else str(value)


def _official(value, metric: str) -> str:
    """A printed figure on the official scale; of a range, its middle."""
    if value is None:
        return ""
    values = [float(v) for v in (value if isinstance(value, list) else [value])]
    value = sum(values) / len(values)
    return f"{value / 100 if metric in PERCENT else value:.4f}"


def _ours(runs: list[Run], metric: str) -> str:
    return ", ".join(_scaled(run.scores[metric], metric) for run in runs) or MISSING


def _scaled(score: float, metric: str) -> str:
    return f"{score * 100:.2f}" if metric in PERCENT else f"{score:.3f}"


def _broken(broken: list[str]) -> list[str]:
    lines = ["", "## Broken run directories", "", *(f"- {line}" for line in broken)]
    return lines if broken else []


def _csv(header: list[str], rows: list[list]) -> str:
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows([header, *rows])
    return file.getvalue()
