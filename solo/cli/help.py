"""What --help of a script says: its docstring, the groups, and the options with their comments.

The comments are those of the files in configs/, so that an option is explained in one place.
"""

import re
from collections.abc import Sequence

import yaml

from solo.cli.command import CONFIGS

OPTION = re.compile(r"^(\w+):(.*)$", re.MULTILINE)


def help_page(doc: str, config_name: str, overrides: Sequence[str]) -> str:
    """The page of a script with the docstring `doc`; overrides GROUP=NAME choose what is shown."""
    text = (CONFIGS / f"{config_name}.yaml").read_text(encoding="utf-8")
    chosen = {}
    for entry in yaml.safe_load(text)["defaults"]:
        if isinstance(entry, dict):
            chosen |= {k: v for k, v in entry.items() if (CONFIGS / k).is_dir()}
    given = dict(word.split("=", 1) for word in overrides if "=" in word)
    chosen |= {group: name for group, name in given.items() if group in chosen}
    lines = [doc.strip(), "", "Groups, GROUP=NAME, and the names of each (* as it is now):"]
    for group, name in chosen.items():
        names = (f"{n}*" if n == name else n for n in names_in(group))
        lines.append(f"  {group}: {', '.join(names)}")
    lines += ["", "Options, KEY=VALUE, with what they are now:"]
    options = text.split("\nhydra:")[0].split("\n\n", 1)[-1]
    lines += [f"  {key}:{rest}" for key, rest in OPTION.findall(options) if key != "defaults"]
    for group, name in chosen.items():
        if group not in ("experiment", "sweep"):
            lines += [f"  {group}.{key}:{rest}" for key, rest in options_in(group, name).items()]
    return "\n".join([*lines, "", "More of Hydra's own: --cfg job, --info, -m (docs/sweeps.md)."])


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
