"""What a table still needs: which runs, how many steps, hours on this machine, disk."""

import functools
import statistics
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import try_to_load_from_cache

from solo.adapters import METHODS
from solo.backbones.loading import load_tokenizer
from solo.backbones.shapes import is_hub_name, shape_of
from solo.cli import timing
from solo.cli.rows import Row
from solo.datasets import source_of
from solo.datasets.data import encode, read_pairs
from solo.datasets.download import count_examples
from solo.errors import in_words
from solo.runs.config import ModelConfig, RunConfig, data_file
from solo.runs.run import STATES, Run, make_run
from solo.triples import content_sha256

WORDS = {"trained": "trained, not decoded", "decoded": "decoded, not scored"}
E2E_COUNTS = {"train": 42_061, "valid": 4_672, "test": 630}  # examples; of the test set, MRs
E2E_TOKENS = {"train": 53.3, "valid": 59.2}  # mean tokens of an example, by GPT-2's tokenizer
SAMPLE = 500  # examples of a file whose tokens are counted
CHARACTERS = 4  # a token, where no tokenizer is at hand: GPT-2's has 4.2 (E2E) or 3.5 (WebNLG)
GB = 1e9


@dataclass
class Line:
    """One run: the rows it fills, how far it is, and what is left. None: not known."""

    rows: list[Row]
    state: str
    done: int
    steps: int | None
    size: float | None  # bytes that the run keeps
    key: timing.Key | None
    hours: float | None = None


def plan(rows: list[Row]) -> tuple[list[Line], list[str]]:
    """(a line for each run, what is missing first; a line of text for each row that cannot be read,
    or has no place in its backbone)."""
    shared: dict[str, list[tuple[Row, Run | None, tuple[str, int]]]] = {}
    damaged = []
    for row in rows:
        try:
            run = planned_run(row)
            state = run.state() if run else ("missing", 0)
            key = str(run.decoding if run else row.config.label)
        except Exception as error:  # one damaged run is no reason to leave the others out
            damaged.append(f"{row.config.label}: {in_words(error)}")
        else:
            shared.setdefault(key, []).append((row, run, state))
    lines = []
    for members in shared.values():
        filled, (_, _, (state, done)) = [row for row, *_ in members], members[0]
        try:
            lines.append(_line(filled, state, done))
        except ValueError as error:
            damaged.append(f"{filled[0].config.label}: {in_words(error)}")
    return sorted(lines, key=lambda line: STATES.index(line.state)), damaged


def _line(rows: list[Row], state: str, done: int) -> Line:
    """Raises ValueError where the method has no place in the backbone."""
    config, shape = rows[0].config, shape_of(rows[0].config.model.path)
    params = None if shape is None else config.method_class.n_params(shape, config.adapter)
    left = _steps_left(config, state, done, params)
    kept = None if params is None else 4 * params
    if params is not None and left == 0 and state != "missing":
        kept = 0  # it lies there already
    key = None if shape is None else timing.key_of(config, shape)
    return Line(rows, state, done, left, kept, key)


def _steps_left(config: RunConfig, state: str, done: int, params: int | None) -> int | None:
    """Training steps that are left of a run; None: not known, its data being absent."""
    if state not in ("missing", "interrupted") or params == 0:
        return 0
    count = n_examples(config, "train")
    if not count and not config.train.max_steps:
        return None if state == "missing" else 0
    return max(0, config.train.total_steps(count) - done)


def planned_run(row: Row) -> Run | None:
    """The run of a row, its data at hand or not; None where its data cannot be known."""
    try:
        return make_run(row.config, planned=True)
    except FileNotFoundError:
        return None


@functools.cache
def _count(path: Path, name: str, sha256: str) -> tuple[int, int]:
    return count_examples(path, name)


def n_examples(config: RunConfig, split: str) -> int | None:
    """Examples of a split (of the test set, MRs); of an absent E2E file, what it is known for."""
    path, data = data_file(config, split), config.data
    if path.exists():
        return _count(path, data.name, content_sha256(path))[split == "test"]
    published = data.name in ("e2e", "e2e_raw") and data.sha256.get(split)
    return E2E_COUNTS[split] if published else None


def mean_tokens(config: RunConfig, split: str) -> float:
    """Tokens of an example, by the run's tokenizer; of an absent E2E file, what it is known for."""
    path = data_file(config, split)
    if not path.exists():
        return E2E_TOKENS[split]
    return _mean_tokens(path, config.data.name, config.model.path, content_sha256(path))


