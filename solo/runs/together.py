"""Runs that share a pass through the backbone: which of them can, and their training together."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

from solo.adapters.base import HookedMethod
from solo.files import config_hash
from solo.runs import stages
from solo.runs.identity import resolved
from solo.runs.run import Run, make_run
from solo.runs.stages import Progress
from solo.training import together
from solo.training.state import STATE


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that have the backbone, the data, and the recipe but for OWN in common."""
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        recipe = {k: v for k, v in asdict(run.config.train).items() if k not in together.OWN}
        key = config_hash([run.identity["model"], run.identity["data"], recipe])
        by_key.setdefault(key, []).append(run)
    return list(by_key.values())


def sharing(runs: Sequence[Run]) -> list[Run]:
    """The runs as they are when those that can share passes do.

    Runs that train together take turns at one stream of random numbers, so a method with dropout
    ends with other weights than alone: that is another run, with a directory of its own. One that
    is trained alone already, or begun, stays as it is.
    """
    shared = []
    for group in groups(runs):
        members = [run for run in group if run.config.together and _can_share(run)]
        for run in members if len(members) > 1 else ():
            if _draws(run) and run.state()[0] == "missing":
                shared.append(run)
    return [make_run(run.config, shared_draws=True) if run in shared else run for run in runs]


def _can_share(run: Run) -> bool:
    method = run.config.method_class
    return issubclass(method, HookedMethod) and method.position_wise and run.config.train.packed


def _draws(run: Run) -> bool:
    """Whether its training takes random numbers: only dropout does."""
    return getattr(resolved(run.config.adapter), "dropout", 0) > 0


def train_group(
    runs: Sequence[Run], on_progress: Progress, on_failure: Callable[[Exception], None]
) -> None:
    """Train those runs of a group together that can and have come equally far.

    If the loss of one is not finite, the others go on together from their last state; after any
    other error (a method or schedule that does not fit, too little memory) none does. on_failure
    gets each error. What is not trained in the end is left to be trained alone.
    """
    try:
        for pending in _untrained(runs):
            while len(pending) > 1:
                try:
                    _train_together(list(pending.values()), on_progress)
                    break
                except together.Diverged as error:
                    pending.pop(error.run_dir)
                    on_failure(error)
    except (ArithmeticError, ValueError, RuntimeError) as error:
        on_failure(error)


def _untrained(runs: Sequence[Run]) -> list[dict[Path, Run]]:
    """What is not trained yet, by the step where it stopped, by directory."""
    by_step: dict[int, dict[Path, Run]] = {}
    for run in runs:
        state, step = run.state()
        if state in ("missing", "interrupted"):
            by_step.setdefault(step, {})[run.directory] = run
    return list(by_step.values())


def _train_together(runs: list[Run], on_progress: Progress) -> None:
    model, tokenizer, backbone = stages.load_model(runs[0].config.model)
    members: dict[Path, tuple[Run, together.Run]] = {}
    for run in runs:
        config = run.config
        method = config.method_class.attach(model, config.adapter, config.seed)
        method.detach()
        if method.hooks is not None and method.position_wise and method.parameters:
            member = together.Run(method, config.train, run.directory, config.seed, run.name)
            members[run.directory] = (run, member)
    if len(members) < 2:
        return
    examples = stages.load_data(runs[0].config, model, tokenizer)
    with ExitStack() as held:
        for run, _ in members.values():
            held.enter_context(run.lock())
        entries = [held.enter_context(run.stage("train")) for run, _ in members.values()]
        results = together.train_runs(
            model, [member for _, member in members.values()], *examples, on_progress
        )
        for (run, member), entry, result in zip(members.values(), entries, results, strict=True):
            entry |= result | {"processes": 1, "together": len(members)}
            entry |= stages.finish(run, member.attached, backbone, len(examples[0]))
            if run.config.row:
                run.claim(run.config.row)
    for directory in members:
        (directory / STATE).unlink(missing_ok=True)
