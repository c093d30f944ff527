"""The words of the demo data: what a restaurant can be, and how one says so.

A domain is a name for its things and a row of slots in fixed order; a slot maps every value to its
forms. A form is `kind: text`, where the kind says where in a sentence the text can stand:

    head  the noun itself                         "a Greek [tea room] near Iron Bridge"
    pre   before the noun, at most two            "a [cheap] Greek tea room"
    kin   right before the noun, at most one      "a cheap [Greek] tea room"
    at    after the noun, at most two             "a tea room [near Iron Bridge]"
    with  after the noun, at most one             "a tea room [with low prices]"
    vp    a predicate                             "It [is near Iron Bridge]."

`{}` is the value itself. The first forms of a slot are used most. `a~` becomes a or an.
"""

from typing import NamedTuple


class Slot(NamedTuple):
    key: str  # as in the CSV's column mr
    values: dict[str, dict[str, list[str]]]  # value -> kind -> texts, the most usual first


class Domain(NamedTuple):
    key: str  # slot of the name
    noun: str  # where no slot gives the head
    verb: str  # "For a cheap pub, [try] The Copper Kettle."
    names: list[str]
    slots: list[Slot]


def slot(key: str, values: list[str] | dict[str, str], forms: str) -> Slot:
    """Forms are `kind: text / text; kind: ...`. `values` may be a dict: value -> its own forms."""
    own = values if isinstance(values, dict) else {value: "" for value in values}
    return Slot(key, {value: _forms(own[value] + ";" + forms, value) for value in own})


def _forms(text: str, value: str) -> dict[str, list[str]]:
    found = {}
    for part in filter(str.strip, text.split(";")):
        kind, phrases = part.split(":", 1)
        texts = [phrase.strip().replace("{}", value) for phrase in phrases.split(" / ")]
        found.setdefault(kind.strip(), []).extend(texts)
    return found


FIRST = (
    "Copper Silver Crimson Amber Hidden Quiet Winter Velvet Stone Maple Willow Cedar Lucky Broken "
    "Marble Scarlet Iron Ivory Misty Hollow"
).split()
THINGS = (
    "Kettle Lantern Garden Harp Feather Compass Anchor Barrel Mirror Orchard Candle Falcon Basket "
    "Ladder Fiddle Thistle"
).split()
FAMILIES = "Marlow Finch Hale Barlow Quill Tandy Voss Penrose Lacey Drummond Novak Ortega".split()
LANDMARKS = [f"{a} {b}" for a in FIRST[::2] for b in "Bridge Tower Station Square Hall".split()]
ROOMS = "Kitchen Table Corner Yard".split()
TONGUES = "Greek Thai Spanish Korean Turkish Polish Indian Swedish".split()
AREAS = "old town,town centre,harbour district,market district,west end,park quarter".split(",")

# `The Copper Kettle` and its like: a third of them.
TITLES = [
    f"The {first} {thing}"
    for i, first in enumerate(FIRST)
    for j, thing in enumerate(THINGS)
    if (i + j) % 3 == 0
]

IN = "at: in the {}; vp: is in the {} / is located in the {} / can be found in the {}"
NEAR = "at: near {} / close to {}; vp: is near {} / is located near {} / is close to {}"
SCORES = [f"{n} out of 5" for n in (1, 2, 3, 4, 5)]
LEVELS = {  # prices in words
    "cheap": "pre: cheap; with: with low prices; vp: is cheap / has low prices",
    "moderate": "pre: fairly priced; with: with fair prices; vp: has fair prices",
    "high": "pre: expensive; with: with high prices; vp: is expensive / has high prices",
}


def opinions(noun: str) -> dict[str, str]:
    return {
        value: f"with: with {value} {noun}; vp: has {value} {noun} / gets {value} {noun}"
        for value in ("poor", "average", "good", "excellent")
    }


RESTAURANT = Domain(
    "name",
    "place",
    "try",
    TITLES + [f"{a} {b}" for a in FAMILIES for b in ROOMS],
    [
        slot("eatType", ["restaurant", "pub", "bistro", "tea room", "diner"], "head: {}"),
        slot(
            "food",
            TONGUES,
            "kin: {}; with: serving {} food / with {} dishes;"
            "vp: serves {} food / offers {} dishes / has a~ {} menu",
        ),
        slot(
            "priceRange",
            LEVELS
            | {
                bound: "with: with prices {}; vp: has prices {} / charges {}"
                for bound in ("under £20", "under £40", "over £20", "over £40")
            },
            "",
        ),
        slot(
            "customer rating",
            opinions("customer ratings")
            | {
                score: "with: with a customer rating of {};"
                "vp: has a customer rating of {} / is rated {} by customers"
                for score in SCORES
            },
            "",
        ),
        slot("area", AREAS, IN),
        slot(
            "familyFriendly",
            {
                "yes": "pre: family-friendly; vp: is family-friendly / welcomes families"
                " / is good for children",
                "no": "vp: is not family-friendly / does not welcome families"
                " / is not good for children",
            },
            "",
        ),
        slot("near", LANDMARKS, NEAR),
    ],
)
