"""The report's pictures, drawn by matplotlib."""

from collections.abc import Iterable
from pathlib import Path

from matplotlib.ticker import EngFormatter

from solo.files import file_name, read_json

from ..metrics.metric import Metric
from ..records import lambdas_of, last_values
from ..tables import figures, speed, style
from ..tables.labels import place
from ..tables.runs import Run
from ..tables.style import plt
from .scores import METHODS, STAND_IN, ReportLine, ReportTable
from .svg import Picture, make

SIZE = (5.2, 4.2)  # inches; at a phone's width a point is about a pixel
FEW = 12  # points that fit into that with their labels
DRAWN = ("paper", "ours", "stand-in")  # other kinds stay out of one picture with the paper's


def of_table(table: ReportTable) -> list[Picture]:
    """Scores and slot errors over trainable parameters, where there are two points."""
    wanted = [m for m in table.metrics if m.name in (table.metrics[0].name, "SER")]
    return [picture for metric in wanted if (picture := _over_parameters(table, metric))]


def _over_parameters(table: ReportTable, metric: Metric) -> Picture | None:
    printed = any(line.kind == "paper" for line in table.lines)
    lines = [
        line
        for line in table.lines
        if metric.name in line.scores and line.trainable[1] and (line.kind in DRAWN or not printed)
    ]
    if len({line.trainable[1] for line in lines}) < 2:
        return None
    named = [line for line in lines if line.kind == "paper" or not printed]
    larger = max(1, len(named) / FEW) ** 0.5
    size = SIZE[0] * larger, SIZE[1] * larger
    figure, axes = plt.subplots(figsize=size, layout="constrained")
    kinds = list(dict.fromkeys((line.method, line.badge) for line in lines))
    names = {shown: name for name, shown in METHODS.items()}
    methods = list(dict.fromkeys(line.method for line in lines))
    looks = dict(zip(methods, style.looks([names.get(m, m) for m in methods]), strict=True))
    for method, badge in kinds:
        points = [line for line in lines if (line.method, line.badge) == (method, badge)]
        look, hollow = looks[method], badge == "paper"
        scores = [line.scores[metric.name] for line in points]
        known = all(score.low is not None for score in scores)
        axes.errorbar(
            [line.trainable[1] for line in points], [score.value for score in scores],
            yerr=[
                [max(0.0, score.value - score.low) for score in scores],  # but for rounding
                [max(0.0, score.high - score.value) for score in scores],
            ] if known else None,
            fmt=look.marker, color=look.colour, markerfacecolor="none" if hollow else look.colour,
            markersize=7, capsize=3,
            label="" if all(line in named for line in points) else f"{method}: {badge}",
        )  # fmt: skip
    front = pareto(
        [(line.trainable[1], line.scores[metric.name].value) for line in lines],
        metric.lower_is_better,
    )
    axes.step(
        *zip(*front, strict=True), where="post", color=style.FAINT, linewidth=1, linestyle="--",
        zorder=0, label="best for so few parameters",
    )  # fmt: skip
    title = f"{metric.title} x {metric.scale}" if metric.scale != 1 else metric.title
    axes.set(xscale="log", xlabel="trainable parameters", ylabel=title)
    style.short_numbers(axes.xaxis)
    counts = [line.trainable[1] for line in lines]
    if max(counts) < 10 * min(counts):  # no power of ten among the ticks
        axes.xaxis.set_minor_formatter(EngFormatter(sep=""))
    axes.margins(x=0.15, y=0.15)
    style.legend(figure, *axes.get_legend_handles_labels())
    kind = badges_of(table, lines)
    better = "lower" if metric.lower_is_better else "higher"
    heading = f"{metric.title} over trainable parameters: {table.title}"
    style.title(figure, f"{heading}\n{kind}; {better} is better")
    where = [(line.trainable[1], line.scores[metric.name].value) for line in named]
    place(axes, where, [line.label for line in named], size=7)
    told = (f"{line.label} ({line.badge}) {line.scores[metric.name].text}" for line in lines)
    name = f"{table.name}-{file_name(metric.name)}"
    return make(figure, name, heading, _alt(heading, told), kind)


