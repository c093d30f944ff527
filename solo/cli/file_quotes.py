"""Figures out of JSON files, in the form in which pages and tables show them.

A figure's place in a file is a row of words, each a step down. In a mapping a word is a key, `_`
for a space; a list of pairs is a mapping too. In a list a number is a place; WORD and KEY=WORD keep
the entries that have it as a value (of that key); where none has, it is a key, and gives its values
in all entries, or the value if there is a single entry. `count`, `sum`, `min` and `max` make one
figure of a list.
"""

import json
import math
import operator
import re
from collections.abc import Sequence
from pathlib import Path

from solo.files import ROOT, read_json, read_json_lines

OF_ALL = {
    "count": len,
    "sum": sum,
    "min": lambda values: min(_finite(values)),
    "max": lambda values: max(_finite(values)),
}
NUMBER = re.compile(r"\d+(\.\d+)?")
SIGNS = {"+": operator.add, "*": operator.mul, "/": operator.truediv}


def _finite(values: Sequence[float | None]) -> list[float]:
    """The numbers among values. ValueError where there is none."""
    numbers = [value for value in values if value is not None and math.isfinite(value)]
    if not numbers:
        raise ValueError("a quote asks for the least or the most of no number")
    return numbers


def figure(file: str, *words: str) -> str:
    """The figure at a place of a .json or .jsonl file; :FORM as the last word is Python's format.

    `+`, `*` and `/` between places, or numbers, are reckoned from left to right.
    """
    words, form = _form_apart(words)
    content, places, signs = read(file), [[]], []
    for word in words:
        if word in SIGNS:
            signs.append(SIGNS[word])
            places.append([])
        else:
            places[-1].append(word)
    result = found(content, places[0])
    others = [_number_or_found(content, place) for place in places[1:]]
    for sign, other in zip(signs, others, strict=True):
        result = sign(result, other)
    return shown(result, form)


def median(file: str, *words: str) -> str:
    """The median, the lowest and the highest at a place of a file: `2.0 (1.8 to 2.1)`."""
    words, form = _form_apart(words)
    return spread(found(read(file), words), form)


def spread(values: Sequence[float], form: str) -> str:
    """A median and the lowest and highest value behind it, left out where all look the same."""
    middle, low, high = (shown(value, form) for value in values)
    return middle if low == high else f"{middle} ({low} to {high})"


def shown(value, form: str) -> str:
    """A value in Python's format, but `5 %` and `3e6`, as pages write them."""
    return re.sub(r"e\+0*(?=\d)", "e", f"{value:{form}}").replace("%", " %")


def read(file: str):
    """What a file holds, named from the repository's root; of .jsonl the list of its entries."""
    path = ROOT / file
    return read_json_lines(path) if Path(file).suffix == ".jsonl" else read_json(path)


def found(content, place: Sequence[str]):
    """What is at a place. ValueError, which names the word, where there is nothing."""
    for word in place:
        content = _step(content, word)
    return content


def _step(content, word: str):
    if isinstance(content, list) and word in OF_ALL:
        return OF_ALL[word](content)
    pairs = isinstance(content, list) and all(isinstance(e, list) and len(e) == 2 for e in content)
    if pairs and content:
        content = {str(key): value for key, value in content}
    if isinstance(content, dict):
        if values := _values(content, word):
            return values[0]
    elif isinstance(content, list):
        if word.removeprefix("-").isdigit():
            return content[int(word)]
        entries = [entry for entry in content if isinstance(entry, dict)]
        if kept := [entry for entry in entries if _has(entry, word)]:
            return kept
        if values := [value for entry in entries for value in _values(entry, word)]:
            return values if len(entries) > 1 else values[0]
    raise ValueError(f"a quote asks for {word!r}, which is not there")


def _values(entry: dict, word: str) -> list:
    """The value of the key that a word names, if there is one."""
    return [value for key, value in entry.items() if key in (word, word.replace("_", " "))][:1]


def _has(entry: dict, word: str) -> bool:
    key, equals, wanted = word.partition("=")
    values = _values(entry, key) if equals else entry.values()
    words = [value if isinstance(value, str) else json.dumps(value) for value in values]
    wanted = wanted if equals else word
    return wanted in words or wanted.replace("_", " ") in words


def _form_apart(words: Sequence[str]) -> tuple[list[str], str]:
    formed = bool(words) and words[-1].startswith(":")
    return ([*words[:-1]], words[-1][1:]) if formed else ([*words], "")


def _number_or_found(content, place: Sequence[str]):
    is_number = len(place) == 1 and NUMBER.fullmatch(place[0])
    return float(place[0]) if is_number else found(content, place)
