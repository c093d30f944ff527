"""Pictures: loss curves, the path of every connection's lambda, BLEU against parameters."""

import os
import textwrap
from dataclasses import dataclass
from pathlib import Path

os.environ["MPLBACKEND"] = "Agg"  # before the import, which refuses a notebook's where it is not

import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
from matplotlib.ticker import EngFormatter  # noqa: E402

from ..metrics import METRICS  # noqa: E402
from ..records import read_log  # noqa: E402
from .labels import place  # noqa: E402
from .lines import Line  # noqa: E402
from .params import as_number  # noqa: E402
from .runs import Run  # noqa: E402

MARK = "* stand-in backbone, partial run or other settings: not a reproduction"
PAPER_LAMBDA = (0.0, 0.1)  # where the paper says that lambda ends (section C.4)
KINDS = {"full": ("full fine-tuning", "C7"), "lora": ("LoRA", "C1")}
KINDS |= {"dense": ("Solo, dense", "C0"), "sparse": ("Solo, sparse", "C2")}
SOURCES = {"paper": ("the paper", "C7"), "ours": ("ours", "C0")}  # of a method's point
SOURCES |= {"other": ("* no reproduction", "C1")}
BLEU = METRICS["BLEU"]
AXIS = f"{BLEU.title} x {BLEU.scale}"
plt.rcParams["svg.hashsalt"] = "solo"  # the same picture is the same file
plt.rcParams["svg.fonttype"] = "none"  # text stays text


@dataclass(frozen=True)
class Curve:
    """A run to draw. row: rows of one table have their own colours; label: with * if marked."""

    row: str
    label: str
    run: Run


def save(figure, path: Path) -> None:
    """Write PNG or SVG by the path's suffix, without the date, so that a rerun gives the same."""
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, dpi=120, metadata=metadata)


def loss_curves(curves: list[Curve], title: str):
    """Two panels, training and validation loss, a line per run; None if nothing was trained.

    A row has one colour; the development code's variant is dashed.
    """
    logs = [(curve, read_log(curve.run.directory)) for curve in curves]
    logs = [(curve, log) for curve, log in logs if any("loss" in entry for entry in log)]
    if not logs:
        return None
    rows = list(dict.fromkeys(curve.row for curve, _ in logs))
    colours = plt.get_cmap("tab20" if len(rows) > 10 else "tab10")
    if len(rows) > 20:
        colours = plt.get_cmap("turbo", len(rows))
    height = max(4.4, 1 + 0.2 * len(logs))  # the legend's
    figure, panels = plt.subplots(1, 2, figsize=(13, height), sharex=True, layout="constrained")
    for curve, log in logs:
        style = "--" if curve.run.variant == "devcode" else "-"
        colour = colours(rows.index(curve.row))
        for axes, name, marker in zip(panels, ("loss", "valid_loss"), ("", "o"), strict=True):
            points = _thinned([(entry["step"], entry[name]) for entry in log if name in entry])
            if points:
                axes.plot(*zip(*points, strict=True), style + marker, color=colour, markersize=4)
    handles = [panels[0].lines[i] for i in range(len(logs))]
    labels = [curve.label for curve, _ in logs]
    for axes, kind in zip(
        panels, ("training (label smoothing included)", "validation"), strict=True
    ):
        axes.set(title=kind, xlabel="step", ylabel="loss, nats per target token")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
    figure.legend(handles, labels, loc="outside right center", fontsize="small")
    figure.suptitle(_title(title, labels), fontsize="medium")
    return figure


