"""Slot error rate (Dusek, Howcroft and Rieser 2019): what outputs say beside E2E's MRs.

Added, missing, wrong and repeated slot values over the values of the MRs; 0 is best, and outputs
that invent much can have more than 1. The rules are those of the authors' slot_error.py
(tuetschek/e2e-cleaning, 164acdf), one of them unlike its name: a value that is said twice counts
once, but a low rating is repeated each time that it is said again.

References take no part: the metric needs the MRs and has no score unless all of them are E2E's,
`name[X], eatType[pub]` or as LoRA's files have them, `name : X | Type : pub`.
"""

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from solo.rows import SLOT

from .mentions import PHRASES, mentions
from .metric import Measured, Metric
from .texts import Texts

KINDS = ("added", "missing", "wrong", "repeated")
MR = dict[str, Counter]  # {slot: {value: how often}}
LORA_SLOT = re.compile(r"\s*([^|:]+) : ([^|]*)(?:\||$)")
SLOTS = {slot.lower(): slot for slot in PHRASES}
SLOTS |= {"type": "eatType", "price": "priceRange", "family friendly": "familyFriendly"}
NONE: Counter = Counter()
SPLIT = re.compile(" (?=n't)|(?<=n) (?='t)")  # the space in words tokenised as in LoRA's files
VALUES = {slot: {value.lower(): value for value in values} for slot, values in PHRASES.items()}


def read_mr(text: str) -> MR | None:
    """An MR in either of the two spellings; None for what is none of E2E's."""
    pattern = SLOT if "[" in text else LORA_SLOT
    mr, end = {}, 0
    for match in pattern.finditer(text):
        slot = SLOTS.get(match[1].strip().lower())
        value = re.sub(r"(£|-) +", r"\1", match[2].strip().lower()).replace(" -", "-")
        if match.start() != end or slot is None or value not in VALUES[slot]:
            return None
        mr.setdefault(slot, Counter())[VALUES[slot][value]] += 1
        end = match.end()
    return mr if mr and end == len(text) else None


def said(text: str, mr: MR) -> MR:
    """The values that a text mentions; the MR decides where words may stand for several."""
    values: MR = {}
    for slot, value, *_ in mentions(SPLIT.sub("", text), mr):
        of_slot = values.setdefault(slot, Counter())
        of_slot[value] = of_slot[value] + 1 if (slot, value) == ("customer rating", "low") else 1
    return values


class Mark(NamedTuple):
    """Words of a text, from character start to end, and what they are: right, wrong, added or
    repeated. For what is missing there are no words: start and end are -1."""

    start: int
    end: int
    slot: str
    value: str
    kind: str


def marks(mr: MR, text: str) -> list[Mark]:
    """The mentions in a text, in its order, then what it misses.

    As many are added, missing, wrong and repeated as `errors` counts. Of values beyond those of the
    MR as many are wrong as the slot lacks; a value that is said twice and counts once has one mark
    for each time, of one kind.
    """
    kinds, found = {}, said(text, mr)
    left_out = []
    for slot in sorted(mr.keys() | found.keys()):
        wanted, has = mr.get(slot, NONE), found.get(slot, NONE)
        lacking = [*(wanted - has).elements()]
        beyond = [value for value in (has - wanted).elements() if not wanted[value]]
        kinds |= {(slot, value): "added" for value in beyond[len(lacking) :]}
        kinds |= {(slot, value): "wrong" for value in beyond[: len(lacking)]}
        left_out += [Mark(-1, -1, slot, value, "missing") for value in lacking[len(beyond) :]]
    cuts = [cut.start() for cut in SPLIT.finditer(text)]
    marked, counted = [], Counter()
    for mention in sorted(mentions(SPLIT.sub("", text), mr), key=lambda m: (m.start, m.end)):
        slot, value = mention.slot, mention.value
        counted[slot, value] += 1
        wanted = mr.get(slot, NONE)[value]
        again = 0 < wanted < counted[slot, value] and wanted < found[slot][value]
        kind = kinds.get((slot, value), "repeated" if again else "right")
        start, end = (_before_cuts(cuts, place) for place in (mention.start, mention.end))
        marked.append(Mark(start, end, slot, value, kind))
    return marked + left_out


def _before_cuts(cuts: Sequence[int], place: int) -> int:
    """Where a place of the joined text is in the text as it was."""
    for cut in cuts:
        place += cut < place
    return place


def slots_of(source: str) -> list[list[str]]:
    """Any MR's slots and values as they are written; WebNLG's triples have three parts."""
    if re.fullmatch(r"\s*([^,\[\]]+\[[^\[\]]*\]\s*,?\s*)+", source):
        return [list(pair) for pair in re.findall(r"([^,\[\]]+?)\s*\[([^\[\]]*)\]\s*,?\s*", source)]
    return [part.strip().split(" : ") for part in source.split(" | ")]


def errors(mr: MR, text: str) -> tuple[int, int, int, int]:
    """How many values a text adds, misses, gets wrong, repeats."""
    found = said(text, mr)
    added = missing = wrong = repeated = 0
    for slot in mr.keys() | found.keys():
        wanted, has = mr.get(slot, NONE), found.get(slot, NONE)
        if wanted == has:
            continue
        again = sum((has[value] - wanted[value]) for value in has if 0 < wanted[value] < has[value])
        lacking, beyond = (wanted - has).total(), (has - wanted).total() - again
        both = min(lacking, beyond)
        added, missing = added + beyond - both, missing + lacking - both
        wrong, repeated = wrong + both, repeated + again
    return added, missing, wrong, repeated


def measure(texts: Texts) -> list[Measured | None]:
    known: dict[str, MR | None] = {}
    results = []
    for (hypotheses, _), sources in zip(texts.corpora, texts.sources, strict=True):
        for source in set(sources) - known.keys():
            known[source] = read_mr(source)
        mrs = [known[source] for source in sources]
        results.append(None if None in mrs else _measured(mrs, hypotheses))
    return results


def _measured(mrs: Sequence[MR], hypotheses: Sequence[str]) -> Measured:
    rows = np.zeros((len(mrs), len(METRIC.columns)))
    for row, mr, text in zip(rows, mrs, hypotheses, strict=True):
        found = errors(mr, text)
        row[:] = sum(of_slot.total() for of_slot in mr.values()), *found, not any(found)
    slots, *counts, right = rows.T
    columns = {"SER": (sum(counts) / slots).tolist()}
    columns |= {f"SER_{kind}": column.tolist() for kind, column in zip(KINDS, counts, strict=True)}
    columns["SER_right"] = right.tolist()
    sums = rows.sum(0)
    parts = {f"SER_{kind}": float(n / sums[0]) for kind, n in zip(KINDS, sums[1:], strict=False)}
    parts["SER_right"] = float(sums[-1] / len(rows))
    return Measured(float(_rate(sums[None])[0]), rows, columns, parts)


def _rate(sums: np.ndarray) -> np.ndarray:
    return sums[:, 1:-1].sum(1) / sums[:, 0]


METRIC = Metric(
    name="SER",
    title="SER",
    scale=100,
    digits=2,
    limits=(0, 1e12),  # a text can say a value any number of times
    signature="slot_error.py:164acdf",
    columns=("slots", *KINDS, "right"),
    from_sums=lambda sums, segments: _rate(sums),
    measure=measure,
    lower_is_better=True,
)
