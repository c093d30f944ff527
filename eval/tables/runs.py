"""Finished runs, read from their files alone, and what marks a run as no reproduction.

A run counts as a reproduction of a row only with the hub's GPT-2 weights of the row's size, the
row's settings (the learning rate is free: the paper prints none), trained to the end on the whole
of the row's data set, decoded on its whole test set and scored against its references. Every other
run carries the reasons as marks. Precision is such a setting: a run in bf16 never stands among
those in fp32.

A finished run is a training and one decoding of it: a directory with decode/HASH/ in it for every
decoding, or a packed run, one JSON for both (eval/records.py).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from solo.files import as_typed
from solo.run_files import CONFIG, ENVIRONMENT, IDENTITY, LOG

from .. import records
from ..bootstrap import Outputs
from ..compare import kept
from ..records import rate, read_checked, seed, text, text_or_none, whole, word
from .checks import check_adapter, checked_scores

TEST_SETS = {  # by kind of data: the name of the published set, its test MRs
    "e2e": ("E2E", 630),
    "e2e_raw": ("E2E", 630),
    "e2e_clean": ("the cleaned E2E", 1847),
    "webnlg": ("WebNLG", 1862),
}
HUB_NAMES = {"openai-community/gpt2": "GPT-2 S", "openai-community/gpt2-medium": "GPT-2 M"}
FREE = ("adapter.variant", "train.lr", "train.max_steps")  # shown, or marked as partial training
Doubt = Callable[[dict, dict, dict], str | None]
STAGES = ("train", "decode", "evaluate")
# What the files of a finished run hold, at least.
TRAINED = {
    "train/steps": whole(0), "train/planned_steps": whole(0), "train/n_params": whole(0),
    "train/backbone/path": text, "train/backbone/sha256": text,
    "train/backbone/file_sha256": text, "train/backbone/stand_in": text_or_none,
}  # fmt: skip
TRAINING = {
    "training/seed": seed, "training/adapter/name": text, "training/train/lr": rate,
    "training/train/precision": text, "training/data/train": text, "training/data/valid": text,
}  # fmt: skip
SCORED = {
    "decode/n_predictions": whole(0), "decode/sha256": text,
    "evaluate/inputs/predictions.tsv": text,
}  # fmt: skip
DECODING = {"decode/beam": whole(1), "test": text, "test_kind": text}


@dataclass(frozen=True)
class Run:
    """A finished run.

    directory: of the training; decoding: of the predictions and scores, both the JSON of a packed
    run; name: as tables call it; rows: what it was run for; variant: None for a method without
    variants; scores: official scale, by metric, without those that it was not scored with; marks:
    why it reproduces no row at all, empty if nothing stands against it; weights: sha256 of the
    backbone; key: which configuration on which weights, seed included; group: the same without the
    seed and `shared_draws` (groups_of); options: what a row's settings are compared with;
    data_name: the kind of its test file; backbone: its path as given.
    """

    directory: Path
    decoding: Path
    name: str
    rows: list[str]
    variant: str | None
    seed: int
    lr: float
    n_params: int
    scores: dict[str, float]
    marks: list[str]
    weights: str
    key: str
    group: str
    options: dict
    data_name: str
    backbone: str

    @cached_property
    def outputs(self) -> Outputs | None:
        """The statistics of its predictions, None where evaluation left none."""
        return kept(self.decoding)


def read_runs(
    runs_dir: Path, reported: dict, doubt: Doubt = lambda *parts: None
) -> tuple[list[Run], list[str]]:
    """(finished runs, a line for each directory left out), in the order of their names.

    `reported` is eval/tables/paper.yaml, which knows the hub's weights. A directory that is
    corrupt, half written or not evaluated yet is left out, with its path and the reason.
    `doubt(training, adapter, train)`, given the identity's training, the adapter's options and the
    record of the training, may return a reason, too. Of two directories that hold the same run the
    first counts. Raises ValueError that names both if their results differ.
    """
    runs, left_out = {}, []
    for directory, decoding in decodings_of(runs_dir):
        try:
            run = read_run(directory, decoding, reported, doubt)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            left_out.append(f"{as_typed(decoding)}: left out, {reason(error)}")
            continue
        twin = runs.setdefault(run.key, run)
        for name in twin.scores.keys() & run.scores.keys():
            if twin.scores[name] != run.scores[name]:
                raise ValueError(
                    f"{as_typed(twin.decoding)} and {as_typed(decoding)} are runs of one "
                    f"configuration and seed with different results ({name} "
                    f"{twin.scores[name]:.4f} and {run.scores[name]:.4f}); find out why, and move "
                    "one of them elsewhere"
                )
        if run.rows != twin.rows:
            twin.rows.extend(row for row in run.rows if row not in twin.rows)
    return list(runs.values()), left_out


def noted_rows(runs_dir: Path) -> set[str]:
    """The rows that the runs in a directory were made for, whatever tables these are of."""
    noted = set()
    for directory, _ in decodings_of(runs_dir):
        try:
            noted.update(records.read_rows(directory))
        except (OSError, ValueError):  # `read_runs` says so
            continue
    return noted


def is_stand_in(mark: str) -> bool:
    """Whether a run's mark says that its backbone is a stand-in for the hub's."""
    return mark.startswith("stand-in")


def differences(run: Run, settings: dict, free: Sequence[str] = FREE) -> list[str]:
    """What a run does otherwise than a row with those settings, but for the `free`, a phrase each.

    settings: {"model": {...}, "data": ..., "adapter": ..., "train": ..., "decode": ...}
    """
    phrases = []
    hub = settings["model"]["path"]
    if run.options["hub"] not in (None, hub):
        phrases.append(f"backbone {run.options['hub']}, not {hub}")
    for group in ("adapter", "train", "decode"):
        of_run = run.options[group]
        for key, value in settings[group].items():
            if key in of_run and of_run[key] != value and f"{group}.{key}" not in free:
                phrases.append(f"{group}.{key}={word(of_run[key])} (the row has {word(value)})")
    published, _ = _test_set(settings["data"].get("name")) or ("the row", None)
    for split, sha256 in settings["data"]["sha256"].items():
        if sha256 and run.options["data"][split] != sha256:
            phrases.append(f"other {split} data than {published}'s")
    references = settings["data"]["sha256"]["test"]
    if references and run.options["references"] != references:
        phrases.append("scored against other references")
    return phrases


def decodings_of(runs_dir: Path) -> list[tuple[Path, Path]]:
    """(training, decoding) of every run in the order of their names; a packed run is both.

    So is the directory of a training without a decode/, which is not finished.
    """
    pairs = []
    for path in sorted(Path(runs_dir).glob("*")):
        if path.is_dir():
            pairs += [(path, decoding) for decoding in records.decodings(path) or [path]]
        elif records.is_packed(path) and not path.name.startswith("."):
            pairs.append((path, path))
    return pairs


def read_run(
    directory: Path, decoding: Path, reported: dict, doubt: Doubt = lambda *parts: None
) -> Run:
    """A training with one of its decodings, or a packed run as both; doubt: see `read_runs`.

    Raises FileNotFoundError, or ValueError, TypeError or OverflowError with the reason, for what is
    no finished run; `reason` says it in words.
    """
    _check_finished(directory, decoding)
    train = read_checked(directory, ENVIRONMENT, TRAINED)["train"]
    training = read_checked(directory, IDENTITY, TRAINING)["training"]
    scored = read_checked(decoding, ENVIRONMENT, SCORED)
    identity = read_checked(decoding, IDENTITY, DECODING)
    decoded = {"decode": identity["decode"], "test": identity["test"]}
    adapter = read_checked(directory, CONFIG, {"adapter/name": text})["adapter"]
    scores, references, doubtful = checked_scores(decoding, scored)
    check_adapter(adapter, training["adapter"])
    log = records.read_log(directory)
    if not log and train["steps"]:  # the pictures need it
        raise ValueError(f"{LOG} is empty")
    if not any("event" in entry for entry in log):  # a schedule changes what is trained
        if words := doubt(training, adapter, train):
            raise ValueError(words)
    backbone = train["backbone"]
    hub = reported["weights"].get(backbone["file_sha256"], backbone["path"])
    weights = {"weights": backbone["sha256"]}
    without_draws = {"model": weights, "seed": None, "shared_draws": None}
    return Run(
        directory=directory,
        decoding=decoding,
        name=_name(directory, decoding),
        rows=records.read_rows(directory),
        variant=training["adapter"].get("variant"),
        seed=training["seed"],
        lr=training["train"]["lr"],
        n_params=train["n_params"],
        scores=scores,
        marks=[
            *_marks(train, scored["decode"], hub in reported["hub"], identity["test_kind"]),
            *doubtful,
        ],
        weights=backbone["sha256"],
        key=records.hash_of(decoded | {"training": training | {"model": weights}}),
        group=records.hash_of(decoded | {"training": training | without_draws}),
        options={
            "hub": hub if hub in reported["hub"] else None,
            "adapter": adapter,
            "train": training["train"],
            "decode": decoded["decode"],  # as really decoded, whatever was planned
            "data": training["data"] | {"test": decoded["test"]},
            "references": references,
        },
        data_name=identity["test_kind"],
        backbone=backbone["path"],
    )


def _check_finished(directory: Path, decoding: Path) -> None:
    """ValueError where a stage is missing."""
    stages = _mapping(records.read(directory, ENVIRONMENT))
    if not records.is_packed(directory):
        decoded = records.read(decoding, ENVIRONMENT) if decoding != directory else {}
        stages = {"train": stages["train"]} if "train" in stages else {}
        stages |= _mapping(decoded)
    missing = [stage for stage in STAGES if stage not in stages]
    if missing:
        raise ValueError(f"unfinished: no {missing[0]} stage in {ENVIRONMENT}")


def _mapping(content) -> dict:
    return content if isinstance(content, dict) else {}


def _name(directory: Path, decoding: Path) -> str:
    """The training's name, with the decoding's where it has several; a packed run's own."""
    if records.is_packed(directory):
        return directory.stem
    several = len(records.decodings(directory)) > 1
    return f"{directory.name}/decode/{decoding.name}" if several else directory.name


def _test_set(kind: object) -> tuple[str, int] | None:
    """None where there is no published one."""
    return TEST_SETS.get(kind)


def _marks(train: dict, decode: dict, from_hub: bool, kind: object) -> list[str]:
    backbone, marks = train["backbone"], []
    if backbone["stand_in"] or not from_hub:
        marks.append(backbone["stand_in"] or f"backbone of unknown origin ({backbone['path']})")
    if train["steps"] != train["planned_steps"]:
        marks.append(f"{train['steps']:,} of {train['planned_steps']:,} training steps")
    published, n_mrs = _test_set(kind) or (None, None)
    if published is None:
        marks.append(f"{decode['n_predictions']} test MRs of no published test set ({kind})")
    elif decode["n_predictions"] != n_mrs:
        marks.append(f"{decode['n_predictions']} test MRs, not {published}'s {n_mrs}")
    return marks


def reason(error: Exception) -> str:
    """Why `read_run` could not read a run, in words."""
    if isinstance(error, FileNotFoundError):
        return f"unfinished: no {Path(error.filename).name}"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"
