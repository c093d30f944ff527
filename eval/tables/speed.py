"""Pictures of what `make bench` measured: how time and memory grow, and how fast programs are."""

import statistics

from . import style
from .style import BLUE, VERMILION, plt


def growth(found: dict[str, list[dict]], title: str, columns: int | None = None):
    """A panel for each thing varied: seconds per step (left axis) and peak memory (right).

    columns: panels beside each other, None for all.
    """
    columns = columns or len(found)
    n_rows = -(-len(found) // columns)
    figure, grid = plt.subplots(
        n_rows, columns, figsize=(2.6 * columns, 1 + 2.6 * n_rows), layout="constrained",
        squeeze=False,
    )  # fmt: skip
    for axes in grid.flat[len(found) :]:
        axes.set_visible(False)
    handles = {}
    for axes, (varied, points) in zip(grid.flat, found.items(), strict=False):
        lines = _panel(axes, varied, [point for point in points if "error" not in point])
        handles |= zip(
            ("seconds per step (left axis)", "peak memory, GiB (right axis)"), lines, strict=True
        )
    style.legend(figure, handles.values(), handles)
    style.title(figure, title)
    return figure


def _panel(axes, varied: str, points: list[dict]) -> tuple:
    x = [point["value"] for point in points]
    memory = [p["host_gib"] if p["device_gib"] is None else p["device_gib"] for p in points]
    [time] = axes.plot(x, [point["s_per_step"] for point in points], "o-", color=BLUE)
    other = axes.twinx()
    other.spines["right"].set_visible(True)
    other.grid(visible=False)
    [peak] = other.plot(x, memory, "s--", color=VERMILION)
    if all(isinstance(value, int) and value > 0 for value in x):
        axes.set_xscale("log", base=2)
        axes.set_xticks(x, [str(value) for value in x])
    axes.set(xlabel=varied, ylim=(0, 1.1 * max(point["s_per_step"] for point in points)))
    other.set_ylim(0, 1.2 * max(memory))
    axes.tick_params(axis="y", labelcolor=BLUE)
    other.tick_params(axis="y", labelcolor=VERMILION)
    return time, peak


def rates(found: list[dict], title: str):
    """A bar for each program: real tokens per second, the median with the lowest and highest."""
    drawn = sorted(found, key=lambda entry: statistics.median(entry["tokens_per_s"]))
    middles = [statistics.median(entry["tokens_per_s"]) for entry in drawn]
    spread = [
        [m - min(e["tokens_per_s"]) for m, e in zip(middles, drawn, strict=True)],
        [max(e["tokens_per_s"]) - m for m, e in zip(middles, drawn, strict=True)],
    ]
    figure, axes = plt.subplots(figsize=(5.2, 1.4 + 0.3 * len(drawn)), layout="constrained")
    axes.barh(
        range(len(drawn)), middles, 0.6, xerr=spread, capsize=2, ecolor=style.INK,
        color=[BLUE if entry["precision"] == "bf16" else style.SKY for entry in drawn],
    )  # fmt: skip
    labels = [f"{entry['program']}, {entry['precision']}" for entry in drawn]
    axes.set_yticks(range(len(drawn)), labels, fontsize="small")
    axes.grid(visible=False, axis="y")
    axes.set_xlabel("real tokens per second")
    style.title(figure, title)
    return figure
