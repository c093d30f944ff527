"""What follows from the registry of methods: docs/methods.md, family rows, defaults of names."""

from dataclasses import asdict
from pathlib import Path
from textwrap import fill

import yaml

from eval.markdown import with_part
from solo.adapters import METHODS, make_config
from solo.adapters.base import Method
from solo.backbones.shapes import gpt2_shapes
from solo.cli.schema import check_name, options_file
from solo.files import as_typed, read_json, write_json, write_text
from solo.options import check
from solo.runs.identity import resolved

PARTS = ("label", "trains", "where", "count")  # of a class, which solo/adapters/base.py explains
FAMILY_ROW = """\
# @package _global_
# Defaults of configs/adapter/{name}.yaml.
# python scripts/train.py experiment=family/{name}
defaults:
  - override /model: gpt2_small
  - override /adapter: {name}
row: family/{name}
"""
HEAD = """\
| method | trains | where | count | GPT-2 S | source |
|---|---|---|---|---:|---|
"""


def rewritten(page: str, configs: Path) -> str:
    """docs/methods.md with what follows from the classes and from configs/adapter made anew."""
    return with_part(page, "python scripts/methods.py", _described(configs))


def _described(configs: Path) -> str:
    rows, sentences = [], []
    for name, method in METHODS.items():
        lacking = [part for part in PARTS if not hasattr(method, part)]
        lacking += [] if method.__doc__ else ["a docstring"]
        lacking += ["n_params"] if method.n_params is Method.n_params else []
        check(not lacking, f"the class of adapter={name} lacks {', '.join(lacking)}")
        _, config = make_config(_options(options_file(configs, name)))
        count = method.n_params(gpt2_shapes()["openai-community/gpt2"], config)
        cells = (name, method.trains, method.where, method.count, f"{count:,}", method.source)
        rows.append(f"| {' | '.join(cells)} |\n".replace("|  |", "| |"))
        sentences.append(f"- {method.label} (`{name}`): {first_sentence(method)}\n")
    apart: dict[str, list[str]] = {}  # by why it cannot be merged
    for name, method in METHODS.items():
        if method.cannot_merge:
            apart.setdefault(method.cannot_merge, []).append(f"`{name}`")
    reasons = "; ".join(f"{', '.join(names)} ({reason})" for reason, names in apart.items())
    inside = [f"`{name}`" for name, method in METHODS.items() if not method.position_wise]
    note = (
        f"Not to be merged into the backbone's weights: {reasons}. Every other method can be "
        f"(`Method.merge`), to 1e-4 in the logits. {', '.join(inside)} look at more than one "
        "position: one run trains at a time, on padded batches."
    )
    return f"{HEAD}{''.join(rows)}\n{''.join(sentences)}\n{fill(note, 100)}\n"


def _options(path: Path) -> dict:
    """A method's options with their defaults, as its file has them. ValueError if it is no such."""
    options = yaml.safe_load(path.read_text(encoding="utf-8"))
    line = f"defaults: [{path.stem}_schema, _self_]"
    begun = isinstance(options, dict) and "defaults" in options
    check(begun, f"{path} has no line {line!r}; begin with it")
    schema = str(options.pop("defaults")[0])  # Hydra's, which types the options
    for name in (schema.removesuffix("_schema"), options.setdefault("name", path.stem)):
        check_name(path, name)
    return options


def first_sentence(method: type[Method]) -> str:
    """Of the class's docstring."""
    return " ".join(method.__doc__.split()).split(". ")[0].rstrip(".") + "."


def add_defaults(path: Path) -> None:
    """Give every method that has no part in the table of defaults one, with its options of today.

    The parts that are there stay as they are: the names of finished runs rest on them.
    """
    table = read_json(path)
    missing = [name for name in METHODS if name not in table["adapter"]]
    for name in missing:
        options = asdict(resolved(make_config({"name": name})[1]))
        table["adapter"][name] = {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in options.items()
        }
    if missing:
        write_json(path, table)


def left_behind(configs: Path, defaults: Path) -> list[str]:
    """What belongs to no method any more: after a new name, or where one was taken out."""
    files = sorted((configs / "adapter").glob("*.yaml"))
    notes = [f"{as_typed(f)}: options of no method" for f in files if f.stem not in METHODS]
    for path in sorted((configs / "experiment").rglob("*.yaml")):
        chosen = yaml.safe_load(path.read_text(encoding="utf-8")).get("defaults", [])
        for name in (choice.get("override /adapter", "none") for choice in chosen):
            if name not in METHODS:
                notes.append(f"{as_typed(path)}: a row of {name}, which is no method")
    for name in sorted(read_json(defaults)["adapter"].keys() - METHODS):
        notes.append(f"{as_typed(defaults)}: defaults of {name}, which is no method")
    return notes


def add_rows(configs: Path) -> None:
    """Give every method a row in the family table that has none."""
    for name in METHODS:
        row = configs / f"experiment/family/{name}.yaml"
        if not row.exists():
            write_text(row, FAMILY_ROW.format(name=name))
