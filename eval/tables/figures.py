"""Pictures: loss curves, the path of every connection's lambda, BLEU against parameters."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from ..metrics import METRICS
from ..records import read_log
from . import style
from .labels import place
from .lines import Line
from .params import as_number
from .runs import Run
from .style import plt

T = TypeVar("T")
MARK = "* stand-in backbone, partial run or other settings: not a reproduction"
PAPER_LAMBDA = (0.0, 0.1)  # where the paper says that lambda ends (section C.4)
# Of a point: what it is, its colour and marker.
KINDS = {"full": ("full fine-tuning", style.OWN["full"], "^")}
KINDS |= {"lora": ("LoRA", style.OWN["lora"], "s")}
KINDS |= {
    "dense": ("Solo, dense", style.OWN["solo"], "o"),
    "sparse": ("Solo, sparse", style.GREEN, "D"),
}
SOURCES = {"paper": ("the paper", style.FAINT), "ours": ("ours", style.INK)}  # of a method's point
SOURCES |= {"other": ("* no reproduction", style.VERMILION)}
BLEU = METRICS["BLEU"]
AXIS = f"{BLEU.title} x {BLEU.scale}"


@dataclass(frozen=True)
class Curve:
    """A run to draw. row: rows of one table have their own colours; label: with * if marked."""

    row: str
    label: str
    run: Run


def loss_curves(curves: list[Curve], title: str):
    """Training loss, a line per run, and validation loss; None if nothing was trained.

    A row has one colour; the development code's variant is dashed, seeds have other markers. Where
    runs were validated at their end alone, these losses are bars.
    """
    drawn = trained(curves)
    if not drawn:
        return None
    often = any(len(validated) > 1 for *_, validated in drawn)
    height = 3.6 + 0.22 * -(-len(drawn) // 3) + (0 if often else 0.12 * len(drawn))
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, height), layout="constrained")
    handles = training_panel(left, drawn)
    validation_panel(right, drawn)
    if often:
        right.sharex(left)
    labels = [curve.label for curve, *_ in drawn]
    style.legend(figure, handles, labels)
    style.title(figure, titled(title, labels))
    return figure


def trained(curves: list[Curve]) -> list[tuple]:
    """(curve, look, points of training, points of validation) of each run that was trained."""
    logs = [(curve, read_log(curve.run.directory)) for curve in curves]
    logs = [(curve, log) for curve, log in logs if any("loss" in entry for entry in log)]
    looks = _looks([curve for curve, _ in logs])
    return [
        (curve, look, _points(log, "loss"), _points(log, "valid_loss"))
        for (curve, log), look in zip(logs, looks, strict=True)
    ]


def training_panel(axes, drawn: list[tuple]) -> list:
    """Training losses; the lines, for a legend."""
    axes.set(title="training (label smoothing included)", xlabel="step")
    axes.set_ylabel("loss, nats per target token")
    style.short_numbers(axes.xaxis)
    return [_line(axes, look, points) for _, look, points, _ in drawn]


def validation_panel(axes, drawn: list[tuple]) -> list:
    """Validation losses as lines; as bars where runs were validated at their end alone."""
    if all(len(validated) < 2 for *_, validated in drawn):
        _bars(axes, [(c.label, look, v[-1][1]) for c, look, _, v in drawn if v])
        axes.set(title="validation, at the end", xlabel="loss, nats per target token")
        return []
    axes.set(title="validation", xlabel="step", ylabel="loss, nats per target token")
    style.short_numbers(axes.xaxis)
    return [_line(axes, look, validated, 1) for _, look, _, validated in drawn]


def _points(log: list[dict], name: str) -> list[tuple[float, float]]:
    return _thinned([(entry["step"], entry[name]) for entry in log if name in entry])


def _looks(curves: list[Curve]) -> list[style.Look]:
    """A look for each run: a row's colour, the variant's dashes, the seed's marker."""
    methods = {curve.row: curve.run.options["adapter"]["name"] for curve in curves}
    of_row = dict(zip(methods, style.looks([*methods.values()]), strict=True))
    seeds = {row: sorted({c.run.seed for c in curves if c.row == row}) for row in methods}
    found = []
    for curve in curves:
        look, place = of_row[curve.row], seeds[curve.row].index(curve.run.seed)
        first = style.MARKERS.index(look.marker)
        look = look._replace(marker=style.MARKERS[(first + place) % len(style.MARKERS)])
        found.append(look._replace(dash="--") if curve.run.variant == "devcode" else look)
    return found


