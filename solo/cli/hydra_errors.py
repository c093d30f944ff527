"""Errors of Hydra and OmegaConf in words: the option, its value, and what is allowed."""

import re

WORDS = {  # OmegaConf's names of the kinds
    "Integer": "a whole number", "Float": "a number", "Boolean": "true or false",
    "String": "text", "ListConfig": "a list, [a, b]", "bool": "true or false",
}  # fmt: skip


def in_one_line(error: BaseException) -> str:
    """What an error of Hydra or OmegaConf says, with key, value and what is allowed."""
    cause = error.__cause__ or error
    text = str(cause)
    key = re.search(r"full_key: (\S+)", text)
    kind = re.search(r"could not be converted to (\w+)", text) or re.search(
        r"incompatible with type hint '(\w+)", text
    )
    kind = kind or re.search(r"is not a valid (\w+)", text)
    value = re.search(r"Value '(.*?)' of type", text) or re.search(r"Value '(.*?)'", text)
    if key and kind and value:
        return f"{key[1]} is {value[1]}; it must be {WORDS.get(kind[1], kind[1])}"
    if key and "is not a ListConfig" in text:
        return f"{key[1]} must be a list, [a, b]"
    if key and "not Optional" in text:
        return f"{key[1]} is null; it needs a value"
    if key and "does not support deletion" in text:
        return f"{key[1]} cannot be removed; give it another value"
    if key and (other := re.search(r"Cannot (?:assign|convert) (.*)", text)):
        return f"{key[1]} has a value of the wrong kind: cannot take {other[1]}; see configs/"
    foreign = re.search(r"(?s)In 'experiment.*Key '(\w+)' not in '(\w+)_schema'", str(error))
    if foreign:
        return (
            f"the options set {foreign[1]!r}, which {foreign[2]} has not; choose an adapter and an "
            "experiment that go together, or leave one of the two out"
        )
    choice = re.search(
        r"Could not find '([\w/]+)'\s+Available options in '[\w/]+':(.*?)Config search", text, re.S
    )
    if choice:
        group, _, name = choice[1].rpartition("/")
        known = [option for option in choice[2].split() if not option.endswith("_schema")]
        return f"{group} is {name!r}; known: {', '.join(known)}"
    unknown = re.search(r"Could not override '([\w.]+)'", str(error))
    if unknown:
        return f"{unknown[1]} is no option; `python scripts/run.py --help` lists them"
    return " ".join(dict.fromkeys(" ".join(str(e).split()) for e in (error, cause)))
