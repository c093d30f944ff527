"""Looks of series: no two alike, each with a marker, colours apart for the colour-blind."""

import itertools

import pytest
from matplotlib.colors import to_rgb
from matplotlib.text import Text

from eval.tables import labels, style

# Viénot, Brettel and Mollon (1999): what a dichromat sees of linear RGB.
SEEN = {
    "protanopia": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deuteranopia": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


@pytest.mark.parametrize("n", [1, 7, 31])
def test_no_two_series_look_alike(n):
    found = style.looks(["none", "full", "lora", "solo"][:n] + ["solo"] * max(0, n - 4))
    assert len(found) == n and len({(look.colour, look.marker, look.dash) for look in found}) == n


def test_a_method_has_its_colour_in_every_picture():
    assert style.looks(["lora", "solo"])[0].colour == style.looks(["full", "lora"])[1].colour
    assert style.looks(["solo", "solo"])[1].colour != style.OWN["solo"]


@pytest.mark.parametrize("matrix", SEEN.values(), ids=SEEN)
def test_the_papers_methods_stay_apart_for_colour_blind_readers(matrix):
    """No pair that lies together for them: at least 15 % of the cube's side apart."""
    seen = []
    for colour in style.OWN.values():
        linear = [value**2.2 for value in to_rgb(colour)]
        mixed = [sum(w * v for w, v in zip(row, linear, strict=True)) for row in matrix]
        seen.append([max(0.0, value) ** (1 / 2.2) for value in mixed])
    for one, other in itertools.combinations(seen, 2):
        assert sum((a - b) ** 2 for a, b in zip(one, other, strict=True)) ** 0.5 > 0.15


def test_labels_cover_neither_one_another_nor_the_frame():
    figure, axes = style.plt.subplots()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    corners = [(x, y) for x in (0.01, 0.99) for y in (0.01, 0.99)]
    placed = labels.place(axes, [(0.5, 0.5), (0.5, 0.51), *corners], ["one label"] * 6)
    figure.draw_without_rendering()  # offsets become places
    renderer = figure.canvas.get_renderer()
    one, other, *others = (Text.get_window_extent(label, renderer) for label in placed)
    assert not one.overlaps(other)
    frame = axes.get_window_extent(renderer)
    assert all(frame.contains(*end) for box in others for end in (box.p0, box.p1))
    style.plt.close(figure)