def _line(axes, look: style.Look, points: list[tuple[float, float]], every: int = 0):
    """A run's line, with some markers on it."""
    every = every or max(1, len(points) // 8)
    [line] = axes.plot(
        *zip(*points, strict=True) if points else ([], []), linestyle=look.dash, color=look.colour,
        marker=look.marker, markevery=every, markersize=4,
    )  # fmt: skip
    return line


def _bars(axes, bars: list[tuple[str, style.Look, float]]) -> None:
    """A bar for each run, with its label and its loss, the first one above."""
    heights = range(len(bars), 0, -1)
    axes.barh(heights, [v for *_, v in bars], 0.5, color=[look.colour for _, look, _ in bars])
    axes.set_yticks(heights, [label for label, *_ in bars], fontsize="small")
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.14)
    for height, (_, _, value) in zip(heights, bars, strict=True):
        axes.annotate(
            f"{value:.3f}", (value, height), (3, 0), textcoords="offset points", va="center",
            fontsize="small",
        )  # fmt: skip


def _thinned(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A hundred points at most: means over as many neighbours as that takes."""
    size = -(-len(points) // 100)
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
    columns = min(3, len(logs))
    n_rows = -(-len(logs) // columns)
    figure, grid = plt.subplots(
        n_rows, columns, figsize=(max(5.5, 3.6 * columns), 1.7 + 2.4 * n_rows),
        layout="constrained", squeeze=False, sharex=True, sharey=True,
    )  # fmt: skip
    for axes in grid.flat[len(logs) :]:
        axes.set_visible(False)
    handles = {}
    for axes, (curve, log) in zip(grid.flat, logs, strict=False):
        axes.axhspan(*PAPER_LAMBDA, color=style.BAND, zorder=0)
        for i, block in enumerate(blocks):
            if f"lambda/{block}" in log[0]:
                colour = style.RAMP(i / max(1, len(blocks) - 1))
                look = style.Look(colour, style.MARKERS[i % len(style.MARKERS)], "-")
                handles[block] = _line(axes, look, _points(log, f"lambda/{block}"))
        axes.set_title(curve.label, fontsize="small")
        style.short_numbers(axes.xaxis)
    for axes in grid[:, 0]:
        axes.set_ylabel("lambda")
    for axes in grid.flat[max(0, len(logs) - columns) : len(logs)]:  # the lowest of each column
        axes.set_xlabel("step")
        axes.tick_params(labelbottom=True)
    style.legend(figure, handles.values(), [f"from block {block}" for block in handles])
    labels = [curve.label for curve, _ in logs]
    style.title(
        figure, titled(f"{title}\ngrey: where the paper says that lambda ends, 0 to 0.1", labels)
    )
    return figure


def bleu_against_parameters(lines: list[Line], settings: dict[str, dict], title: str):
    """The paper's points (hollow) and ours (filled; devcode beside them) over a logarithmic axis.

    Runs that count as no reproduction are not drawn. settings: of each row, as a Table has them.
    """
    figure, axes = plt.subplots(figsize=(9.5, 5.2), layout="constrained")
    ours, seen, ranks = False, set(), {}
    for line in lines:
        if "BLEU" not in line.scores or line.source not in ("paper", "ours"):
            continue
        adapter = settings[line.row["row"]]["adapter"]
        sparse = "sparse" if adapter.get("sparsity") else "dense"
        name, colour, marker = KINDS[sparse if adapter["name"] == "solo" else adapter["name"]]
        score, reported = line.scores["BLEU"], line.source == "paper"
        x = float(as_number(line.trainable)[0]) if reported else line.trainable
        if line.variant == "devcode":
            marker = "P" if sparse == "sparse" else "X"
        source = line.source + (", devcode" if line.variant == "devcode" else "")
        spread = None if score.spread is None else score.spread * BLEU.scale
        label = None if (name, source) in seen else f"{name}: {source}"
        seen.add((name, source))
        axes.errorbar(
            x, score.value * BLEU.scale, yerr=spread, fmt=marker, color=colour, label=label,
            markerfacecolor="none" if reported else colour, capsize=3,
        )  # fmt: skip
        if adapter.get("rank") and reported:
            ranks[x, score.value * BLEU.scale] = f"r={adapter['rank']}"
        ours = ours or not reported
    axes.set(xscale="log", xlabel="trainable parameters (paper: as printed)", ylabel=AXIS)
    style.short_numbers(axes.xaxis)
    axes.margins(x=0.1)
    style.legend(figure, *axes.get_legend_handles_labels())
    state = "hollow: paper; filled: ours" if ours else "the paper's points; no run of ours yet"
    style.title(figure, f"{title}\n{state}")
    place(axes, [*ranks], [*ranks.values()])
    return figure


def bleu_of_methods(lines: list[Line], title: str, plain: bool):
    """A labelled point per method over a logarithmic axis, Solo's a large star.

    Filled: ours; hollow: the paper's; with *: what is no reproduction. What trains nothing has no
    place there: the legend has its BLEU, and it is a line across if that is in sight. plain: lines
    of a table of stand-ins alone, without those marks. None where nothing is to draw.
    """
    drawn = [line for line in lines if "BLEU" in line.scores and line.source in SOURCES]
    drawn = [line for line in drawn if line.source == "other" or not plain]
    drawn = first_seeds(drawn, lambda line: line.seeds, _apart_as)
    named = list(zip(drawn, _method_labels(drawn, plain), strict=True))
    points = [(line, label) for line, label in named if line.trainable != 0]
    if not points:
        return None
    figure, axes = plt.subplots(figsize=(12, 7.5), layout="constrained")
    for line, _ in points:
        score, (source, colour) = line.scores["BLEU"], SOURCES[line.source]
        marker, size = ("*", 13) if _is_solo(line) else ("o", 5)
        colour = style.OWN["solo"] if _is_solo(line) else colour
        source = f"Solo Connection, {source}" if _is_solo(line) else source
        axes.errorbar(
            _parameters(line), score.value * BLEU.scale, color=colour, fmt=marker, capsize=2,
            elinewidth=0.7, markersize=size,
            yerr=None if score.spread is None else score.spread * BLEU.scale,
            markerfacecolor="none" if line.source == "paper" else colour,
            label=None if plain else source,
        )  # fmt: skip
    axes.set(xscale="log", xlabel="trainable parameters", ylabel=AXIS)
    style.short_numbers(axes.xaxis)
    axes.margins(x=0.12, y=0.12)
    axes.set_ylim(axes.get_ylim())  # final
    for line, label in named:
        if line.trainable == 0:
            level = line.scores["BLEU"].value * BLEU.scale
            axes.axhline(level, color=style.FAINT, linestyle="--", label=f"{label}: {level:.2f}")
    handles, names = axes.get_legend_handles_labels()
    unique = dict(zip(names, handles, strict=True))
    style.legend(figure, unique.values(), unique.keys())
    labels = [label for _, label in points]
    style.title(figure, titled(title, labels))
    where = [(_parameters(line), line.scores["BLEU"].value * BLEU.scale) for line, _ in points]
    for (line, _), text in zip(points, place(axes, where, labels), strict=True):
        if _is_solo(line):
            text.set_color(style.OWN["solo"])
    return figure


def _is_solo(line: Line) -> bool:
    return line.row["row"].partition("/")[2].partition("_")[0] == "solo"


def _parameters(line: Line) -> float:
    reported = line.source == "paper"
    return float(as_number(line.trainable)[0]) if reported else line.trainable


def first_seeds(drawn: list[T], seed_of: Callable[[T], object], alike: Callable) -> list[T]:
    """Of what is drawn of runs that differ in their seed alone, `alike` for them, that of the
    lowest."""
    first: dict[object, T] = {}
    for one in sorted(drawn, key=seed_of):
        first.setdefault(alike(one), one)
    return [one for one in drawn if one is first[alike(one)]]


def _apart_as(line: Line) -> tuple:
    """What a line shares with those of other seeds: runs apart come one by one."""
    return line.row["row"], line.runs[0].group if line.source == "other" else id(line)


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


def titled(title: str, labels: list[str]) -> str:
    """A title that says what * means, where a label has it."""
    return f"{title}\n{MARK}" if any(label.endswith("*") for label in labels) else title
