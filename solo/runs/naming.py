"""What a run's directory is called, and how it is found.

The name has words for people and ends with the short name of the run's identity, a hash, by which
alone programs find it: directories of earlier versions, with other words or renamed, stay the
run's. In a folder of runs a hash is one directory's.
"""

import re
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

from solo.adapters import make_config
from solo.options import check
from solo.runs.config import RunConfig
from solo.runs.identity import NO_EFFECT, resolved
from solo.training.recipe import TrainConfig

HASH = re.compile(r"(?:.*-)?([0-9a-f]{8})")
LONGEST_WORD, LONGEST = 24, 100  # characters; file systems take 255 bytes, and the hash comes after
SHORT = {
    "rank": "r", "sparsity": "s", "max_steps": "steps", "batch_size": "batch",
    "weight_decay": "decay", "warmup_steps": "warmup", "label_smoothing": "smoothing",
}  # fmt: skip
ALWAYS = ("rank", "sparsity")  # of an adapter that has them
ETC = "etc"  # stands for words that found no room


def find(folder: Path, name: str) -> Path | None:
    """The directory in `folder` of the run with a short name, whatever words it has before it.

    Raises ValueError if there are two.
    """
    found = [path for path in sorted(Path(folder).glob(f"*{name}")) if hash_of(path) == name]
    found = [path for path in found if path.name[0] != "."]
    check(
        len(found) < 2,
        f"{' and '.join(map(str, found))} are one run (the hash at the end is the same); move all "
        "but one of them elsewhere",
    )
    return found[0] if found else None


def hash_of(directory: Path) -> str | None:
    """The short name at the end of a directory's name, None where there is none."""
    match = HASH.fullmatch(Path(directory).name)
    return match[1] if match else None


def words(config: RunConfig) -> str:
    """What a run is, short enough for a file name: method, its options, backbone, data, recipe.

    Named are rank and sparsity, the backbone, and what is not the default of its class. Other
    words may stand for the same run (a copy of the backbone in another folder).
    """
    other = differences(config)
    adapter = [
        (key, value)
        for key, value in asdict(config.adapter).items()
        if key in ALWAYS or f"adapter.{key}" in other
    ]
    first = [config.method, *(_word(*pair) for pair in adapter if pair[0] in ALWAYS)]
    more = [_word(*pair) for pair in adapter if pair[0] not in ALWAYS]
    backbone = [_safe(Path(config.model.path).name or "backbone")]
    last = [_safe(data_name(config))] if data_name(config) != "e2e" else []
    last += [f"seed{config.seed}"] if config.seed != 1 else []
    last += [_word(key[6:], value) for key, value in other.items() if key.startswith("train.")]
    room = LONGEST - len("-".join([*first, *backbone, ETC]))
    kept: list[str] = []
    for word in [*more, *last]:
        if room - len(word) - 1 >= 0:
            room -= len(word) + 1
            kept.append(word)
    left_out = [ETC] * (len(kept) < len(more) + len(last))
    ordered = [*first, *(w for w in more if w in kept), *backbone]
    return "-".join([*ordered, *(w for w in last if w in kept), *left_out])


def data_name(config: RunConfig) -> str:
    """The data set; of files that nobody published the folder, or the file of one's own."""
    data = config.data
    if data.name == "own":
        return Path(data.train_path).stem
    return data.name if data.sha256.get("train") else Path(data.dir).name


def differences(config: RunConfig) -> dict[str, Any]:
    """{option by its full name: value} of adapter and recipe, where it is not its class's default.

    Without what changes speed and files alone.
    """
    _, adapter = make_config({"name": config.method})
    found = {}
    for group, default in (("adapter", adapter), ("train", TrainConfig())):
        for field in fields(default):
            name, given = field.name, getattr(config, group)
            if name not in NO_EFFECT and _changes(given, name, getattr(default, name)):
                found[f"{group}.{name}"] = getattr(given, name)
    return found


def _changes(given: Any, name: str, usual: Any) -> bool:
    """Whether options differ from those with the usual value of one; where its usual value does not
    go with the others, whether it is another."""
    try:
        return resolved(replace(given, **{name: usual})) != resolved(given)
    except ValueError:
        return getattr(given, name) != usual


def _word(key: str, value: Any) -> str:
    if value is True or value is False:
        return _safe(key if value else f"no_{key}")
    if isinstance(value, str):
        return _safe(value)
    if value is None:
        return _safe(f"{key}_none")
    if isinstance(value, (list, tuple)):
        return _safe("_".join(map(str, value)))
    return _safe(f"{SHORT.get(key, key)}{value:g}")


def _safe(word: str) -> str:
    """Letters and digits of ASCII, dots and underscores, and no more than LONGEST_WORD of them."""
    return re.sub(r"[^A-Za-z0-9._]+", "_", word)[:LONGEST_WORD].strip("._") or "_"
