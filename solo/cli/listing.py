"""Runs as a table: what each does otherwise than the defaults, how far it is, its scores."""

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from eval import latex, records
from eval.metrics import ALL
from eval.tables.checks import checked_scores
from eval.tables.runs import SCORED, decodings_of, reason
from solo.cli.terminal import aligned, width
from solo.files import as_typed
from solo.options import check
from solo.run_files import CONFIG, ENVIRONMENT, IDENTITY, PREDICTIONS
from solo.runs import naming
from solo.runs.config import DecodeConfig, RunConfig, from_values
from solo.runs.identity import NO_EFFECT, NO_EFFECT_ON_OUTPUTS

NO_SETTING = {f"train.{name}" for name in NO_EFFECT}
NO_SETTING |= {f"decode.{name}" for name in NO_EFFECT_ON_OUTPUTS}
FIXED = ("run", "state", "parameters", "lr", "seed", "valid_loss")  # before the scores
STAGES = {"evaluate": "done", "decode": "decoded", "train": "trained"}


def read_folder(folder: Path) -> tuple[pd.DataFrame, list[str]]:
    """(a row for each run and each of its decodings, a line for each that cannot be read).

    Columns: run (its name), state, settings (what differs from the defaults, in words), parameters,
    lr, seed, valid_loss, the scores as tables show them, every option by its full name, directory.
    What a run does not have is NaN. Raises FileNotFoundError if there is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder; name one that holds runs")
    return frame_of(decodings_of(folder))


def frame_of(runs: Iterable[tuple[Path, Path]]) -> tuple[pd.DataFrame, list[str]]:
    """The same for runs that are named: (training, decoding) of each."""
    rows, unread = [], []
    for directory, decoding in runs:
        try:
            rows.append(row_of(directory, decoding))
        except (OSError, ValueError) as error:
            unread.append(f"{as_typed(decoding)}: left out, {reason(error)}")
        except (TypeError, KeyError, AttributeError) as error:  # it holds something else
            unread.append(f"{as_typed(decoding)}: left out, it is no run's ({reason(error)})")
    return pd.DataFrame(rows, dtype=object), unread  # as they are: no 8 becomes 8.0


def row_of(directory: Path, decoding: Path) -> dict[str, Any]:
    """The row of a run directory, or of a packed run, with one of its decodings."""
    config = config_of(directory, decoding)
    stages = _stages(directory) | _stages(decoding)
    state = next((word for stage, word in STAGES.items() if stage in stages), "interrupted")
    last = records.last_values(directory) if "train" in stages else {}
    scores = _scores(decoding) if state == "done" else {}
    return {
        "run": directory.stem if records.is_packed(directory) else directory.name,
        "state": state,
        "settings": in_words(config),
        "parameters": stages.get("train", {}).get("n_params"),
        "lr": config.train.lr,
        "seed": config.seed,
        "valid_loss": last.get("valid_loss"),
        **{name: scores[name] for name in ALL if name in scores},
        **options_of(config),
        **_origins(directory, decoding),
        "references": _references(stages),
        "directory": as_typed(decoding),
    }


def config_of(directory: Path, decoding: Path) -> RunConfig:
    """The configuration of a training with the settings that one of its decodings was made with.

    Raises what reading raises, ValueError for options that today's code does not take.
    """
    values = dict(records.read(directory, CONFIG))
    decoded = _identity(decoding).get("decode", {})
    return from_values(values | {"decode": values.get("decode", {}) | decoded})


def _scores(decoding: Path) -> dict[str, float]:
    """ValueError for scores that tables would not take."""
    scores, _, _ = checked_scores(decoding, records.read_checked(decoding, ENVIRONMENT, SCORED))
    return scores


def _stages(place: Path) -> dict:
    try:
        return records.read(place, ENVIRONMENT)
    except FileNotFoundError:
        return {}


def _references(stages: dict) -> str | None:
    """The first digits of the checksum of what a run was scored against."""
    inputs = stages.get("evaluate", {}).get("inputs", {})
    return next((sum_[:8] for name, sum_ in inputs.items() if name != PREDICTIONS), None)


def _origins(directory: Path, decoding: Path) -> dict[str, Any]:
    """What no option tells: the files of its data, by the first digits of their checksums."""
    made = _identity(directory).get("training", {})
    files = made.get("data", {}) | {"test": _identity(decoding).get("test")}
    splits = [split for split in ("train", "valid", "test") if files.get(split)]
    return {f"data.{split}": files[split][:8] for split in splits}


def _identity(place: Path) -> dict:
    try:
        return records.read(place, IDENTITY)
    except FileNotFoundError:  # not begun, or not decoded
        return {}


def options_of(config: RunConfig) -> dict[str, Any]:
    """Every option that is a setting, by its full name."""
    options = {"model": Path(config.model.path).name, "data": config.data.name}
    options["adapter"] = config.method
    for group in ("adapter", "train", "decode"):
        values = asdict(getattr(config, group))
        options |= {f"{group}.{key}": value for key, value in values.items()}
    return {key: value for key, value in options.items() if key not in NO_SETTING}


def in_words(config: RunConfig) -> str:
    """The method, backbone and data set, and the options that are not the classes' defaults.

    The learning rate, which has a column of its own, is left out.
    """
    options, default = options_of(config), asdict(DecodeConfig())
    other = naming.differences(config)
    other |= {
        f"decode.{key}": options[f"decode.{key}"]
        for key in default
        if options.get(f"decode.{key}", default[key]) != default[key]
    }
    words = [options[key] for key in ("adapter", "model", "data")]
    words += [f"{k.split('.')[1]}={value}" for k, value in other.items() if k != "train.lr"]
    return " ".join(words)


def chosen(frame: pd.DataFrame, where: list[str], sort: str | None) -> pd.DataFrame:
    """The rows with every KEY=VALUE of `where`, in the order of a column.

    KEY is a column; VALUE is compared as a number with numbers, else as text. Scores and parameters
    go from high to low. Raises ValueError for a column that is not there, and if no run is left.
    """
    for condition in where:
        key, equals, value = condition.partition("=")
        check(bool(equals), f"--where {condition} must be KEY=VALUE, as in adapter.rank=64")
        column = _column(frame, key)
        found = frame[column.map(lambda own, value=value: _is(own, value))]
        known = ", ".join(sorted({str(own) for own in column if not _is_absent(own)}))
        check(not found.empty, f"no run has {condition}; there {key} is {known}")
        frame = found
    if sort:
        metric = ALL.get(sort)
        falling = not metric.lower_is_better if metric else sort == "parameters"
        frame = frame.loc[_column(frame, sort).sort_values(ascending=not falling).index]
    return frame


def _is(own: Any, value: str) -> bool:
    if type(own) in (int, float):
        try:
            return float(value) == own
        except ValueError:
            return False
    return str(own) == value or (isinstance(own, bool) and yaml.safe_load(value) is own)


def _column(frame: pd.DataFrame, key: str) -> pd.Series:
    known = ", ".join(column for column in frame.columns if "." not in column)
    check(key in frame.columns, f"no run has a {key!r}; known: {known}, or an option by its name")
    return frame[key]


def varying(frame: pd.DataFrame) -> list[str]:
    """The options in which the runs differ, the learning rate and the seed, which stand apart; and
    the references."""
    whole = ("model", "data", "adapter", "references")
    options = [c for c in frame.columns if "." in c or c in whole]
    options = [c for c in options if c != "train.lr"]
    return [c for c in options if frame[c][~frame[c].map(_is_absent)].map(repr).nunique() > 1]


def _is_absent(value: Any) -> bool:
    """Whether a run has no such option, NaN; None is what an option can be."""
    return isinstance(value, float) and value != value


def comparable(frame: pd.DataFrame) -> list[str]:
    """The first two runs that were scored against one file, as `eval.compare` takes them; else [].

    Runs are grouped by the checksum of their references, too: every data set of one's own is called
    `own`. A run with one decoding is named by its training.
    """
    done = frame[frame["state"] == "done"]
    trainings = done["directory"].map(lambda place: place.split("/decode/")[0])
    single = ~trainings.duplicated(keep=False)
    named = done["directory"].where(~single, trainings)
    alike = named.groupby([done["data"], done["references"]], sort=False, dropna=False)
    groups = [list(names[:2]) for _, names in alike]
    return next((names for names in groups if len(names) == 2), [])


def following(frame: pd.DataFrame) -> str:
    """The command to type after a list: to compare two of the runs, else to bring one further."""
    if pair := comparable(frame):
        return shlex.join(["python", "-m", "eval.compare", *pair])
    for state, script in (("decoded", "evaluate"), ("trained", "decode")):
        for place in frame["directory"][frame["state"] == state]:
            run = place.split("/decode/")[0]
            return shlex.join(["python", f"scripts/{script}.py", f"run={run}"])
    return "python scripts/report.py"


def first_score(names: Iterable[str]) -> str | None:
    """The metric by which runs are compared first: BLEU, or that of another set of metrics; None
    where there is none."""
    names = set(names)
    return next((name for name in ALL if name in names), None)


def by_score(runs_dir: str | Path, score: str | None) -> str:
    """The command that lists the runs there, by a score if they have one."""
    order = ["--sort", score] if score else []
    return shlex.join(["python", "scripts/runs.py", str(runs_dir), *order])


def rendered(frame: pd.DataFrame, columns: list[str], form: str = "text") -> str:
    """The columns as text for a terminal, CSV or LaTeX; what is missing shows as a dash. In CSV
    scores are on the official script's scale, as in every CSV here.

    As text a run is called by its hash, and its directory and its settings, where they are among
    the columns, stand below its figures.
    """
    scores = [name for name in ALL if name in frame]
    directories = frame["directory"]
    frame = frame[[*FIXED[:2], *columns, *FIXED[2:], *scores, *(["directory"] * (form == "csv"))]]
    if form == "csv":
        return frame.to_csv(index=False)
    shown_as = {name: ALL[name].shown for name in scores} | {"valid_loss": "{:.3f}".format}
    shown_as |= {"lr": "{:g}".format, "parameters": "{:,.0f}".format}
    if form == "text":
        shown_as["run"] = lambda name: naming.hash_of(Path(name)) or name
    cells = frame.astype(object).where(frame.notna(), None)
    for key in cells:
        cells[key] = cells[key].map(
            lambda value, key=key: "-" if value is None else shown_as.get(key, str)(value)
        )
    if form == "latex":
        lines = (latex.tex_row(map(str, values)) for values in cells.itertuples(index=False))
        return latex.tabular("l" * len(cells.columns), list(cells.columns), lines)
    notes = []
    for directory, settings in zip(directories, cells.get("settings", directories), strict=True):
        notes.append([directory.split("/decode/")[0], settings] if "settings" in cells else [])
    figures, left_out = _narrow(cells.drop(columns="settings", errors="ignore"), scores)
    lines = aligned([list(figures), *figures.values.tolist()], width(), notes)
    lines += [f"left out for room: {', '.join(left_out)}; --csv has all"] if left_out else []
    return "\n".join(lines)


def _narrow(cells: pd.DataFrame, scores: Sequence[str]) -> tuple[pd.DataFrame, list[str]]:
    """(the columns that a line of the terminal has room for, the others): what all runs have alike
    goes first, then the last scores."""
    alike = [c for c in ("state", "seed", "valid_loss", "lr") if cells[c].nunique() == 1]
    left_out: list[str] = []
    for column in [*alike, *scores[:0:-1]]:
        rest = cells.drop(columns=left_out)
        if sum(max(len(c), *map(len, rest[c])) + 1 for c in rest) - 1 <= width():
            break
        left_out.append(column)
    return cells.drop(columns=left_out), left_out
