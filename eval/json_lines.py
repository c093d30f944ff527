"""JSON Lines for the scorer: an object a line, of which it takes the MR and the text or texts.

They are known by what they hold, whatever the file is called, so that none is scored as plain text.
A field is chosen by the first word of its name, as a table's columns are; of JSON more names are
known. Other fields may hold anything. JSON of another form is refused.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from solo.rows import (
    EXACT,
    IN_JSON,
    JSON_LINES,
    OUTPUT,
    REFERENCE,
    SOURCE,
    check_characters,
    keys_named,
    one_line,
    without_mark,
)

REMEDY = "write one object a line (JSON Lines), such as {}"
EXAMPLES = {OUTPUT: '{"mr": "...", "output": "..."}', REFERENCE: '{"mr": "...", "ref": "..."}'}


@dataclass
class Objects:
    """sources: the MR of each line, "" where the lines have none; texts: those of each line.

    by_id: where no line has an MR, and every line an `id`, the sources are these.
    """

    sources: list[str] = field(default_factory=list)
    texts: list[list[str]] = field(default_factory=list)
    by_id: bool = False


def is_json(path: Path, lines: Sequence[str]) -> bool:
    """Whether a file holds JSON: by its name, or since it begins as an object or list does."""
    if Path(path).suffix.lower() in (*JSON_LINES, ".json"):
        return True
    first = next((line for line in without_mark(list(lines)) if line.strip()), "").strip()
    value = _parsed(first)
    if isinstance(value, list):  # one of plain text in brackets would not be JSON, or hold numbers
        return all(isinstance(each, str | dict | list) for each in value)
    return first in ("{", "[", "[{") or isinstance(value, dict)


def read_objects(path: Path, lines: Sequence[str], names: tuple[str, ...]) -> Objects:
    """MR and text of every line; names: OUTPUT, or REFERENCE, whose field may hold several texts.

    Raises ValueError, with the line, for what is no object, for a text that is none, and where not
    just one field is called as MRs or texts are.
    """
    example = REMEDY.format(EXAMPLES[names])
    found, fields, ids = Objects(), None, []
    for number, line in enumerate(without_mark(list(lines)), 1):
        if not line.strip():
            continue
        place, value = f"{path}, line {number}", _parsed(line)
        if not isinstance(value, dict):
            raise ValueError(f"{place}: this is no JSON object; {example}")
        fields = fields or _fields(place, list(value), names)
        for name in filter(None, fields):
            if name not in value:
                raise ValueError(
                    f"{place}: it has no {name!r}, which the lines before it have; "
                    "every line needs the same fields"
                )
        source, text = (value[name] if name else "" for name in fields)
        several = text if isinstance(text, list) and names is REFERENCE else [text]
        if not isinstance(source, str) or not several or not all(map(_is_text, several)):
            name, kinds = fields[1], "a text or a list of texts" if names is REFERENCE else "a text"
            if not isinstance(source, str):
                name, kinds = fields[0], "a text"
            raise ValueError(f"{place}: {name!r} must be {kinds}; {example}")
        check_characters((source, *several), place)
        found.sources.append(one_line(source).strip())
        found.texts.append([one_line(each).strip() for each in several])
        ids.append(value.get("id"))
    if ids and not fields[0] and all(isinstance(each, str | int) for each in ids):
        found.sources, found.by_id = list(map(str, ids)), True
    return found


def _parsed(line: str):
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _fields(place: str, keys: list[str], names: tuple[str, ...]) -> tuple[str | None, str]:
    """(the MRs' field, if there is one; the texts')."""
    chosen = []
    for wanted in (SOURCE, names):
        places = keys_named(keys, wanted)
        what = "texts" if wanted is names else "MRs"
        if len(places) > 1:
            raise ValueError(
                f"{place}: of the fields {[keys[place] for place in places]} several can be the "
                f"{what}; call one of them {EXACT[wanted]}, or the others otherwise"
            )
        if wanted is names and not places:
            raise ValueError(
                f"{place}: of the fields {keys} none can be the {what}; begin the name of one "
                f"with a word of: {', '.join(dict.fromkeys(wanted + IN_JSON[wanted]))}"
            )
        chosen.append(keys[places[0]] if places else None)
    return chosen[0], chosen[1]
