"""Finished runs, read from their directories alone, and what marks a run as no reproduction.

A run counts as a reproduction of a row only with the hub's GPT-2 weights of the row's size, the
row's settings (the learning rate is free: the paper prints none), trained to the end on the whole
of E2E, decoded on its whole test set and scored against its references. Every other run carries
the reasons as marks. Precision is such a setting: a run in bf16 never stands among those in fp32.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path

import yaml

from eval.tables.settings import row_settings

METRICS = ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr")
LOG = "train_log.jsonl"
E2E_TEST_MRS = 630
ROOT = Path(__file__).resolve().parents[2]
FREE = ("adapter.variant", "train.lr", "train.max_steps")  # shown, or marked as partial training
NUMBER = (int, float)
CONTENT = {  # what a finished run's files hold, at least
    "environment.json": {
        "train/steps": int, "train/planned_steps": int, "train/n_params": int,
        "train/backbone/path": str, "train/backbone/sha256": str,
        "train/backbone/file_sha256": str, "train/backbone/stand_in": (str, type(None)),
        "decode/n_predictions": int, "decode/settings/decode/beam": int,
        "decode/settings/test": str, "evaluate/inputs/predictions.tsv": str,
    },
    "identity.json": {
        "training/seed": int, "training/adapter/name": str, "training/train/lr": NUMBER,
        "training/train/precision": str, "training/data/train": str, "training/data/valid": str,
    },
    "config.yaml": {"adapter/name": str},
    "metrics.json": dict.fromkeys(METRICS, NUMBER),
}  # fmt: skip


@dataclass(frozen=True)
class Run:
    """A finished run.

    rows: what it was run for; variant: None for a method without variants; scores: official scale;
    marks: why it reproduces no row at all, empty if nothing stands against it; weights: sha256 of
    the backbone; key: which configuration on which weights, seed included; group: the same without
    the seed; options: what a row's settings are compared with.
    """

    directory: Path
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


def read_runs(runs_dir: Path, reported: dict) -> tuple[list[Run], list[str]]:
    """(finished runs, a line for each directory left out), in the order of their names.

    `reported` is eval/paper.yaml, which knows the hub's weights. A directory that is corrupt, half
    written or not evaluated yet is left out, with its path and the reason. Of two directories that
    hold the same run the first counts. Raises ValueError that names both if their results differ.
    """
    runs, left_out = {}, []
    for directory in sorted(path for path in Path(runs_dir).glob("*") if path.is_dir()):
        try:
            run = _read_run(directory, reported)
        except (OSError, ValueError, TypeError, OverflowError) as error:
            left_out.append(f"{shown(directory)}: left out, {_reason(error)}")
            continue
        twin = runs.setdefault(run.key, run)
        if twin.scores != run.scores:
            name = next(name for name in METRICS if twin.scores[name] != run.scores[name])
            raise ValueError(
                f"{shown(twin.directory)} and {shown(directory)} are runs of one configuration "
                f"and seed with different results ({name} {twin.scores[name]:.4f} and "
                f"{run.scores[name]:.4f}); find out why, and move one of them elsewhere"
            )
        if run.rows != twin.rows:
            twin.rows.extend(row for row in run.rows if row not in twin.rows)
    return list(runs.values()), left_out


def shown(path: Path) -> str:
    """A path as a user types it: relative to the checkout where it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def read_log(run_dir: Path) -> list[dict]:
    """The entries of a run's training log. Raises ValueError for a damaged line."""
    try:
        text = (Path(run_dir) / LOG).read_text(encoding="utf-8")
        log = [json.loads(line) for line in text.splitlines()]
    except ValueError as error:
        raise ValueError(f"{LOG} is damaged ({error})") from error
    for number, entry in enumerate(log, 1):
        if not isinstance(entry, dict) or not isinstance(entry.get("step"), int):
            raise ValueError(f"{LOG} is damaged (line {number} has no step)")
        for name, value in entry.items():
            if ("loss" in name or "lambda" in name) and not isinstance(value, NUMBER):
                raise ValueError(f"{LOG} is damaged (line {number}: {name} is {value!r})")
    return log


def differences(run: Run, row: str) -> list[str]:
    """What a run does otherwise than the experiment file of `row`, a phrase each."""
    settings, found = row_settings(row), []
    hub = settings["model"]["path"]
    if run.options["hub"] not in (None, hub):
        found.append(f"backbone {run.options['hub']}, not {hub}")
    for group in ("adapter", "train", "decode"):
        mine = run.options[group]
        for key, value in settings[group].items():
            if key in mine and mine[key] != value and f"{group}.{key}" not in FREE:
                found.append(f"{group}.{key}={_word(mine[key])} (the row has {_word(value)})")
    for split, sha256 in settings["data"]["sha256"].items():
        if sha256 and run.options["data"][split] != sha256:
            found.append(f"other {split} data than E2E's")
    wanted = settings["data"]["sha256"]["test"]
    if wanted and run.options["references"] != wanted:
        found.append("scored against other references")
    return found


