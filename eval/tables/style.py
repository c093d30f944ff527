"""How all pictures look, PNGs and the report page's: colours, markers, titles, legends, files.

The colours are those of Okabe and Ito (2008, "Color Universal Design"), which colour-blind readers
tell apart; every series has a marker of its own too, so that no picture needs its colours.
"""

import os
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

os.environ["MPLBACKEND"] = "Agg"  # before the import, which refuses a notebook's where it is not

import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)
from matplotlib.colors import LinearSegmentedColormap  # noqa: E402
from matplotlib.ticker import EngFormatter  # noqa: E402

INK, FAINT, BAND = "#1b1f24", "#8a8f98", "#e4e6ea"  # text and axes; what stands back; a region
BLUE, VERMILION, GREEN, ORANGE, SKY, PURPLE = (
    "#0072b2", "#d55e00", "#009e73", "#e69f00", "#56b4e9", "#cc79a7",
)  # fmt: skip
CYCLE = (BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, INK)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "p", "h")
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1.2, 1, 1.2)))
# Of a method, in every picture.
OWN = {"none": FAINT, "full": INK, "lora": VERMILION, "solo": BLUE}
OWN_MARKERS = {"none": "X", "full": "^", "lora": "s", "solo": "o"}
# For what has an order, such as a connection's place; to be seen on white and on black.
RAMP = LinearSegmentedColormap.from_list("ramp", [BLUE, PURPLE, ORANGE])
SETTINGS = {
    "svg.hashsalt": "solo",  # the same picture is the same file
    "svg.fonttype": "none",  # text stays text
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial"],
    "text.color": INK, "axes.edgecolor": FAINT, "axes.labelcolor": INK, "axes.titlecolor": INK,
    "xtick.color": INK, "ytick.color": INK, "grid.color": FAINT, "grid.alpha": 0.3,
    "axes.grid": True, "axes.axisbelow": True, "axes.spines.top": False,
    "axes.spines.right": False, "legend.frameon": False, "legend.fontsize": "small",
    "axes.titlesize": "medium", "axes.facecolor": "none",
    "lines.linewidth": 1.6, "lines.markersize": 5,
}  # fmt: skip
plt.rcParams.update(SETTINGS)


class Look(NamedTuple):
    """A series' colour, marker and line."""

    colour: str
    marker: str
    dash: object


def looks(methods: Sequence[str]) -> list[Look]:
    """A look for each series, no two alike. methods: of each; the first of each of the four of OWN
    has its own colour and marker, whatever the picture."""
    own = {method: methods.index(method) for method in OWN if method in methods}
    left = [colour for colour in CYCLE if colour not in [OWN[method] for method in own]]
    markers = [m for m in MARKERS if m not in [OWN_MARKERS[method] for method in own]]
    found, number = [], 0
    for i, method in enumerate(methods):
        if own.get(method) == i:
            found.append(Look(OWN[method], OWN_MARKERS[method], "-"))
        else:
            turn, place = divmod(number, len(left))
            marker = markers[(number + turn) % len(markers)]
            found.append(Look(left[place], marker, DASHES[turn % len(DASHES)]))
            number += 1
    return found


def short_numbers(axis) -> None:
    """Ticks such as 10k and 0.3M."""
    axis.set_major_formatter(EngFormatter(sep=""))


def title(figure, text: str) -> None:
    """A title, wrapped to the picture's width."""
    most, lines = int(11.5 * figure.get_figwidth()), []  # characters of this size
    for line in text.splitlines():
        parts = -(-len(line) // most)
        lines += textwrap.wrap(line, min(most, len(line) // parts + 10))  # of about one length
    figure.suptitle("\n".join(lines), fontsize="medium")


def legend(figure, handles: Iterable, labels: Iterable[str]) -> None:
    """The one kind of legend: below the panels, where it covers neither lines nor title."""
    handles, labels = list(handles), list(labels)
    if labels:
        width = 0.55 + 0.075 * max(map(len, labels))  # inches an entry takes
        n_rows = -(-len(labels) // max(1, int(figure.get_figwidth() / width)))
        columns = -(-len(labels) // n_rows)
        figure.legend(handles, labels, loc="outside lower center", ncols=columns)


def save(figure, path: Path) -> None:
    """Write PNG or SVG by the path's suffix, without the date, so that a rerun gives the same."""
    metadata = {"Date": None} if path.suffix == ".svg" else {}
    figure.savefig(path, dpi=120, metadata=metadata)
