"""Draw docs/connections.svg, how Solo Connection goes around blocks: python docs/connections.py

The connections are those that the code makes for GPT-2 S (12 blocks, span 1); the first blocks are
drawn. The background is white, so that it can be read on a dark page too.
"""

import sys
from pathlib import Path

import matplotlib

matplotlib.use("svg")
import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo.adapters.solo import Config, connections

SHOWN = 8  # blocks
FROZEN, TRAINED, SHARED = "#d9dde3", "#f6b26b", "#9fc5e8"
INK, PATH = "#20242a", "#c2570c"


def box(axes, x: float, y: float, width: float, text: str, color: str, height: float = 0.8):
    """A labelled box whose left end is at x and whose middle is at y."""
    shape = FancyBboxPatch(
        (x, y - height / 2), width, height, "round,pad=0,rounding_size=0.12", fc=color, ec=INK
    )
    axes.add_patch(shape)
    axes.text(x + width / 2, y, text, ha="center", va="center", color=INK, fontsize=9)


def arrow(axes, start: tuple, end: tuple, color: str = INK):
    axes.annotate("", end, start, arrowprops={"arrowstyle": "-|>", "color": color, "lw": 1.4})


def draw_blocks(axes, ends: list[tuple[int, int]]):
    """The row of blocks D1 ... D8; a connection leaves after block j and enters after block k."""
    after = [2 * block + 0.55 for block in range(SHOWN + 1)]  # the place between blocks
    for block in range(1, SHOWN + 1):
        box(axes, after[block - 1] + 0.4, 0, 1.15, f"$D_{block}$", FROZEN)
        arrow(axes, (after[block] - 0.45, 0), (after[block] + 0.42, 0))
    arrow(axes, (after[0] - 0.5, 0), (after[0] + 0.42, 0))
    axes.text(after[SHOWN] + 0.55, 0, "…", color=INK, va="center", fontsize=14)
    for start, end in ends:
        if end > SHOWN:
            continue
        left, right = after[start] - 0.15, after[end] - 0.02
        axes.plot([left, left], [0, 1.25], color=PATH, lw=1.4)
        arrow(axes, (left, 1.25), (left + 0.36, 1.25), PATH)
        box(axes, left + 0.36, 1.25, 1.35, "$f_{solo}$", "white", 0.7)
        axes.plot([left + 1.71, right], [1.25, 1.25], color=PATH, lw=1.4)
        arrow(axes, (right, 1.25), (right, 0.17), PATH)
        axes.text(right, 0, "+", ha="center", va="center", color=PATH, fontsize=13, weight="bold",
                  bbox={"boxstyle": "circle,pad=0.08", "fc": "white", "ec": PATH})  # fmt: skip
        axes.text(left, -0.38, f"$x_{start}$", ha="center", color=INK, fontsize=9)


def draw_inside(axes):
    """The row of what one connection computes."""
    parts = [
        ("dropout", "white"), ("$W_e$   d → r", SHARED), ("+ e", TRAINED),
        ("$W_d$   r → d", SHARED), ("× v", TRAINED), ("× λ", TRAINED),
    ]  # fmt: skip
    axes.text(0.2, 3, "$f_{solo}(x)$ :", color=INK, va="center", fontsize=10)
    left = 2.75
    for text, color in parts:
        width = 2.1 if color != TRAINED else 1.2
        arrow(axes, (left - 0.5, 3), (left + 0.03, 3), PATH)
        box(axes, left, 3, width, text, color, 0.7)
        left += width + 0.5
    arrow(axes, (left - 0.5, 3), (left + 0.03, 3), PATH)


def main() -> None:
    plt.rcParams |= {"svg.hashsalt": "solo", "font.family": "DejaVu Sans"}
    figure, axes = plt.subplots(figsize=(9.6, 3.1), facecolor="white")
    axes.set(xlim=(-0.1, 17.7), ylim=(-1.35, 3.6))
    axes.axis("off")
    draw_inside(axes)
    draw_blocks(axes, connections(12, Config()))
    legend = [("block of GPT-2, frozen", FROZEN), ("of each connection: e, v, λ", TRAINED),
              ("shared by all, sparse: $W_e$, $W_d$", SHARED)]  # fmt: skip
    for left, (text, color) in zip((0.3, 5.3, 11.2), legend, strict=True):
        box(axes, left, -1.0, 0.5, "", color, 0.35)
        axes.text(left + 0.7, -1.0, text, va="center", color=INK, fontsize=9)
    target = Path(__file__).with_suffix(".svg")
    figure.savefig(target, bbox_inches="tight", pad_inches=0.1, metadata={"Date": None})


if __name__ == "__main__":
    main()
