"""Finished runs that differ in their learning rate alone, compared by validation loss."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from solo import files
from solo.run_files import DIVERGED, IDENTITY, LOG, ROWS
from solo.runs import record
from solo.runs.rates import choose


@dataclass(frozen=True)
class Trained:
    """A finished training. rest: what it is, but for learning rate and seed; valid_loss: None if
    it diverged."""

    rest: str
    label: str
    lr: float
    seed: int
    valid_loss: float | None


def read_trained(runs_dir: Path) -> tuple[list[Trained], list[str]]:
    """(finished trainings, a line for each directory left out)."""
    return read_runs(sorted(path for path in Path(runs_dir).glob("*") if path.is_dir()))


def read_runs(directories: Iterable[Path]) -> tuple[list[Trained], list[str]]:
    """The same of named directories."""
    found, left_out = [], []
    for directory in directories:
        try:
            found.append(_read(directory))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            left_out.append(f"{directory}: left out, {error}")
    return found, left_out


def _read(directory: Path) -> Trained:
    entry, lost = record.stage_record(directory, "train"), (directory / DIVERGED).exists()
    if not entry and not lost:
        raise ValueError("not trained to the end")
    training = files.read_json(directory / IDENTITY)["training"]
    recipe = dict(training["train"])
    lr = float(recipe.pop("lr"))
    rest = files.config_hash(training | {"train": recipe, "seed": None})
    if not entry:
        return Trained(rest, "", lr, int(training["seed"]), None)
    losses = [e["valid_loss"] for e in files.read_json_lines(directory / LOG) if "valid_loss" in e]
    if not losses:
        raise ValueError(f"{LOG} has no validation loss")
    rows = directory / ROWS
    options = " ".join(f"{k}={v}" for k, v in training["adapter"].items() if v is not None)
    label = ", ".join(files.read_json(rows, kind=list)) if rows.exists() else options
    label += f" on {entry['backbone']['path']}, {entry['steps']:,} steps, {recipe['precision']}"
    return Trained(rest, label, lr, int(training["seed"]), float(losses[-1]))


def report(trained: list[Trained]) -> tuple[str, list[float]]:
    """(a table for each group of runs that differ in learning rate and seed alone, best marked; the
    best rate of each)."""
    groups: dict[str, dict[float, list[Trained]]] = {}
    for run in trained:
        groups.setdefault(run.rest, {}).setdefault(run.lr, []).append(run)
    out: list[str] = []
    best: list[float] = []
    for rates in groups.values():
        if len(rates) < 2 or all(run.valid_loss is None for runs in rates.values() for run in runs):
            continue
        common = set.intersection(*({run.seed for run in runs} for runs in rates.values()))
        counted = {
            lr: [run for run in runs if run.seed in common or not common]
            for lr, runs in rates.items()
        }
        choice = choose({lr: [run.valid_loss for run in runs] for lr, runs in counted.items()})
        best.append(choice.best)
        labels = sorted({run.label for runs in rates.values() for run in runs})
        out += [labels[-1], f"  {'lr':>8}  {'valid loss':>10}  seeds"]
        for lr in sorted(rates):
            seeds = ", ".join(map(str, sorted({run.seed for run in counted[lr]})))
            mark = "  best: train.lr=" + f"{lr:g}" if lr == choice.best else ""
            loss = choice.losses[lr]
            shown = "diverged" if loss is None else f"{loss:.4f}"
            out.append(f"  {lr:8g}  {shown:>10}  {seeds}{mark}")
        if not common:
            out.append("  the rates have no seed in common; a seed moves a loss, too")
        elif any(len(counted[lr]) < len(rates[lr]) for lr in rates):
            out.append("  compared over the seeds that all rates have")
        if choice.at_edge:
            out.append("  the best is at the end of what was tried; try beyond it")
    return "\n".join(out), best
