"""The registry of methods: a new one is a file, a line below, and configs/adapter/NAME.yaml."""

from dataclasses import fields
from importlib import import_module
from typing import Any

from solo.adapters.base import Method
from solo.options import make

CLASSES = {  # name, which is its file's, too: class; in the order of the pages in docs/
    "none": "Bare",
    "full": "FullFineTuning",
    "solo": "Solo",
    "lora": "Lora",
    "lor2c": "Lor2c",
    "sharelor2c": "ShareLor2c",
    "mergelor2c": "MergeLor2c",
    "injectlor2c": "InjectLor2c",
    "imlor2c": "ImLor2c",
    "ssl": "Ssl",
    "ssb": "Ssb",
    "bitfit": "BitFit",
    "houlsby": "Houlsby",
    "prefix": "PrefixTuning",
    "prompt": "PromptTuning",
    "adalora": "AdaLora",
    "dora": "Dora",
    "pissa": "Pissa",
    "vera": "Vera",
    "ia3": "Ia3",
    "ln_tuning": "LnTuning",
    "fourierft": "FourierFt",
    "hira": "Hira",
    "gralora": "GraLora",
    "randlora": "RandLora",
    "vblora": "VbLora",
}
METHODS: dict[str, type[Method]] = {
    name: getattr(import_module(f"solo.adapters.{name}"), of_file)
    for name, of_file in CLASSES.items()
}


def get_method(name: str) -> type[Method]:
    """The class of a method. Raises ValueError that lists the known ones."""
    if name not in METHODS:
        raise ValueError(f"unknown adapter {name!r}; known: {', '.join(sorted(METHODS))}")
    return METHODS[name]


def check_backbone(name: str, config, shape) -> None:
    """Raise ValueError, in one line, for a method that has no place in a backbone of this config.

    config: the method's. shape: transformers'. The line names the methods that have one.
    """
    try:
        get_method(name).check_backbone(shape, config)
    except ValueError as error:
        places = {other: place_in(other, shape) for other in METHODS}
        as_they_are, named = (
            ", ".join(other for other, place in places.items() if place == kind) or "none of them"
            for kind in ("yes", "targets")
        )
        raise ValueError(
            f"adapter {name} does not work on a backbone of type {shape.model_type}: {error}; "
            f"these do: {as_they_are}; with adapter.targets that the backbone has: {named}"
        ) from None


def place_in(name: str, shape) -> str:
    """Whether a method works on a backbone of this config: `yes`, `no`, or `targets`.

    The last: not with its default targets, but with ones that the backbone has.
    """
    method = METHODS[name]
    try:
        method.check_backbone(shape, method.Config())
    except ValueError:
        return "targets" if method.has_targets(shape) else "no"
    return "yes"


def make_config(options: dict) -> tuple[type[Method], Any]:
    """(class, checked Config) of `{"name": METHOD, option: value, ...}`.

    Raises ValueError for an unknown method, for an option that the method lacks or a value of
    another kind than it takes, and for whatever the method's own checks refuse.
    """
    options = dict(options)
    name = options.pop("name", None)
    method = get_method(name)
    known = [field.name for field in fields(method.Config)]
    if unknown := sorted(set(options).difference(known)):
        allowed = ", ".join(known) or "(none)"
        raise ValueError(f"adapter {name} has no option {unknown[0]!r}; its options: {allowed}")
    return method, make(method.Config, options, "adapter")
