"""What --help of a script says: its docstring, the groups, and the options with their comments.

The comments are those of the files in configs/, so that an option is explained in one place; the
values are those that the command line beside --help leads to.
"""

import re
from collections.abc import Sequence

import yaml

from solo.cli.command import CONFIGS
from solo.cli.compose import as_written

# What the commands for a trained run need not show: they take it from the run.
OF_TRAINING = ("adapter", "train", "experiment", "sweep", "seed", "row", "together", "output_dir")
OPTION = re.compile(r"^(\w+):(.*)$", re.MULTILINE)


def help_page(
    doc: str, config_name: str, overrides: Sequence[str], left_out: Sequence[str] = ()
) -> str:
    """The page of a script with the docstring `doc`; overrides: KEY=VALUE or GROUP=NAME, as for a
    run of the script. Bad ones are not counted, and told at the end. left_out: groups and options
    that train.py's page has."""
    text = (CONFIGS / f"{config_name}.yaml").read_text(encoding="utf-8")
    end = "More of Hydra's own: --cfg job, --info, -m (docs/sweeps.md)."
    try:
        given = [word for word in overrides if not word.startswith("-")]
        values, files = as_written(given, config_name)
    except ValueError as error:
        values, files = as_written([], config_name)
        end += f"\n\nnote: these are the values without what is beside --help: {error}"
    if left_out:
        end = f"Those of the training: python scripts/train.py --help\n{end}"
    groups = [key for entry in yaml.safe_load(text)["defaults"] if isinstance(entry, dict)
              for key in entry if (CONFIGS / key).is_dir() and key not in left_out]  # fmt: skip
    chosen = {group: files.get(group) for group in groups}
    lines = [doc.strip(), "", "Groups, GROUP=NAME, and the names of each (* as it is now):"]
    for group, name in chosen.items():
        names = (f"{n}*" if n == name else n for n in names_in(group))
        lines.append(f"  {group}: {', '.join(names)}")
    lines += ["", "Options, KEY=VALUE, with what they are now:"]
    options = text.split("\nhydra:")[0].split("\n\n", 1)[-1]
    lines += [
        f"  {key}:{_with(values.get(key), rest)}"
        for key, rest in OPTION.findall(options)
        if key not in ("defaults", *left_out)
    ]
    for group, name in chosen.items():
        if group not in ("experiment", "sweep"):
            lines += [
                f"  {group}.{key}:{_with(values[group].get(key), rest)}"
                for key, rest in options_in(group, name).items()
            ]
    return "\n".join([*lines, "", end])


def _with(value, rest: str) -> str:
    """What a file says after an option's name, with `value` where it says another one.

    The file's own way of writing stays where the two are the same.
    """
    written, mark, comment = rest.partition(" #")
    if not written.strip() or yaml.safe_load(written) == value:  # the first: of several lines
        return rest
    shown = (
        yaml.safe_dump(value, default_flow_style=True, width=1e9).removesuffix("\n...\n").strip()
    )
    return f" {shown}{mark}{comment}"


def options_in(group: str, name: str) -> dict[str, str]:
    """{key: value and comment} of a file of a group, and of those that it rests on."""
    path = CONFIGS / group / f"{name}.yaml"
    if not path.is_file():
        return {}
    text = path.read_text(encoding="utf-8")
    options = {}
    for base in yaml.safe_load(text).get("defaults", []):
        options |= options_in(group, base) if isinstance(base, str) else {}
    options |= dict(OPTION.findall(text))
    return {key: rest for key, rest in options.items() if key not in ("defaults", "name")}


def names_in(group: str) -> list[str]:
    """The files of a group; of those in folders, the folders (FOLDER/NAME)."""
    paths = (path.relative_to(CONFIGS / group) for path in (CONFIGS / group).rglob("*.yaml"))
    names = {f"{p.parts[0]}/NAME" if len(p.parts) > 1 else p.stem for p in paths}
    return sorted(name for name in names if not name.endswith("_schema"))
