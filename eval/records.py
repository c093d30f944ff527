"""The files of a run, read with suspicion: what is damaged or cannot be is a ValueError.

A run is a directory, or packed (eval/tables/packed.py): NAME.json, a mapping from the names of its
files to what they hold, with its predictions beside it in NAME.tsv.
"""

import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
import yaml

from solo.errors import damaged
from solo.files import check_output, once_read, plain_yaml
from solo.run_files import CONFIG, LOG, PREDICTIONS, ROWS, SCORES, STATISTICS

from .command import check_folder
from .metrics import ALL, METRICS
from .metrics.statistics import Statistics
from .metrics.statistics import scores as statistics_scores

DIGEST = re.compile("[0-9a-f]{12}")  # of an MR, in its place (pack_run.py --hide-mrs)
NUMBER = (int, float)
Check = Callable[[object], bool]


def hidden(sources: Sequence[str]) -> bool:
    """Whether digests stand in the place of all these MRs."""
    return all(map(DIGEST.fullmatch, sources))


def whole(lowest: int) -> Check:
    return lambda value: type(value) is int and lowest <= value < 2**63


def text(value: object) -> bool:
    return isinstance(value, str)


def text_or_none(value: object) -> bool:
    return value is None or text(value)


def seed(value: object) -> bool:
    return type(value) is int and 0 <= value < 2**32  # what every random generator takes


def number(value: object) -> bool:
    return type(value) in NUMBER and abs(value) < 1e30  # what pictures can draw


def rate(value: object) -> bool:
    return type(value) in NUMBER and 0 <= value < 1e6


def decodings(directory: Path) -> list[Path]:
    """The decodings in a run's directory, in the order of their names."""
    return sorted(path for path in Path(directory).glob("decode/[!.]*/") if path.is_dir())


def is_packed(run: Path) -> bool:
    """Whether a run is a packed one, by its name; a run directory's has no such ending."""
    return Path(run).suffix == ".json"


def holds_run(path: Path) -> bool:
    """Whether a file is a packed run by what it holds."""
    try:
        return is_packed(path) and CONFIG in _packed(path)
    except (OSError, ValueError, TypeError):
        return False


def check_result(option: str, path: Path, inputs: Iterable[Path], force: bool) -> None:
    """Refuse a place that cannot be written to, or where something would be lost: what
    check_output refuses, and either file of a packed run."""
    check_folder(option, path)
    check_output(path, inputs, force)
    for run in (path, path.with_suffix(".json")):
        if path.exists() and run.is_file() and holds_run(run):
            raise ValueError(f"{path} is a packed run's; name another output")


def predictions_of(run: Path) -> Path:
    """The file of predictions of a packed run or of a decoding's directory."""
    return run.with_suffix(".tsv") if is_packed(run) else run / PREDICTIONS


def outputs_in(path: Path) -> list[Path]:
    """The predictions of a run, packed or not, of all its decodings; [] for what is no run."""
    places = [path, *decodings(path)] if path.is_dir() or holds_run(path) else []
    return [file for file in map(predictions_of, places) if file.is_file()]


def read_checked(directory: Path, name: str, wanted: dict[str, Check]) -> dict:
    """A file's content. Raises ValueError unless it holds every path ("train/steps") of `wanted`
    with a value that passes its check; FileNotFoundError without the file."""
    content = read(directory, name)
    for path, check in wanted.items():
        value = content
        for key in path.split("/"):
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"{name} has no {path}")
            value = value[key]
        if not check(value):
            raise damaged(name, f"{path} is {word(value)}")
    return content


def read(run: Path, name: str):
    """What a JSON or YAML file of a run holds. ValueError if it is damaged or a packed run has no
    such part, FileNotFoundError if a directory has no such file."""
    if is_packed(run):
        parts = _packed(run)
        if not isinstance(parts, dict) or name not in parts:
            raise ValueError(f"{run.name} has no {name}; pack its run again")
        return parts[name]
    return _load(run / name)


@once_read(128)  # a megabyte each; what reads a study reads each of its runs many times
def _packed(path: Path):
    return _load(path)


def _load(path: Path):
    try:
        content = path.read_text(encoding="utf-8")
        if path.suffix != ".yaml":
            return json.loads(content)
        return plain_yaml(content)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise damaged(path.name, error) from error


def read_scores(run: Path) -> dict[str, float]:
    """The scores by metric, those that are there; ValueError for one that its metric cannot have,
    and if there is none."""
    content, scores = read(run, SCORES), {}
    for key, metric in ALL.items():
        if isinstance(content, dict) and key in content:
            value = content[key]
            if type(value) not in NUMBER or not metric.allows(value):
                lowest, highest = metric.limits
                what = f"{key} is {word(value)}; from {lowest} to {highest} can be"
                raise damaged(SCORES, what)
            scores[key] = float(value)
    if not scores:
        raise ValueError(f"{SCORES} has no score of {', '.join(METRICS)}")
    return scores


def contradiction(scores: dict[str, float], statistics: Statistics) -> str | None:
    """The first score that is not what the segments' statistics give, in words; None: all are."""
    size = max(map(len, statistics.values()))
    for name, [value] in statistics_scores(statistics, np.ones((1, size))).items():
        if name in scores and not math.isclose(scores[name], value, rel_tol=1e-6, abs_tol=1e-6):
            return f"{SCORES} has {name} {scores[name]:.4f}, {STATISTICS} gives {value:.4f}"
    return None


def read_log(run: Path) -> list[dict]:
    """The entries of a run's training log. Raises ValueError for a damaged line."""
    try:
        if is_packed(run):
            log = list(read(run, LOG))
        else:
            lines = (Path(run) / LOG).read_text(encoding="utf-8").splitlines()
            log = [_entry(number, line) for number, line in enumerate(lines, 1)]
    except (ValueError, TypeError) as error:
        raise damaged(LOG, error) from error
    for line, entry in enumerate(log, 1):
        if not isinstance(entry, dict) or not whole(0)(entry.get("step")):
            raise damaged(LOG, f"line {line} has no step")
        for name, value in entry.items():
            if ("loss" in name or "lambda" in name) and not number(value):
                raise damaged(LOG, f"line {line}: {name} is {word(value)}")
    return log


def _entry(number: int, line: str):
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"line {number} is no JSON") from error


def last_values(run: Path) -> dict:
    """By its name in the log, what a run's training ended with: step, loss, valid_loss, ..."""
    return {name: value for entry in read_log(run) for name, value in entry.items()}


def lambdas_of(values: dict) -> list[float]:
    """The lambdas among the values of a log, in the order of their connections."""
    return [value for name, value in values.items() if name.startswith("lambda/")]


def read_rows(run: Path) -> list[str]:
    """The rows that a run was made for, none without the file; ValueError if it is damaged."""
    try:
        rows = read(run, ROWS)
    except FileNotFoundError:
        return []
    if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
        raise damaged(ROWS, "it is no list of rows")
    return rows


def word(value) -> str:
    """A value as a short word of a message."""
    written = json.dumps(value).replace('"', "")
    return written if len(written) <= 40 else f"{written[:40]}..."


def hash_of(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()
