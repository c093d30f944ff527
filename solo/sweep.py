"""The runs of a sweep, for the price of one where they can share a pass through the backbone."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from solo import checkpoint, record, run
from solo.adapters import make_config
from solo.recipe import TrainConfig
from solo.train import OWN, Progress, Run, train_runs

T = TypeVar("T")


def groups(configs: list[dict]) -> list[list[dict]]:
    """Configurations that have the backbone, the data, and the recipe but for OWN in common."""
    found: dict[str, list[dict]] = {}
    for config in configs:
        known = run.identity(config)["training"]
        recipe = {key: value for key, value in config["train"].items() if key not in OWN}
        key = record.config_hash([known["model"], known["data"], recipe])
        found.setdefault(key, []).append(config)
    return list(found.values())


def train_group(
    configs: list[dict],
    on_progress: Progress,
    alone: Callable[[dict], T],
    on_failure: Callable[[Exception], None] = lambda error: None,
) -> list[T]:
    """Train configurations of one group; returns what `alone` gives for each, in order.

    Those that can, train together; `alone` trains each of the others: runs of a method that cannot
    share a backbone, runs that stopped at different steps, and all of a group in which one cannot
    go on (its loss is not finite, its method or schedule does not fit), or for which the memory is
    too small; on_failure gets the error. `alone` is called for every configuration in the end, and
    finds what is trained.
    """
    try:
        _train_what_is_missing(configs, on_progress)
    except (ArithmeticError, ValueError, RuntimeError) as error:
        on_failure(error)
    return [alone(config) for config in configs]


def _train_what_is_missing(configs: list[dict], on_progress: Progress) -> None:
    pending = {}
    for config in configs:
        known = run.identity(config)
        run_dir = run.run_directory(config, known)
        with record.lock(run_dir):
            if not run.trained(run_dir, known, config):
                pending[run_dir] = (config, known)
    steps = {_step(run_dir) for run_dir in pending}
    if len(pending) > 1 and len(steps) == 1:
        _train_together(pending, on_progress)


def _step(run_dir: Path) -> int:
    path = run_dir / checkpoint.STATE
    return checkpoint.read_counters(path)["step"] if path.exists() else 0


def _train_together(pending: dict[Path, tuple[dict, dict]], on_progress: Progress) -> None:
    first = next(iter(pending.values()))[0]
    model, tokenizer, description = run.load_model(first["model"])
    runs: dict[Path, Run] = {}
    for run_dir, (config, known) in pending.items():
        method, adapter = make_config(config["adapter"])
        attached = method.attach(model, adapter, config["seed"])
        attached.detach()
        if attached.hooks is not None and attached.position_wise and attached.parameters:
            recipe, digest = TrainConfig(**config["train"]), record.config_hash(known)
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
        (run_dir / checkpoint.STATE).unlink(missing_ok=True)