def _read_run(directory: Path, reported: dict) -> Run:
    environment = _load(directory, "environment.json")
    missing = [s for s in ("train", "decode", "evaluate") if s not in (environment or ())]
    if missing:
        raise ValueError(f"unfinished: no {missing[0]} stage in environment.json")
    environment, identity, config, metrics = (_checked(directory, name) for name in CONTENT)
    train, decode, training = environment["train"], environment["decode"], identity["training"]
    scored = dict(environment["evaluate"]["inputs"])
    if scored.pop("predictions.tsv") != _sha256(directory / "predictions.tsv"):
        raise ValueError("predictions.tsv is not the file that was scored; evaluate it again")
    if len(scored) != 1:
        raise ValueError(f"environment.json names {len(scored)} files of references, not one")
    _check_adapter(config["adapter"], training["adapter"])
    scores = {name: float(metrics[name]) for name in METRICS}
    if not all(map(math.isfinite, scores.values())):
        raise ValueError("metrics.json holds a score that is not finite")
    if not read_log(directory) and train["steps"]:  # the pictures need it
        raise ValueError(f"{LOG} is empty")
    backbone, decoded = train["backbone"], decode["settings"]
    hub = reported["weights"].get(backbone["file_sha256"], backbone["path"])
    weights = {"weights": backbone["sha256"]}
    [references] = scored.values()
    return Run(
        directory=directory,
        rows=_rows(directory),
        variant=training["adapter"].get("variant"),
        seed=training["seed"],
        lr=training["train"]["lr"],
        n_params=train["n_params"],
        scores=scores,
        marks=_marks(train, decode, hub in reported["hub"]),
        weights=backbone["sha256"],
        key=_hash(decoded | {"training": training | {"model": weights}}),
        group=_hash(decoded | {"training": training | {"model": weights, "seed": None}}),
        options={
            "hub": hub if hub in reported["hub"] else None,
            "adapter": config["adapter"],
            "train": training["train"],
            "decode": decoded["decode"],  # as really decoded, whatever was planned
            "data": training["data"] | {"test": decoded["test"]},
            "references": references,
        },
    )


def _checked(directory: Path, name: str) -> dict:
    """A file's content; ValueError unless it holds what CONTENT says."""
    content = _load(directory, name)
    for path, kind in CONTENT[name].items():
        value = content
        for key in path.split("/"):
            if not isinstance(value, dict) or key not in value:
                raise ValueError(f"{name} has no {path}")
            value = value[key]
        if not isinstance(value, kind) or isinstance(value, bool):
            raise ValueError(f"{name} is damaged ({path} is {_word(value)})")
    return content


def _check_adapter(given: dict, known: dict) -> None:
    """The options as given and as trained with, where the variant's are filled in, agree."""
    for key, value in given.items():
        if isinstance(value, (str, *NUMBER)) and known.get(key) != value:
            was = _word(known.get(key))
            raise ValueError(
                f"config.yaml says adapter.{key}={_word(value)}, identity.json {was}; "
                "they are not of one run"
            )


def _rows(directory: Path) -> list[str]:
    path = directory / "rows.json"
    rows = _load(directory, path.name) if path.exists() else []
    if not isinstance(rows, list) or not all(isinstance(row, str) for row in rows):
        raise ValueError(f"{path.name} is damaged (it is no list of rows)")
    return rows


def _marks(train: dict, decode: dict, known: bool) -> list[str]:
    backbone, marks = train["backbone"], []
    if backbone["stand_in"] or not known:
        marks.append(backbone["stand_in"] or f"backbone of unknown origin ({backbone['path']})")
    if train["steps"] != train["planned_steps"]:
        marks.append(f"{train['steps']:,} of {train['planned_steps']:,} training steps")
    if decode["n_predictions"] != E2E_TEST_MRS:
        marks.append(f"{decode['n_predictions']} test MRs, not E2E's {E2E_TEST_MRS}")
    return marks


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"unfinished: no {Path(error.filename).name}"
    return str(error) if type(error) is ValueError else f"{type(error).__name__}: {error}"


def _word(value) -> str:
    return json.dumps(value).replace('"', "")


def _hash(value: dict) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _load(directory: Path, name: str):
    """A JSON or YAML file; ValueError if it is damaged."""
    try:
        text = (directory / name).read_text(encoding="utf-8")
        return yaml.safe_load(text) if name.endswith(".yaml") else json.loads(text)
    except (ValueError, yaml.YAMLError) as error:
        raise ValueError(f"{name} is damaged ({' '.join(str(error).split())})") from error
