"""A drawn figure as SVG: for papers, and for pages with their colours."""

import io
import re
from dataclasses import dataclass

from markupsafe import Markup, escape

from ..tables import style
from ..tables.style import plt

THEMED = {  # colours that the page sets by light and dark, by their CSS variables
    style.INK: "ink", style.FAINT: "faint", style.BAND: "band", style.BLUE: "blue",
    style.VERMILION: "vermilion", style.GREEN: "green", style.ORANGE: "orange",
    style.SKY: "sky", style.PURPLE: "purple", "#ffffff": "paper",
}  # fmt: skip
HEADS = re.compile(r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<!--.*?-->", re.DOTALL)
TAGS = re.compile(r"<[^>]+>")
LONG = re.compile(r"(\d+\.\d)(\d)\d+")  # a number with more than two decimals
GAPS, ID = re.compile(r">\s+<"), re.compile(r' id="([^"]+)"')
IDS = re.compile(r'(\bid="|url\(#|href="#)')


@dataclass(frozen=True)
class Picture:
    """name: of its files; alt: what there is to see, in words; kind: the words of its badge;
    inline: the SVG for a page; paper: the SVG for papers."""

    name: str
    title: str
    alt: str
    kind: str
    inline: Markup
    paper: bytes


def make(figure, name: str, title: str, alt: str, kind: str) -> Picture:
    """A drawn figure, which is closed."""
    file = io.BytesIO()
    figure.savefig(file, format="svg", metadata={"Date": None})
    plt.close(figure)
    svg = file.getvalue().decode()
    inline = _inline(_shorter(svg, r"\1"), name, alt)
    return Picture(name, title, alt, kind, inline, _shorter(svg, r"\1\2").encode())


def _shorter(svg: str, number: str) -> str:
    """SVG with fewer decimals in its coordinates; its texts stay."""
    return TAGS.sub(lambda tag: LONG.sub(number, tag[0]), svg)


def _inline(svg: str, name: str, alt: str) -> Markup:
    """SVG for a page: ids of its own, colours by CSS, a text instead of it."""
    svg = GAPS.sub("><", HEADS.sub("", svg)).strip()
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = ID.sub(lambda match: match[0] if match[1] in used else "", svg)
    svg = IDS.sub(lambda match: f"{match[1]}{name}-", svg)
    for colour, variable in THEMED.items():
        svg = re.sub(re.escape(colour), f"var(--{variable})", svg, flags=re.IGNORECASE)
    box = re.search(r'viewBox="[^"]+"', svg)[0]
    begin = svg.index(">", svg.index("<svg")) + 1
    width = float(box.split()[2])
    opening = '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" '
    opening += (
        f'{box} role="img" aria-label="{escape(alt)}" style="max-width:{width * 1.35:.0f}px">'
    )
    return Markup(opening + svg[begin:])