@functools.cache
def _mean_tokens(path: Path, name: str, model_path: str, sha256: str) -> float:
    pairs = read_pairs(path, name)
    pairs = pairs[:: -(-len(pairs) // SAMPLE)]
    if not Path(model_path).is_dir():  # a plan fetches nothing
        return statistics.mean(len("".join(pair)) / CHARACTERS for pair in pairs)
    examples = encode(pairs, load_tokenizer(Path(model_path)))
    return statistics.mean(len(example.ids) for example in examples)


def hours(line: Line, speed: timing.Speed) -> float | None:
    """Training, validation at twice the training's speed (it goes forward only), decoding."""
    config = line.rows[0].config
    seconds = 0.0
    if line.steps is None:
        return None
    if line.steps:
        recipe = config.train
        examples, valid = n_examples(config, "train"), n_examples(config, "valid")
        if not examples or not valid:
            return None
        tokens = line.steps * recipe.batch_size * mean_tokens(config, "train")
        epochs = line.steps * recipe.batch_size / examples
        tokens += max(1, epochs) * valid * mean_tokens(config, "valid") / 2
        seconds += tokens / speed.tokens_per_s
    if line.state in STATES[:3]:
        contexts = n_examples(config, "test")
        if speed.seconds_per_mr is None or contexts is None:
            return None
        seconds += contexts * speed.seconds_per_mr
    return seconds / 3600


def fill_hours(lines: list[Line]) -> tuple[dict[timing.Key, timing.Speed], list[str]]:
    """Set every line's hours; returns the speeds that they rest on, and a line of text for each run
    that does not fit its backbone, which is seen where a run has to be timed."""
    todo = [line for line in lines if line.state != "done" and line.key]
    speeds = {}
    for directory in {line.rows[0].config.runs_dir for line in todo}:
        speeds |= timing.logged(Path(directory))
    missing: dict[timing.Key, list[RunConfig]] = {}
    for line in todo:
        if line.key not in speeds:
            missing.setdefault(line.key, []).append(line.rows[0].config)
    shapes = {key: shape_of(configs[0].model.path) for key, configs in missing.items()}
    if missing:
        print(f"timing {len(missing)} kinds of run ...", file=sys.stderr, flush=True)
    timed, unfit = timing.measure(missing, shapes)
    speeds |= timed
    for line in todo:
        if line.key in speeds:
            line.hours = hours(line, speeds[line.key])
    keys = sorted({line.key for line in todo}, key=str)
    problems = [f"{config.label}: {error}" for config, error in unfit]
    return {key: speeds[key] for key in keys if key in speeds}, problems


def absent(lines: list[Line]) -> list[str]:
    """A line for every backbone and data file that is not there."""
    found = []
    for config in (line.rows[0].config for line in lines):
        path = config.model.path
        if not Path(path).is_dir() and not _is_cached(config.model):
            shape = shape_of(path)
            size = f" ({4 * _n_weights(shape) / GB:.1f} GB)" if shape else ""
            found.append(f"backbone {path}{size}: neither a directory nor in the hub's cache")
        for split in ("train", "valid", "test"):
            file = data_file(config, split)
            if not file.exists():
                found.append(f"data {file}: {source_of(file, config.data.name).remedy}")
    return list(dict.fromkeys(found))


def _is_cached(model: ModelConfig) -> bool:
    """Whether the hub's cache has the weights."""
    name, revision = "model.safetensors", model.revision
    known = is_hub_name(model.path)
    return known and isinstance(try_to_load_from_cache(model.path, name, revision=revision), str)


def _n_weights(shape) -> int:
    return METHODS["full"].n_params(shape, None)


def number(value: float | None, text: str = "{:,}") -> str:
    return "?" if value is None else text.format(value)


def report(lines: list[Line]) -> str:
    """The plan as aligned text, with its totals; unknown figures count as 0 in them."""
    width = max((len(row.config.label) for line in lines for row in line.rows), default=0) + 2
    out = [f"{'row':{width}}{'state':22}{'steps left':>11}{'hours':>9}{'keeps':>13}"]
    for line in lines:
        state = WORDS.get(line.state, line.state)
        if line.state == "interrupted":
            state += f" at {line.done:,}"
        size = None if line.size is None else line.size / 1e6
        time = "-" if line.state == "done" else number(line.hours, "{:.2f}")
        figures = f"{number(line.steps):>11}{time:>9}"
        figures += f"{number(size, '{:,.1f} MB'):>13}"
        out.append(f"{line.rows[0].config.label:{width}}{state:22}{figures}")
        out += [f"{row.config.label:{width}}the same run" for row in line.rows[1:]]
    states = Counter(line.state for line in lines)
    n_rows = sum(len(line.rows) for line in lines)
    counts = ", ".join(
        f"{states[state]} {WORDS.get(state, state)}" for state in STATES if states[state]
    )
    steps, time = (sum(getattr(line, name) or 0 for line in lines) for name in ("steps", "hours"))
    kept = sum(line.size or 0 for line in lines)
    largest = max((line.size or 0 for line in lines), default=0)
    out.append(f"\n{n_rows} rows, {len(lines)} runs: {counts}")
    timed = any(line.hours is not None for line in lines)
    length = f"{time:,.1f} hours one after the other" if timed else "hours not known"
    out.append(f"left: {steps:,} steps, {length}")
    out.append(f"disk: {kept / GB:.2f} GB kept; up to {3 * largest / GB:.2f} GB more for the state")
    return "\n".join(out)