def _thinned(points: list[tuple[float, float]], most: int = 100) -> list[tuple[float, float]]:
    """At most about `most` points: means over as many neighbours as that takes."""
    size = -(-len(points) // most)
    parts = [points[i : i + size] for i in range(0, len(points), size or 1)]
    return [tuple(sum(values) / len(part) for values in zip(*part, strict=True)) for part in parts]


def lambda_curves(curves: list[Curve], title: str):
    """A panel per run with a line per connection; None if no run has lambdas."""
    logs = [(curve, [e for e in read_log(curve.run.directory) if "loss" in e]) for curve in curves]
    logs = [(c, log) for c, log in logs if log and any(k.startswith("lambda/") for k in log[0])]
    if not logs:
        return None
    names = {name for _, log in logs for name in log[0] if name.startswith("lambda/")}
    blocks = sorted(int(name.removeprefix("lambda/")) for name in names)
    columns = min(4, len(logs))
    n_rows = -(-len(logs) // columns)
    figure, grid = plt.subplots(
        n_rows, columns, figsize=(2 + 3.2 * columns, 1 + 2.4 * n_rows), layout="constrained",
        squeeze=False, sharex=True,
    )  # fmt: skip
    for axes in grid.flat[len(logs) :]:
        axes.set_visible(False)
    handles = {}
    for axes, (curve, log) in zip(grid.flat, logs, strict=False):
        axes.axhspan(*PAPER_LAMBDA, color="0.9", zorder=0)
        for i, block in enumerate(blocks):
            if f"lambda/{block}" in log[0]:
                colour = plt.get_cmap("viridis")(0.9 * i / max(1, len(blocks) - 1))
                values = [entry[f"lambda/{block}"] for entry in log]
                steps = [entry["step"] for entry in log]
                [handles[block]] = axes.plot(steps, values, color=colour, linewidth=1.2)
        axes.set_title(curve.label, fontsize="small")
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        axes.grid(alpha=0.3)
    figure.supxlabel("step", fontsize="medium")
    figure.supylabel("lambda", fontsize="medium")
    labels = [f"from block {block}" for block in handles]
    figure.legend(handles.values(), labels, loc="outside right center", fontsize="small")
    title += "\ngrey: where the paper says that lambda ends, 0 to 0.1"
    title = _title(title, [curve.label for curve, _ in logs])
    width = int(9 * figure.get_figwidth())  # characters; one panel is narrower than the title
    title = "\n".join(textwrap.fill(line, width) for line in title.splitlines())
    figure.suptitle(title, fontsize="medium")
    return figure


def bleu_against_parameters(lines: list[Line], settings: dict[str, dict], title: str):
    """The paper's points (hollow) and ours (filled; square: devcode) over a logarithmic axis.

    Runs that count as no reproduction are not drawn. settings: of each row, as a Table has them.
    """
    figure, axes = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
    ours, seen = False, set()
    for line in lines:
        if "BLEU" not in line.scores or line.source not in ("paper", "ours"):
            continue
        adapter = settings[line.row["row"]]["adapter"]
        sparse = "sparse" if adapter.get("sparsity") else "dense"
        name, colour = KINDS[sparse if adapter["name"] == "solo" else adapter["name"]]
        score, reported = line.scores["BLEU"], line.source == "paper"
        x = float(as_number(line.trainable)[0]) if reported else line.trainable
        marker = "s" if line.variant == "devcode" else "o"
        source = ", ".join(filter(None, [line.source, line.variant if marker == "s" else None]))
        spread = None if score.spread is None else score.spread * BLEU.scale
        label = None if (name, source) in seen else f"{name}: {source}"
        seen.add((name, source))
        axes.errorbar(
            x, score.value * BLEU.scale, yerr=spread, fmt=marker, color=colour, label=label,
            markerfacecolor="none" if reported else colour, capsize=3,
        )  # fmt: skip
        if adapter.get("rank") and reported:
            offset = {"xytext": (5, 4), "textcoords": "offset points"}
            axes.annotate(
                f"r={adapter['rank']}", (x, score.value * BLEU.scale), fontsize=8, **offset
            )
        ours = ours or not reported
    axes.set(xscale="log", xlabel="trainable parameters (paper: as printed)", ylabel=AXIS)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.1)
    axes.grid(alpha=0.3, which="both")
    figure.legend(loc="outside right upper", fontsize="small")
    state = "hollow: paper; filled: ours" if ours else "the paper's points; no run of ours yet"
    figure.suptitle(f"{title}\n{state}", fontsize="medium")
    return figure


def bleu_of_methods(lines: list[Line], title: str, plain: bool):
    """A labelled point per method over a logarithmic axis.

    Filled: ours; hollow: the paper's; with *: what is no reproduction. What trains nothing has no
    place there: the legend has its BLEU, and it is a line across if that is in sight. plain: lines
    of a table of stand-ins alone, without those marks. None where nothing is to draw.
    """
    drawn = [line for line in lines if "BLEU" in line.scores and line.source in SOURCES]
    drawn = _first_seeds([line for line in drawn if line.source == "other" or not plain])
    named = list(zip(drawn, _method_labels(drawn, plain), strict=True))
    points = [(line, label) for line, label in named if line.trainable != 0]
    if not points:
        return None
    figure, axes = plt.subplots(figsize=(12, 7.5), layout="constrained")
    for line, _ in points:
        score, (source, colour) = line.scores["BLEU"], SOURCES[line.source]
        axes.errorbar(
            _parameters(line), score.value * BLEU.scale, color=colour, fmt="o", capsize=2,
            elinewidth=0.7, yerr=None if score.spread is None else score.spread * BLEU.scale,
            markerfacecolor="none" if line.source == "paper" else colour,
            label=None if plain else source,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="trainable parameters", ylabel=AXIS)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.margins(x=0.12, y=0.12)
    axes.grid(alpha=0.3)
    axes.set_ylim(axes.get_ylim())  # final
    for line, label in named:
        if line.trainable == 0:
            level = line.scores["BLEU"].value * BLEU.scale
            axes.axhline(level, color="0.5", linestyle="--", label=f"{label}: {level:.2f}")
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    if unique:
        legend = {"loc": "outside lower center", "ncols": len(unique), "fontsize": "small"}
        figure.legend(unique.values(), unique.keys(), **legend)
    labels = [label for _, label in points]
    figure.suptitle(_title(title, labels), fontsize="medium")
    where = [(_parameters(line), line.scores["BLEU"].value * BLEU.scale) for line, _ in points]
    place(axes, where, labels)
    return figure


def _parameters(line: Line) -> float:
    reported = line.source == "paper"
    return float(as_number(line.trainable)[0]) if reported else line.trainable


def _first_seeds(lines: list[Line]) -> list[Line]:
    """Of the runs apart that differ in their seed alone, the one with the lowest."""
    first = {}
    for line in sorted(lines, key=lambda line: line.seeds):
        apart = line.runs[0].group if line.source == "other" else id(line)
        first.setdefault((line.row["row"], apart), line)
    return [line for line in lines if line in first.values()]


def _method_labels(lines: list[Line], plain: bool) -> list[str]:
    """What each line is; with its learning rate where its row has several."""
    rates, labels = {}, []
    for line in lines:
        rates.setdefault(line.row["row"], set()).add(line.lr)
    for line in lines:
        label = line.row["label"] + (", devcode" if line.variant == "devcode" else "")
        if line.source == "paper":
            label += ", paper"
        elif len(rates[line.row["row"]] - {None}) > 1:
            label += f", lr {line.lr:g}"
        labels.append(label + (" *" if line.source == "other" and not plain else ""))
    return labels


def _title(title: str, labels: list[str]) -> str:
    return f"{title}\n{MARK}" if any(label.endswith("*") for label in labels) else title
