"""The configuration's types, as Hydra's structured configs.

Composition then refuses an unknown key and a value of another kind by itself. The types are those
of solo/runs/config.py and of the methods' own Config classes; nothing is declared twice.
"""

import dataclasses
from dataclasses import field, fields, make_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from solo.adapters import METHODS
from solo.options import check, check_kind
from solo.runs.config import GROUPS, Rest

# What only the entry points read: the directory of a trained run, an MR of one's own, where an
# export goes, and whether an output may replace a file that the program did not write.
OF_ENTRY_POINTS = {
    "run": (str | None, None),
    "mr": (str | None, None),
    "out": (str | None, None),
    "force": (bool, False),
}


def schema_of(name: str, cls: type, extra: dict[str, tuple[Any, Any]] | None = None) -> type:
    """A dataclass with the fields of `cls` and `extra` ones, {name: (type, default)}.

    A copy that is not frozen, since OmegaConf would make a frozen class's configuration read-only.
    A field without a default is missing until a file or the command line sets it. Raises ValueError
    for a type that Hydra has not, and for a default of another type.
    """
    hints = get_type_hints(cls)
    for option, hint in hints.items():
        check(
            all(get_origin(kind) is not Literal for kind in (hint, *get_args(hint))),
            f"{cls.__module__}.{cls.__name__}.{option} is a Literal, which Hydra does not know; "
            "make it str, and check its values in __post_init__ as the other methods do",
        )
    members = [(key, kind, field(default=value)) for key, (kind, value) in (extra or {}).items()]
    for member in fields(cls):
        if member.default_factory is not dataclasses.MISSING:
            default = field(default_factory=member.default_factory)
        elif member.default is not dataclasses.MISSING:
            named = f"the default of {cls.__module__}.{cls.__name__}.{member.name}"
            check_kind(named, member.default, hints[member.name])
            default = field(default=member.default)
        else:
            default = field(default=MISSING)
        members.append((member.name, hints[member.name], default))
    return make_dataclass(name, members)


def options_file(configs: Path, method: str) -> Path:
    """Where the options of a registered method stand. ValueError where there is no such file."""
    path = configs / f"adapter/{method}.yaml"
    check(
        path.is_file(),
        f"{path} is missing; write the options of {method} there, as lora.yaml does",
    )
    return path


def check_name(path: Path, name: str) -> None:
    """ValueError unless a method's file of options is that of the method: a copy of another's."""
    check(
        name == path.stem,
        f"{path} has the options of {name}; in a file of this name they must be those of "
        f"{path.stem}: write 'defaults: [{path.stem}_schema, _self_]' and 'name: {path.stem}'",
    )


def register() -> None:
    """Register `run_schema`, the root with every group typed, and adapter/METHOD_schema."""
    store = ConfigStore.instance()
    groups = {name: schema_of(f"{name}_schema", cls) for name, cls in GROUPS.items()}
    members = {name: (kind, field(default_factory=kind)) for name, kind in groups.items()}
    root = make_dataclass(
        "run_schema",
        [
            *[(name, kind, default) for name, (kind, default) in members.items()],
            ("adapter", Any, field(default=MISSING)),
        ],
        bases=(schema_of("rest_schema", Rest, OF_ENTRY_POINTS),),
    )
    store.store(name="run_schema", node=root)
    for method, cls in METHODS.items():
        node = schema_of(f"{method}_schema", cls.Config, {"name": (str, method)})
        store.store(group="adapter", name=f"{method}_schema", node=node)
