"""The words of the demo data: what a restaurant, a hotel, a film ... can be, and how one says so.

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

from random import Random
from typing import NamedTuple


class Slot(NamedTuple):
    key: str  # as in the CSV's column mr
    values: dict[str, dict[str, list[str]]]  # value -> kind -> texts, the most usual first


class Domain(NamedTuple):
    key: str  # slot of the name
    noun: str  # where no slot gives the head
    verb: str  # "For a cheap hotel, [book] The Finch Inn."
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
PEOPLE = [f"{a} {b}" for a in "Ada Boris Clara Dario Elsa Felix".split() for b in FAMILIES]
ROOMS = "Kitchen Table Corner Yard".split()
TOWNS = "Ashmere Brindle Calder Dunmore Elmstead Farrow Harwick Kelby".split()
TONGUES = "Greek Thai Spanish Korean Turkish Polish Indian Swedish".split()
AREAS = "old town,town centre,harbour district,market district,west end,park quarter".split(",")
HOURS = "2 3 4 5 6 7 9".split()  # no 8: "an 8"


def titles(restaurant: bool) -> list[str]:
    """`The Copper Kettle` and its like: a third of them for restaurants, the rest for titles."""
    return [
        f"The {first} {thing}"
        for i, first in enumerate(FIRST)
        for j, thing in enumerate(THINGS)
        if ((i + j) % 3 == 0) == restaurant
    ]


def song_titles(count: int, seed: int = 0) -> list[str]:
    """Three to five random words: only copying can say them, so a backbone learns to copy early."""
    rng = Random(seed)
    words = [*FIRST, *THINGS, *FAMILIES, *TOWNS, *TONGUES, *ROOMS]
    found = [" ".join(rng.choice(words) for _ in range(rng.randint(3, 5))) for _ in range(count)]
    taken = [f"{a} {b}" for a in FAMILIES for b in ROOMS]  # names of restaurants
    return [title for title in found if not any(name in title for name in taken)]


IN = "at: in the {}; vp: is in the {} / is located in the {} / can be found in the {}"
NEAR = "at: near {} / close to {}; vp: is near {} / is located near {} / is close to {}"
SCORES = [f"{n} out of 5" for n in (1, 2, 3, 4, 5)]
RATED = "with: with a rating of {}; vp: has a customer rating of {} / is rated {} by customers"
FOR_CHILDREN = {
    "yes": "pre: family-friendly; vp: is good for children / is fun for families",
    "no": "vp: is not for children / is not good for families",
}
LEVELS = {  # prices in words, said alike in all domains
    "cheap": "pre: cheap; with: with low prices; vp: is cheap / has low prices",
    "moderate": "pre: fairly priced; with: with fair prices; vp: has fair prices",
    "high": "pre: expensive; with: with high prices; vp: is expensive / has high prices",
}


def opinions(noun: str) -> dict[str, str]:
    return {
        value: f"with: with {value} {noun}; vp: has {value} {noun} / gets {value} {noun}"
        for value in ("poor", "average", "good", "excellent")
    }


def priced(*amounts: int) -> dict[str, str]:
    """Prices as bounds: `under £20`, `over £40`."""
    bounds = [f"{word} £{n}" for n in amounts for word in ("under", "over")]
    forms = "with: with prices {}; vp: costs {} / has prices {}"
    return {bound: forms for bound in bounds}


RESTAURANT = Domain(
    "name",
    "place",
    "try",
    titles(restaurant=True) + [f"{a} {b}" for a in FAMILIES for b in ROOMS],
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

HOTEL = Domain(
    "hotel",
    "hotel",
    "book",
    [f"The {a} {b}" for a in FAMILIES for b in "Inn House Hotel Lodge".split()],
    [
        slot("price", LEVELS | priced(60, 90), ""),
        slot("stars", ["2", "3", "4", "5"], "pre: {} star; with: with {} stars; vp: has {} stars"),
        slot("district", AREAS, IN),
        slot(
            "breakfast",
            TONGUES,
            "with: serving a~ {} breakfast; vp: serves a~ {} breakfast / has a~ {} breakfast menu",
        ),
        slot(
            "pool",
            {
                "yes": "with: with a pool; vp: has a pool / offers a pool",
                "no": "with: without a pool; vp: has no pool / does not have a pool",
            },
            "",
        ),
        slot("next to", LANDMARKS, NEAR),
        slot("inside", ["tea room", "bistro", "pub"], "with: with a {}; vp: has a {}"),
        slot("customers say", opinions("customer ratings"), ""),
    ],
)

FILM = Domain(
    "film",
    "film",
    "watch",
    titles(restaurant=False),
    [
        slot("genre", ["comedy", "drama", "thriller", "western", "musical"], "head: {}"),
        slot("language", TONGUES, "kin: {}; vp: is in {}"),
        slot("director", PEOPLE, "with: by {}; vp: is by {} / was directed by {}"),
        slot("hours", HOURS[:3], "pre: {} hour; vp: is {} hours long / runs for {} hours"),
        slot("score", SCORES, RATED),
        slot("children", FOR_CHILDREN, ""),
    ],
)

BOOK = Domain(
    "book",
    "book",
    "read",
    titles(restaurant=False),
    [
        slot("kind", ["novel", "guide", "history", "diary"], "head: {}"),
        slot("author", PEOPLE, "with: by {}; vp: is by {} / was written by {}"),
        slot("language", TONGUES, "kin: {}; vp: is in {} / was written in {}"),
        slot("costs", LEVELS | priced(20, 40), ""),
        slot("reviews", opinions("reviews"), ""),
        slot(
            "pages",
            ["100", "200", "300", "400"],
            "pre: {} page; vp: has {} pages / is {} pages long",
        ),
        slot("children", FOR_CHILDREN, ""),
    ],
)

SONG = Domain(
    "song",
    "song",
    "hear",
    song_titles(4000),
    [
        slot("language", TONGUES, "kin: {}; vp: is in {}"),
        slot("singer", PEOPLE, "with: by {}; vp: is by {} / is sung by {}"),
        slot("album", song_titles(4000, seed=1), "at: on {}; vp: is on {} / can be found on {}"),
        slot("score", SCORES, RATED),
        slot("children", FOR_CHILDREN, ""),
    ],
)

TRAIN = Domain(
    "train",
    "train",
    "take",
    [f"{a} {b}" for a in FIRST for b in "Arrow Express Line".split()],
    [
        slot("from", TOWNS, "at: from {}; vp: starts in {} / leaves from {}"),
        slot("to", TOWNS, "at: to {}; vp: goes to {} / runs to {}"),
        slot("leaves at", [f"{h} {m}" for h in HOURS for m in ("am", "pm")], "vp: leaves at {}"),
        slot("price", priced(20, 40, 60), ""),
        slot(
            "dining car",
            {
                "yes": "with: with a dining car; vp: has a dining car / offers meals",
                "no": "with: without a dining car; vp: has no dining car / does not offer meals",
            },
            "",
        ),
        slot("score", SCORES, RATED),
    ],
)

MUSEUM = Domain(
    "museum",
    "museum",
    "visit",
    [f"The {a} {b}" for a in FAMILIES for b in "Museum Gallery Collection".split()],
    [
        slot("about", ["art", "science", "history", "film", "dance"], "kin: {}; vp: is about {}"),
        slot("district", AREAS, IN),
        slot("next to", LANDMARKS, NEAR),
        slot("ticket", LEVELS | priced(20, 40), ""),
        slot(
            "cafe",
            TONGUES,
            "with: with a~ {} cafe; vp: has a~ {} cafe / serves {} food",
        ),
        slot("open", ["in summer", "at night", "every day"], "vp: is open {}"),
        slot("score", SCORES, RATED),
        slot("families", FOR_CHILDREN, ""),
    ],
)

GYM = Domain(
    "gym",
    "gym",
    "join",
    [f"{a} {b}" for a in FIRST for b in "Gym Studio Yard Corner".split()],
    [
        slot("district", AREAS, IN),
        slot("next to", LANDMARKS, NEAR),
        slot("fee", LEVELS | priced(20, 40, 60), ""),
        slot("members say", opinions("reviews"), ""),
        slot(
            "classes",
            ["dance", "boxing", "climbing"],
            "with: with {} classes; vp: has {} classes / offers {} classes",
        ),
        slot("children", FOR_CHILDREN, ""),
    ],
)

OTHERS = [HOTEL, FILM, BOOK, TRAIN, MUSEUM, GYM, SONG, SONG, SONG]  # songs three times as often
