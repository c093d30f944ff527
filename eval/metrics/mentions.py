"""Which slot values of an E2E meaning representation (MR) a text mentions, found by phrases.

What counts as a mention is as in the script of Dusek, Howcroft and Rieser (2019, "Semantic Noise
Matters for Neural Natural Language Generation"; slot_error.py of tuetschek/e2e-cleaning, 164acdf),
because the field's figures are made by it: "under £20" is one, "below £20" is none. The phrases are
written anew, in a notation of their own, and held against the script's verdicts on E2E's texts;
docs/scores.md says how often they agree.
"""

import re
from collections.abc import Collection, Mapping
from typing import NamedTuple

# How a phrase is written: in small letters; a group of words by its name; {one|of these}; (what may
# be left out); <2 for up to two words of any kind; ^ where no "very" stands before. A space is one
# space, a hyphen one or more spaces and hyphens.
GROUPS = {
    "KID": "kid|kids|child|children|family",
    "KIDS": "kids|children|family|families",
    "GUEST": "kid|kids|child|children|family|families",
    "FRIENDLY": "friendly|oriented|orientated",
    "WELCOMED": "welcome|allowed|accepted",
    "PRICED": "price|prices|priced",
    "RATING": "rating|ratings|rate|rated|rates|review|reviews|standard|standards|quality",
    "RATED": "rating|ratings|rated|review|reviews|standard|standards|quality",
}
SIGNS = {"{": "(?:", "}": ")", "(": "(?:", ")": ")?", "-": "[ -]+", "^": "(?<!very )"}
SIGNS |= {name: f"(?:{words})" for name, words in GROUPS.items()}
SIGNS |= {f"<{n}{end}": rf"(?:\w+{SIGNS.get(end, end)}){{0,{n}}}" for n in (2, 3) for end in " -"}
NOTATION = re.compile("|".join(map(re.escape, sorted(SIGNS, key=len, reverse=True))))

NAMES = """Alimentum|Aromi|Bibimbap House|Blue Spice|Browns Cambridge|Clowns|Cocum|Cotto|Fitzbillies
Giraffe|Green Man|Loch Fyne|Midsummer House|Strada|Taste of Cambridge|The Cambridge Blue
The Cricketers|The Dumpling Tree|The Eagle|The Golden Curry|The Golden Palace|The Mill
The Olive Grove|The Phoenix|The Plough|The Punter|The Rice Boat|The Twenty Two|The Vaults
The Waterman|The Wrestlers|Travellers Rest Beefeater|Wildwood|Zizzi"""
PLACES = """All Bar One|Avalon|Burger King|Café Adriatic|Café Brazil|Café Rouge|Café Sicilia
Clare Hall|Crowne Plaza Hotel|Express by Holiday Inn|Rainbow Vegetarian Café|Raja Indian Cuisine
Ranch|The Bakers|The Portland Arms|The Rice Boat|The Six Bells|The Sorrento|Yippee Noodle Bar"""


def _verbatim(values: str) -> dict[str, list[str]]:
    return {value: [value.lower()] for value in re.split("[|\n]", values)}


def _prices(before: str, after: str) -> list[str]:
    """What is said of a price before the noun (high-priced) or after it (prices are high)."""
    return [f"{before}-PRICED", f"{{price|prices}}( range) <3 {after}"]


def _ratings(number: str, before: str, after: str, longer: bool = False) -> list[str]:
    """A number of stars, and what is said of a rating after the noun (rated low) or before it.

    before: several, with commas between. longer: the number that follows is of the same mention (a
    low rating of only 1 star).
    """
    score, stars = f"{number}( out) of {{5|five}}", f"{number}-{{star|stars}}"
    later = (f"( <3 {{{score}|{stars}}})", f"( <3 {{{score}( {{star|stars}})|{stars}}})")
    in_after, in_before = later if longer else ("", "")
    phrases = [f"{score}( {{star|stars}})", stars, f"RATING <2 (as ){after}{in_after}"]
    return phrases + [f"{words}(ly)-<2-RATED{in_before}" for words in before.split(", ")]


LOW_PRICE = ["{cheap|inexpensive}(ly)", "{affordable|affordably}", *_prices("low", "low")]
HIGH_PRICE = ["expensive", *_prices("high", "high")]
_MIDDLE = "moderate|average|reasonable|ok"
MIDDLE_PRICE = ["affordable", *_prices(f"{{{_MIDDLE}|moderately|averagely}}", f"{{{_MIDDLE}}}")]
ONE, THREE, FIVE = "{1|one}", "{3|three}", "{5|five}"
BAD = "{low|bad|poor}, {not|doesn't|isn't} <2 {well|good}", "{low|bad|poor}"
FAIR = "average, ^{good|well}", "average"
GREAT = "{high|excellent|very good|great}", "high"

