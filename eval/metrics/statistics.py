"""What a corpus score needs of each segment, so that any resample of segments is a sum of rows.

Statistics are a dictionary: {metric: [segments, columns of the metric]}. In a file they come with
the columns' names; a metric whose columns are others today, or are not there, is left out, and the
rest can be used. Of a metric of a part of the segments the file holds which segments these are.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from solo.files import write_text

from . import ALL

Statistics = dict[str, np.ndarray]


def scores(statistics: Statistics, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The scores of weighted corpora, by metric, each [corpora] on the scale of the JSON files.

    weights: [corpora, segments], how often each segment is taken. NaN: none of a metric's part is.
    """
    size, computed = weights.sum(1), {}
    with np.errstate(divide="ignore", invalid="ignore"):
        for name, rows in statistics.items():
            rows = np.ascontiguousarray(rows)  # the layout would decide the sums' last digit
            computed[name] = ALL[name].from_sums(weights @ rows, size)
            if ALL[name].part:  # of which a resample may have no segment
                drawn = weights @ (rows != 0).any(1)
                computed[name] = np.where(drawn > 0, computed[name], np.nan)
    return computed


def save(
    path: Path, statistics: Statistics, sources: Sequence[str], inputs: dict[str, str]
) -> None:
    """Write statistics as JSON, with the MRs and the sha256 of what they were computed from."""
    content = content_of(statistics, inputs) | {"sources": list(sources)}
    write_text(Path(path), json.dumps(content, ensure_ascii=False) + "\n")


def content_of(statistics: Statistics, inputs: dict[str, str]) -> dict:
    """What a file of statistics holds, without the MRs."""
    whole = {name: rows for name, rows in statistics.items() if ALL[name].part is None}
    content = {
        "inputs": inputs,
        "columns": {name: ALL[name].columns for name in whole},
        "rows": {name: rows.tolist() for name, rows in whole.items()},
    }
    if parts := _parts(statistics):
        content["parts"] = {name: taken.astype(int).tolist() for name, taken in parts.items()}
    return content


def _parts(statistics: Statistics) -> dict[str, np.ndarray]:
    """By the name of a part, which segments are in it: those with a row that is not all zeros.

    A segment whose rows are all zeros changes nothing, whatever part it is in.
    """
    parts: dict[str, np.ndarray] = {}
    for name, rows in statistics.items():
        if part := ALL[name].part:
            parts[part.name] = parts.get(part.name, False) | (rows != 0).any(1)
    return parts


def read(path: Path, inputs: dict[str, str]) -> tuple[Statistics, list[str]] | None:
    """(statistics, MRs) as saved; None if there are none for these inputs, or a damaged file."""
    if not Path(path).is_file():
        return None
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except ValueError:
        return None
    return usable(content, inputs)


def usable(content: dict, inputs: dict[str, str]) -> tuple[Statistics, list[str]] | None:
    """The same from a file's content: the metrics whose columns are those of today."""
    try:
        if content["inputs"] != inputs:
            return None
        sources, statistics = content["sources"], {}
        for name, metric in ALL.items():
            if metric.part:
                taken = content.get("parts", {}).get(metric.part.name)
                if taken is not None and metric.part.of in statistics:
                    column = np.array(taken, float).reshape(len(sources), 1)
                    statistics[name] = statistics[metric.part.of] * column
            elif content["columns"].get(name) == list(metric.columns):
                shape = (len(sources), len(metric.columns))
                statistics[name] = np.array(content["rows"][name], float).reshape(shape)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None
    return (statistics, sources) if statistics else None