def badges_of(table: ReportTable, lines: Iterable[ReportLine] | None = None) -> str:
    """The badges of lines of a table, of all that have runs by default, in words."""
    if table.stand_in:
        return STAND_IN
    lines = (line for line in table.lines if line.runs) if lines is None else lines
    return "; ".join(dict.fromkeys(line.badge for line in lines))


def _alt(heading: str, told: Iterable[str]) -> str:
    return f"{heading}. {'; '.join(told)}."


def pareto(points: Iterable[tuple[float, float]], lower_is_better: bool) -> list[tuple]:
    """The points that no other with as few parameters beats, from few to many."""
    sign, front = (-1 if lower_is_better else 1), []
    for x, y in sorted(points, key=lambda point: (point[0], -sign * point[1])):
        if not front or sign * y > sign * front[-1][1]:
            front.append((x, y))
    return front


def of_learning(table: ReportTable) -> list[Picture]:
    """Training and validation losses of a table's runs, and every run's lambdas."""
    curves = curves_of(table)
    drawn, found = figures.trained(curves), []
    if not drawn:
        return []
    kind = badges_of(table)
    for name, panel in (
        ("training", figures.training_panel),
        ("validation", figures.validation_panel),
    ):
        height = 3.4 + 0.24 * len(drawn)
        figure, axes = plt.subplots(figsize=(SIZE[0], height), layout="constrained")
        handles = panel(axes, drawn)
        style.legend(figure, handles, [curve.label for curve, *_ in drawn] if handles else [])
        heading = f"{name.capitalize()} loss: {table.title}"
        axes.set_title("")
        style.title(figure, f"{heading}\n{kind}; lower is better")
        which = 2 if name == "training" else 3
        told = (f"{d[0].label} ends at {d[which][-1][1]:.3f}" for d in drawn if d[which])
        found.append(make(figure, f"{table.name}-{name}", heading, _alt(heading, told), kind))
    return found + [p for curve in curves if (p := lambdas(curve, table.name, table.title, kind))]


def curves_of(table: ReportTable) -> list[figures.Curve]:
    """A curve for each run behind a table, told apart by seed and rate where rows have several."""
    runs = [(line, run) for line in table.lines for run in line.runs]
    several = {
        line.label for line, _ in runs if sum(other.label == line.label for other, _ in runs) > 1
    }
    curves = []
    for line, run in runs:
        apart = f", seed {run.seed}" if line.label in several else ""
        mark = "" if table.stand_in or line.kind == "ours" else " *"
        variant = ", devcode" if run.variant == "devcode" and "devcode" not in line.label else ""
        curves.append(figures.Curve(line.row, f"{line.label}{variant}{apart}{mark}", run))
    return curves


def lambdas(curve: figures.Curve, name: str, title: str, kind: str) -> Picture | None:
    """The lambdas of one run, with the paper's band; None for a run without."""
    heading = f"Lambda of {curve.label}{f': {title}' if title else ''}"
    figure = figures.lambda_curves([curve], f"{heading}\n{kind}")
    if figure is None:
        return None
    figure.axes[0].set_title("")  # the whole's title says it
    ends = lambdas_of(last_values(curve.run.directory))
    told = [f"{len(ends)} connections end at {', '.join(f'{value:.3f}' for value in ends)}"]
    told.append("the paper's band is 0 to 0.1")
    return make(
        figure, f"{name}-lambda-{file_name(curve.run.name)}", heading, _alt(heading, told), kind
    )


def of_rates(folders: Iterable[Path], tables: Iterable[ReportTable]) -> list[Picture]:
    """Validation loss over the learning rate, of the rates/ folders of studies: a panel for each
    sweep, all with one scale of losses, so that height and width of the best can be compared.

    tables: of those studies, which say what the runs are.
    """
    found, kinds = [], {table.name: badges_of(table) for table in tables if table.lines}
    for folder in folders:
        kind = kinds.get(folder.parent.name, "no whole run yet")
        sweeps = {}
        for path in sorted(folder.glob("*.json")):
            losses = read_json(path, ["valid_losses"])["valid_losses"]
            sweeps[path.stem] = sorted((x, y) for x, y in losses if y is not None)
        sweeps = {name: points for name, points in sweeps.items() if points}
        if not sweeps:
            continue
        heading = f"Validation loss over learning rate: {folder.parent.name}"
        figure = _panels(sweeps, f"{heading}\n{kind}; lower is better; a ring is the best")
        told = (
            f"{name.replace('_', ' ')}: best {min(points, key=lambda p: p[1])[0]:g}"
            for name, points in sweeps.items()
        )
        name = f"{folder.parent.name}-rates"
        found.append(make(figure, name, heading, _alt(heading, told), kind))
    return found


