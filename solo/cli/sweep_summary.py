"""What scripts/run.py tells of the runs that it finished: a table, and a picture of what varied."""

from collections.abc import Sequence

import pandas as pd

from eval.metrics import ALL
from eval.tables.style import BLUE, plt, save
from solo.cli.command import say
from solo.cli.listing import by_score, first_score, frame_of, rendered, varying
from solo.files import as_typed, check_output, write_output
from solo.runs.run import Run


def summary(runs: Sequence[Run]) -> tuple[str, list[str], str]:
    """(scores of finished runs as a table, with what varied as columns; the paths to be told; the
    command that looks at these runs). One that cannot be read is told.

    Where one number varied, and nothing else but the seed, a picture of the first score over it is
    made beside the runs.
    """
    pairs = {run.decoding: (run.directory, run.decoding) for run in runs}.values()
    frame, left_out = frame_of(pairs)
    for line in left_out:
        say(line)
    if frame.empty:
        return "", [], "python scripts/runs.py --help"
    columns = varying(frame) if len(frame) > 1 else ["settings"]
    text, paths = rendered(frame, columns), [*frame["directory"]]
    score, folder = first_score(frame.columns), runs[0].directory.parent
    numeric = [c for c in ("lr", *columns) if frame[c].nunique() > 1 and _is_numeric(frame[c])]
    if score and len(numeric) == 1 and {*columns} <= {*numeric}:
        [column] = numeric
        path = folder / f"{score.replace(' ', '_')}_over_{column}.png"
        try:
            check_output(path)
        except ValueError as error:
            say(f"note: no picture of {score} over {column}: {error}")
        else:
            figure = score_over(frame, score, column)
            write_output(path, lambda temporary: save(figure, temporary))
            paths.insert(0, as_typed(path))
    return text, paths, by_score(as_typed(folder), score)


def _is_numeric(values: pd.Series) -> bool:
    return all(type(value) in (int, float) for value in values)


def score_over(frame: pd.DataFrame, score: str, column: str):
    """A score of every run over the option that varied, and a line through the means."""
    figure, axis = plt.subplots(figsize=(5, 3.6), layout="tight")
    points = frame[[column, score]].astype(float)
    points[score] *= ALL[score].scale
    axis.plot(points[column], points[score], "o", color=BLUE, alpha=0.6)
    axis.plot(points.groupby(column)[score].mean(), color=BLUE, linewidth=1)
    axis.set(xlabel=column, ylabel=score)
    if points[column].min() > 0 and points[column].max() / points[column].min() >= 10:
        axis.set_xscale("log")
    return figure
