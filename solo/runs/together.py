"""The runs of a sweep, for the price of one where they can share a pass through the backbone."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from solo import files
from solo.adapters import make_config
from solo.runs import record, run
from solo.training.progress import Progress
from solo.training.recipe import TrainConfig
from solo.training.state import STATE, read_counters
from solo.training.together import OWN, Diverged, Run, train_runs

T = TypeVar("T")


def groups(configs: list[dict]) -> list[list[dict]]:
    """Configurations that have the backbone, the data, and the recipe but for OWN in common."""
    found: dict[str, list[dict]] = {}
    for config in configs:
        known = run.identity(config)["training"]
        recipe = {key: value for key, value in config["train"].items() if key not in OWN}
        key = files.config_hash([known["model"], known["data"], recipe])
        found.setdefault(key, []).append(config)
    return list(found.values())


def train_group(
    configs: list[dict],
    on_progress: Progress,
    alone: Callable[[dict], T],
    on_failure: Callable[[Exception], None] = lambda error: None,
) -> list[T]:
    """Train configurations of one group; returns what `alone` gives for each, in order.

    Those that can, and have come equally far, train together. If the loss of one is not finite, the
    others go on together from their last state; after any other error (a method or schedule that
    does not fit, too little memory) none does. on_failure gets each error. In the end `alone` is
    called for every configuration: it finds what is trained, and trains what is not.
    """
    try:
        for pending in _missing(configs):
            while len(pending) > 1:
                try:
                    _train_together(pending, on_progress)
                    break
                except Diverged as error:
                    pending.pop(error.run_dir)
                    on_failure(error)
    except (ArithmeticError, ValueError, RuntimeError) as error:
        on_failure(error)
    return [alone(config) for config in configs]


def _missing(configs: list[dict]) -> list[dict[Path, tuple[dict, dict]]]:
    """What is not trained yet, by where it stopped: {directory: (configuration, identity)} each."""
    by_step: dict[int, dict[Path, tuple[dict, dict]]] = {}
    for config in configs:
        known = run.identity(config)
        run_dir = run.run_directory(config, known)
        with record.lock(run_dir):
            if not run.trained(run_dir, known, config):
                by_step.setdefault(_step(run_dir), {})[run_dir] = (config, known)
    return list(by_step.values())


def _step(run_dir: Path) -> int:
    path = run_dir / STATE
    return read_counters(path)["step"] if path.exists() else 0


def _train_together(pending: dict[Path, tuple[dict, dict]], on_progress: Progress) -> None:
    first = next(iter(pending.values()))[0]
    model, tokenizer, description = run.load_model(first["model"])
    runs: dict[Path, Run] = {}
    for run_dir, (config, known) in pending.items():
        method, adapter = make_config(config["adapter"])
        attached = method.attach(model, adapter, config["seed"])
        attached.detach()
        if attached.hooks is not None and attached.position_wise and attached.parameters:
            recipe, digest = TrainConfig(**config["train"]), files.config_hash(known)
            runs[run_dir] = Run(attached, recipe, run_dir, config["seed"], digest)
    if len(runs) < 2:
        return
    examples = run.load_data(first, model, tokenizer)
    with ExitStack() as held:
        for run_dir in runs:
            held.enter_context(record.lock(run_dir))
            run.open_run(run_dir, pending[run_dir][1], pending[run_dir][0])
        entries = [held.enter_context(record.stage(run_dir, "train")) for run_dir in runs]
        results = train_runs(model, list(runs.values()), *examples, on_progress)
        for (run_dir, one), entry, result in zip(runs.items(), entries, results, strict=True):
            config = pending[run_dir][0]
            entry |= result | {"processes": 1, "together": len(runs), "backbone": description}
            sha256, count = description["sha256"], len(examples[0])
            entry |= run.finish(run_dir, config, one.attached, sha256, count)
            entry["identity"] = one.identity
    for run_dir in runs:
        (run_dir / STATE).unlink(missing_ok=True)