def _panels(sweeps: dict[str, list[tuple[float, float]]], heading: str):
    """A small panel for each sweep, in the order of their lowest losses."""
    best = {name: min(points, key=lambda point: point[1]) for name, points in sweeps.items()}
    names = sorted(sweeps, key=lambda name: best[name][1])
    columns = min(6, len(names))
    rows = -(-len(names) // columns)
    size = (max(SIZE[0], 1.45 * columns), max(SIZE[1], 1.25 * rows + 1.1))
    figure, grid = plt.subplots(
        rows, columns, sharey=True, squeeze=False, figsize=size, layout="constrained"
    )
    lowest, highest = (end(loss for _, loss in best.values()) for end in (min, max))
    room = 0.35 * (highest - lowest) + 0.15
    for axes, name in zip(grid.flat, names, strict=False):
        axes.plot(*zip(*sweeps[name], strict=True), color=style.BLUE, marker=".")
        axes.plot(*best[name], "o", markersize=9, color=style.VERMILION, fillstyle="none")
        axes.set_title(name.replace("_", " "), fontsize="small")
        axes.set(xscale="log", ylim=(lowest - room / 3, highest + room))
        axes.margins(x=0.15)
        axes.tick_params(labelsize="x-small")
        axes.xaxis.set_minor_formatter("")
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    figure.supxlabel("learning rate", fontsize="small")
    figure.supylabel("validation loss, nats per token; above the panel: worse", fontsize="small")
    style.title(figure, heading)
    return figure


def of_speed(results: Path) -> list[Picture]:
    """Speed of programs and growth of time and memory, as `make bench` measured them."""
    found, kind = [], "speed, random weights"
    for path in sorted(Path(results).glob("bench/*.json")):
        content = read_json(path)
        if "train" in content:
            heading = f"Training speed, GPT-2 S, batch 4: {path.stem}"
            drawn = content["train"]["found"]
            told = (f"{entry['program']} in {entry['precision']}" for entry in drawn)
            figure = speed.rates(drawn, f"{heading}\n{kind}; higher is better")
            found.append(make(figure, f"{path.stem}-speed", heading, _alt(heading, told), kind))
        if "growth" in content:
            heading = f"Growth of time and memory with the task: {path.stem}"
            drawn = content["growth"]["found"]["growth"]
            figure = speed.growth(drawn, f"{heading}\n{kind}", columns=2)
            found.append(make(figure, f"{path.stem}-growth", heading, _alt(heading, drawn), kind))
    return found


def of_run(run: Run, label: str, kind: str) -> list[Picture]:
    """The losses of one run, and its lambdas."""
    curve = figures.Curve(run.rows[0] if run.rows else run.name, label, run)
    drawn, found = figures.trained([curve]), []
    if drawn:
        figure, axes = plt.subplots(figsize=SIZE, layout="constrained")
        [(_, _, training, validated)] = drawn
        handles, labels = figures.training_panel(axes, drawn), ["training, smoothed labels"]
        handles += axes.plot(
            *zip(*validated, strict=True) if validated else ([], []), color=style.VERMILION,
            marker="s", linestyle="--",
        )  # fmt: skip
        axes.set_title("")
        style.legend(figure, handles, [*labels, "validation"])
        style.title(figure, f"Loss of {label}\n{kind}")
        told = [f"training ends at {training[-1][1]:.3f}"]
        told += [f"validation at {validated[-1][1]:.3f}"] if validated else []
        found.append(make(figure, "loss", "Loss", _alt(f"Loss of {label}", told), kind))
    picture = lambdas(curve, "run", "", kind)
    return found + ([picture] if picture else [])