# {slot: {value: phrases}}; of two values with the same words the first one counts, unless the MR
# has the other.
PHRASES = {
    "area": {
        "city centre": [
            "{city|town} {centre|center}",
            "{centre|center} of (the ){city|town}",
            "in the {centre|center}",
        ],
        "riverside": ["riverside", "{near|by|at|close to|along|on|off|beside} the river"],
    },
    "eatType": {
        "coffee shop": ["coffee-shop", "coffee", "café", "cafe"],
        "pub": ["pub"],
        "restaurant": ["restaurant"],
    },
    "familyFriendly": {
        "no": [
            "{isn't|not|non|no}-<2 KID-FRIENDLY",
            "KID-unfriendly",
            "{adult|adults}-only",
            "only for adults",
            "{no|not} KIDS",
            "{no|not}( {good|suitable|FRIENDLY|opened}) {at|for|to|with}( the) {KIDS|all age}",
            "GUEST {is|are}{n't| not} WELCOMED",
            "{does not|doesn't} {welcome|allow|accept} <2 {GUEST|all age}",
            "adult {place|venue|establishment|establish}",
        ],
        "yes": [
            "KID-FRIENDLY",
            "for KIDS",
            "family place",
            "place to bring the( whole) family",
            "GUEST {is|are} WELCOMED",
            "{welcome|allow|accept}(s) <2 {GUEST|all age}",
        ],
    },
    "food": {
        "Chinese": ["chinese", "chines"],
        "English": ["english", "british"],
        **_verbatim("Fast food|French|Indian|Italian|Japanese"),
    },
    "name": _verbatim(NAMES),
    "near": _verbatim(PLACES),
    "priceRange": {
        "cheap": LOW_PRICE,
        "less than £20": [*LOW_PRICE, "moderately priced", "{less than|under} (£)( )20"],
        "more than £30": [*HIGH_PRICE, "not cheap", "{more than|over} (£)( )30"],
        "high": HIGH_PRICE,
        "moderate": [*MIDDLE_PRICE, "mid-range-PRICED", "not cheap"],
        "£20-25": [*MIDDLE_PRICE, "20{-|( )–( )| to( )}25", "20to 25", "20to25", "2025"],
    },
    "customer rating": {
        "1 out of 5": _ratings(ONE, *BAD, longer=True),
        "3 out of 5": _ratings(THREE, *FAIR, longer=True),
        "5 out of 5": _ratings(FIVE, *GREAT, longer=True),
        "high": _ratings(FIVE, f"{GREAT[0]}, well", GREAT[1]),
        "average": _ratings(THREE, *FAIR),
        "low": _ratings(ONE, *BAD),
    },
}


class Mention(NamedTuple):
    """Words of a text, from character start to end, that stand for a value of a slot."""

    slot: str
    value: str
    start: int
    end: int


def _beginnings() -> dict[str, list[tuple[str, str, re.Pattern]]]:
    """By the first word of its phrases: each (slot, value, pattern), in the order of the table."""
    table = {}
    for slot, values in PHRASES.items():
        for value, phrases in values.items():
            whole = "|".join(NOTATION.sub(lambda sign: SIGNS[sign[0]], text) for text in phrases)
            pattern = re.compile(rf"(?:{whole})\b")
            for word in sorted(set().union(*map(_first_words, phrases))):
                table.setdefault(word, []).append((slot, value, pattern))
    return table


def _first_words(phrase: str) -> set[str]:
    """The words that a phrase can begin with, as far as an apostrophe."""
    one_of, group, word, ending = FIRST.match(phrase).groups()
    words = (one_of or GROUPS.get(group) or word).split("|")
    return {WORD.match(word)[0] + more for word in words for more in {"", ending or ""}}


WORD = re.compile(r"\w+")
FIRST = re.compile(r"\^?(?:{([^{}]*)}|([A-Z]+)|([\w']+))(?:\((\w+)\))?")
BEGINNINGS = _beginnings()


def mentions(text: str, mr: Mapping[str, Collection[str]]) -> list[Mention]:
    """The mentions in a text. mr: the values of each slot.

    Words inside those of a longer mention are none of their own: "family friendly" in "not family
    friendly". Of several values that the same words may stand for, one that the MR has counts.
    """
    text, found, ends = _lower(text), [], {}
    for word in WORD.finditer(text):
        start = word.start()
        for slot, value, pattern in BEGINNINGS.get(word[0], ()):
            if ends.get((slot, value), 0) <= start and (match := pattern.match(text, start)):
                found.append(Mention(slot, value, start, match.end()))
                ends[slot, value] = match.end()
    kept: list[Mention] = []
    for mention in found:
        if not any(_yields(mention, other, mr, kept) for other in found if other is not mention):
            kept.append(mention)
    return kept


def _lower(text: str) -> str:
    """In small letters but for İ and the like, which would grow: places are those of the text."""
    small = text.lower()
    if len(small) == len(text):
        return small
    return "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def _yields(mention: Mention, other: Mention, mr: Mapping, kept: list[Mention]) -> bool:
    _, _, start, end = mention
    slot, value, begin, stop = other
    if begin > start or stop < end:
        return False
    return (begin, stop) != (start, end) or value in mr.get(slot, ()) or other in kept
