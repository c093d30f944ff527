"""Options as typed values: a dataclass made from plain values, each checked by its type hint."""

import math
from collections.abc import Mapping
from dataclasses import MISSING, fields
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

T = TypeVar("T")
KINDS = {  # of options: (types of the values that fit, in words)
    int: ((int,), "a whole number"),
    float: ((int, float), "a number"),
    bool: ((bool,), "true or false"),
    str: ((str,), "text"),
    tuple: ((list, tuple, str), "a list of names"),
    list: ((list, tuple), "a list"),
    dict: ((Mapping,), "a mapping"),
    NoneType: ((NoneType,), "null"),
}


def make(cls: type[T], values: Mapping[str, Any], group: str = "") -> T:
    """An instance of the dataclass `cls` from `values`; `group` is its name in the configuration.

    A list becomes a tuple where the hint says tuple, and the text of a number a number where only
    numbers fit (YAML reads 1e-3 as text). Raises ValueError, in one line with key, value and what
    is allowed, for an unknown key, a missing one, a value of another kind, and a number that is not
    finite; and whatever the class's own checks raise.
    """
    prefix = f"{group}." if group else ""
    hints = get_type_hints(cls)
    for key in values:
        if key not in hints:
            allowed = ", ".join(hints) or "(none)"
            raise ValueError(f"{prefix}{key} is no option; the options are: {allowed}")
    for option in fields(cls):
        required = option.default is MISSING and option.default_factory is MISSING
        if required and option.name not in values:
            raise ValueError(f"{prefix}{option.name} is missing; it has no default")
    converted = {}
    for key, value in values.items():
        value = _as_number(value, hints[key])
        check_kind(f"{prefix}{key}", value, hints[key])
        tuples = [k for k in (hints[key], *get_args(hints[key])) if get_origin(k) is tuple]
        if tuples and isinstance(value, (list, tuple)):
            of_floats = float in get_args(tuples[0])  # of which a whole number is one, too
            value = tuple(map(float, value)) if of_floats else tuple(value)
        converted[key] = value
    return cls(**converted)


def check_kind(key: str, value: Any, hint: Any) -> None:
    """Raise ValueError unless `value` is of a kind that the type hint names, and finite."""
    if hint is Any:
        return
    # X | None has arguments, tuple[str, ...] and dict[str, str] an origin of their own.
    single = get_origin(hint) in (tuple, list, dict) or not get_args(hint)
    hints = (hint,) if single else get_args(hint)
    kinds = [get_origin(kind) or kind for kind in hints]
    known = dict(KINDS)
    if not any(str in get_args(kind) for kind in hints):  # one name stands for a list of it
        known[tuple] = (list, tuple), "a list of numbers"
    fits = any(isinstance(value, known[kind][0]) for kind in kinds)
    if isinstance(value, bool):  # True is an int, too
        fits = bool in kinds
    if not fits:
        words = " or ".join(known[kind][1] for kind in kinds)
        raise ValueError(f"{key} is {value!r}; it must be {words}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"{key} is {value}; it must be a finite number")
    if get_origin(hint) is tuple and isinstance(value, (list, tuple)):
        members = get_args(hint)
        if members[-1] is Ellipsis:
            members = members[:1] * len(value)
        if len(value) != len(members):
            raise ValueError(f"{key} is {list(value)}; it must have {len(members)} entries")
        for number, (member, kind) in enumerate(zip(value, members, strict=True)):
            check_kind(f"{key}[{number}]", member, kind)


def _as_number(value: Any, hint: Any) -> Any:
    if not isinstance(value, str) or float not in (hint, *get_args(hint)):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def check(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless `condition` holds."""
    if not condition:
        raise ValueError(message)
