"""Made-up names and values, and data-to-text lines that carry them.

A line is `slot : value | slot : value || text`. A value that recurs in its text can be replaced in
both places, so that the text can be foretold by copying alone, never by remembering.
"""

import random
import re
from dataclasses import dataclass

SEPARATOR = " || "
ONSETS = (
    "b bl br c ch cl cr d dr f fl fr g gl gr h j k kl l m n p pl pr qu r s sh sl st t th tr v w z"
)
VOWELS = "a e i o u a e i o u ai ea ee ie oa oo ou é"
CODAS = "n r l s t m d k x nd rt ll ss ck th nt rn"
PATTERNS = (
    "{}",
    "{}",
    "{}",
    "{} {}",
    "{} {}",
    "The {}",
    "The {} {}",
    "{}'s",
    "{} {} {}",
    "{} of {}",
)


@dataclass(frozen=True)
class Line:
    """A data-to-text line. replaced: the made-up values that stand in both parts."""

    data: str
    text: str
    replaced: tuple[str, ...] = ()

    @property
    def names(self) -> list[str]:
        """Those of `replaced` that have no digit: made-up names rather than numbers."""
        return [value for value in self.replaced if not any(c.isdigit() for c in value)]


def parse(line: str) -> Line | None:
    """A line of the corpus, or None for one without the separator or with triples as data."""
    data, separator, text = line.strip().partition(SEPARATOR)
    slots = [piece.split(" : ") for piece in data.split(" | ")]
    if not separator or not text.strip() or any(len(slot) != 2 for slot in slots):
        return None
    return Line(data, text.strip())


def syllables(rng: random.Random) -> str:
    """A word that nobody uses, of one to four syllables."""
    word = ""
    for _ in range(rng.choice((1, 2, 2, 3, 3, 4))):
        word += rng.choice(ONSETS.split()) + rng.choice(VOWELS.split())
        word += rng.choice(CODAS.split()) if rng.random() < 0.4 else ""
    return word


def made_up_name(rng: random.Random, words: list[str]) -> str:
    """A name of made-up words and of `words`, capitalised: "The Copper Vreloma"."""
    pattern = rng.choice(PATTERNS)
    parts = [
        (rng.choice(words) if rng.random() < 0.5 else syllables(rng)).capitalize()
        for _ in range(pattern.count("{}"))
    ]
    return pattern.format(*parts)


def another_value(value: str, rng: random.Random, words: list[str]) -> str:
    """A value of the same kind: digits for digits, else a name in the same case."""
    if any(c.isdigit() for c in value):
        return re.sub(r"\d", lambda _: str(rng.randrange(10)), value)
    name = made_up_name(rng, words)
    return name.lower() if value.islower() else name


def with_made_up_values(line: Line, rng: random.Random, words: list[str], share: float) -> Line:
    """`line` with each value that recurs in its text replaced, in both places, at odds `share`."""
    slots = [piece.split(" : ") for piece in line.data.split(" | ")]
    text, replaced = line.text, []
    for slot in slots:
        value = slot[1]
        if len(value) < 2 or rng.random() >= share or any(value in new for new in replaced):
            continue
        new = another_value(value, rng, words)
        whole = r"(?<!\w)" + re.escape(value) + r"(?!\w)"
        text, count = re.subn(whole, lambda _, new=new: new, text)
        if count:
            slot[1] = new
            replaced.append(new)
    data = " | ".join(" : ".join(slot) for slot in slots)
    return Line(data, text, tuple(replaced))
