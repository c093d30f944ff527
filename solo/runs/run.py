"""A run: its configuration, what it is known by, its directory, and how far it is.

The directory carries the name that the identity of the training gives, so that runs with other
settings never meet, and a stage whose output is there is not run again. Each decoding of a trained
run has a directory of its own below it, decode/NAME: runs that differ only in what comes after
training share the training by being the same run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from solo.errors import damaged
from solo.files import clean, read_json, read_yaml, to_yaml, write_json, write_text
from solo.options import check
from solo.run_files import CONFIG, ENVIRONMENT, FOUND, IDENTITY, NEXT, PREDICTIONS, ROWS, STATE
from solo.runs import checkpoint, naming, record
from solo.runs.config import RunConfig, from_values, to_values
from solo.runs.identity import (
    VERSION,
    check_same_model,
    decoding_identity,
    same,
    short_name,
    training_identity,
)
from solo.runs.memory import check_memory
from solo.training.state import read_counters
from solo.training.tracking import check_tracker

STATES = ("missing", "interrupted", "trained", "decoded", "done")


@dataclass(frozen=True)
class Run:
    """config; identity: what decides the trained weights; directory: where everything of it is."""

    config: RunConfig
    identity: dict[str, Any]
    directory: Path
    planned: bool = False

    @property
    def name(self) -> str:
        """The short name of the identity."""
        return short_name(self.identity)

    @cached_property
    def decoding(self) -> Path:
        """The directory of the configured decoding of the configured test file."""
        identity = decoding_identity(self.config, self.planned)
        return self.directory / "decode" / short_name(identity)

    def state(self) -> tuple[str, int]:
        """How far the run is, one of STATES, and the training steps behind it; from files alone."""
        trained = checkpoint.trained(self.directory)
        if trained:
            reached = "trained"
            if decoded := self.decoded():
                scored = record.stage_record(self.decoding, "evaluate")
                of = (scored or {}).get("inputs", {}).get(PREDICTIONS, decoded.get("sha256"))
                # a kill between decoding anew and scoring leaves scores of the former outputs
                reached = "done" if scored and of == decoded.get("sha256") else "decoded"
            steps = trained.get("steps")
            if not isinstance(steps, int):
                raise damaged(self.directory / ENVIRONMENT, f"steps is {steps!r}")
            return reached, steps
        saved = self.directory / STATE
        if saved.exists():
            return "interrupted", read_counters(saved)["step"]
        return "missing", 0

    def decoded(self) -> dict | None:
        """The record of the finished decoding; None without one, or where the run was trained anew
        since and ended with other weights."""
        entry = record.stage_record(self.decoding, "decode")
        if entry is None:
            return None
        saved = checkpoint.read_saved(self.directory)
        return entry if entry.get("weights_sha256") == saved["weights_sha256"] else None

    def is_finished(self) -> bool:
        """Whether the run is trained and nothing of its training is left to tidy up."""
        left = any((self.directory / name).exists() for name in (STATE, NEXT))
        return bool(checkpoint.trained(self.directory)) and not left

    @contextmanager
    def lock(self, wait: bool = False) -> Iterator[None]:
        """Hold the run; RuntimeError if another process has made it under another name meanwhile,
        and at once, unless this one is to `wait`, if another has it in use. Incomplete files that
        a killed process left in it are removed."""
        with record.lock(self.directory, naming.hash_of(self.directory), wait) as first:
            if first and (self.directory / IDENTITY).is_file():  # it is a run's
                for place in (self.directory, *self.directory.glob("decode/*/")):
                    clean(place)
            if naming.hash_of(self.directory) == self.name:
                other = naming.find(self.directory.parent, self.name) or self.directory
                if other.name != self.directory.name:
                    raise RuntimeError(f"{other} is this run, made meanwhile; start again")
            yield

    @contextmanager
    def stage(self, name: str) -> Iterator[dict]:
        """Time a stage and write its entry into environment.json when, and only when, it succeeds.

        Yields a dict to which the stage adds what it wants recorded. The directory is made first,
        with its identity and its configuration. Raises ValueError if a file that the identity
        rests on was changed since the run was made: in a sweep that may be long ago.
        """
        trains = name == "train"
        place = self.directory if trains else self.decoding
        if trains:
            unchanged = self.identity | training_identity(self.config) == self.identity
        else:
            model = self.config.model
            if name == "decode":
                check_same_model(self.identity["model"], model.path, model.revision)
            identity = decoding_identity(self.config)
            unchanged = short_name(identity) == place.name
        check(unchanged, f"the data or the backbone of {place} was changed meanwhile; start again")
        resumed = (place / (STATE if trains else FOUND)).exists()
        place.mkdir(parents=True, exist_ok=True)
        if trains:
            write_json(place / IDENTITY, {"version": VERSION, "training": self.identity})
            write_text(place / CONFIG, to_yaml(to_values(self.config)))
        else:
            write_json(place / IDENTITY, {"version": VERSION} | identity)
        with record.stage(place, name) as entry:
            if resumed:
                entry["resumed"] = True  # its seconds are those since then
            yield entry

    def note_row(self, row: str) -> None:
        """Note that the run fills a table row; one run may fill rows of several tables, for several
        processes. Waits for one that has the run in use."""
        path = self.directory / ROWS

        def rows() -> list:
            return read_json(path, kind=list) if path.exists() else []

        if row not in rows():
            with self.lock(wait=True):
                if row not in (known := rows()):
                    write_json(path, [*known, row])


def make_run(config: RunConfig, planned: bool = False) -> Run:
    """The run that `config` describes, in `config.output_dir` or below `config.runs_dir`.

    Checks the whole configuration on the way, before any work. With `planned`, the run may be for
    another machine: its memory does not count, and a data file that is not there is taken to have
    the checksum that the configuration names. Raises ValueError if the directory holds a run of
    another identity, or something that is no run, and what check_memory, check_tracker and
    training_identity raise.
    """
    if not planned:
        check_memory(config)
        check_tracker(config.train.tracker)
    identity = training_identity(config, planned)
    name, folder = short_name(identity), Path(config.runs_dir)
    found = None if config.output_dir else naming.find(folder, name)
    place = found or folder / f"{naming.words(config)}-{name}"
    directory = Path(config.output_dir or place)
    saved = directory / IDENTITY
    if saved.exists() and not same(read_identity(directory), identity):
        raise ValueError(
            f"{directory} holds the run of another configuration; choose another output_dir"
        )
    if directory.exists() and not saved.exists():
        check(directory.is_dir(), f"{directory} is no folder; a run needs one")
        check(
            all(path.name[0] == "." for path in directory.iterdir()),
            f"{directory} holds files that are no run's; choose another output_dir, or move them "
            "away",
        )
    return Run(config, identity, directory, planned)


def open_run(directory: Path, config: RunConfig | None = None) -> Run:
    """The trained run in a directory, with the configuration in its files or another `config`.

    Raises FileNotFoundError if nothing is trained there, ValueError for damaged files.
    """
    directory = Path(directory)
    if not checkpoint.trained(directory):
        if directory.is_file():
            raise FileNotFoundError(f"{directory} is a packed run, which has no weights")
        raise FileNotFoundError(
            f"{directory} holds no trained run; train it first (scripts/train.py), or set run=DIR"
        )
    identity = read_identity(directory)
    return Run(config or read_config(directory / CONFIG), identity, directory)


def read_identity(directory: Path) -> dict[str, Any]:
    """What decided the weights of the run in a directory. Raises ValueError for a damaged file."""
    path = directory / IDENTITY
    identity = read_json(path, ["training"])["training"]
    if not isinstance(identity, dict):
        raise damaged(path, f"training is {identity!r}")
    return identity


def read_config(path: Path) -> RunConfig:
    """The configuration in a file that a run wrote. Raises ValueError, with the file's name, for
    whatever is wrong in it."""
    values = read_yaml(path)
    if not isinstance(values, dict):
        raise damaged(path, "it holds no groups of options")
    try:
        return from_values(values)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
