"""Labels beside the points of a picture, where they cover neither each other nor a point."""

import math
from collections.abc import Iterator, Sequence

from matplotlib.text import Text
from matplotlib.transforms import Bbox

GAPS = (3, 8, 14, 22, 32, 44, 58, 74, 92, 112)  # from a point to its label's edge, nearest first
ANGLES = (0, 180, 90, 270, *range(15, 360, 15))  # degrees; beside, above, below, then all around
POINT = 4  # half the side of the square that a point takes
LINE_FROM = 8  # a label this far from its point has a line to it
# All in points, 1/72 inch.


def place(axes, points: Sequence[tuple[float, float]], texts: Sequence[str], size: int = 8) -> list:
    """Write text k near point k (data coordinates), where there is room; returns the annotations.

    Scales and limits of the axes must be final. Crowded points choose first. Where no place is
    free, the one that covers least is taken.
    """
    figure = axes.figure
    figure.draw_without_rendering()  # finds the layout
    renderer, unit = figure.canvas.get_renderer(), figure.dpi / 72
    places = axes.transData.transform(points)
    taken = [Bbox([[x, y], [x, y]]).padded(POINT * unit) for x, y in places]
    inside = axes.get_window_extent(renderer).padded(-2 * unit)
    labels = [
        axes.annotate(
            text, point, (0, 0), textcoords="offset points", fontsize=size, ha="center",
            va="center", arrowprops={"arrowstyle": "-", "color": "0.6", "linewidth": 0.6},
            bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.3},
        )
        for point, text in zip(points, texts, strict=True)
    ]  # fmt: skip
    for k in sorted(range(len(places)), key=lambda k: _nearest(places, k)):
        labels[k].set_in_layout(False)
        extent = Text.get_window_extent(labels[k], renderer)
        width, height = extent.width + unit, extent.height + unit
        least = math.inf
        for gap, x, y in _shifts(width, height, unit):
            left, low = places[k] + (x, y) - (width / 2, height / 2)
            box = Bbox.from_bounds(left, low, width, height)
            covered = sum(_overlap(box, other) for other in taken)
            covered += width * height - _overlap(box, inside)
            if covered < least - 1e-6:
                least, chosen = covered, (gap, x, y, box)
            if least < 1e-6:
                break
        gap, x, y, box = chosen
        labels[k].set_position((x / unit, y / unit))
        labels[k].arrow_patch.set_visible(gap >= LINE_FROM)
        taken.append(box)
    return labels


def _nearest(places, k: int) -> float:
    """The squared distance to the point's third nearest neighbour, itself counted."""
    return sorted(((places - places[k]) ** 2).sum(axis=1))[min(2, len(places) - 1)]


def _shifts(width: float, height: float, unit: float) -> Iterator[tuple[float, float, float]]:
    """(gap in points, x, y in pixels) from a point to the middle of its label."""
    for gap in GAPS:
        for angle in ANGLES:
            cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
            away = (POINT + gap) * unit
            yield gap, (away + width / 2) * cos, (away + height / 2) * sin


def _overlap(a: Bbox, b: Bbox) -> float:
    common = Bbox.intersection(a, b)
    return 0.0 if common is None else common.width * common.height
