"""Runs that train together, in one pass through the backbone: which of them can, and how."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from solo.adapters.base import HookedMethod
from solo.backbones.loading import device
from solo.files import config_hash
from solo.runs import checkpoint, stages
from solo.runs.run import Run
from solo.training import together
from solo.training.loop import Training
from solo.training.progress import Diverged, Progress
from solo.training.state import settle


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that have the backbone, the data, and the recipe but for OWN in common."""
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        recipe = {k: v for k, v in asdict(run.config.train).items() if k not in together.OWN}
        common = [run.identity["model"], run.identity["data"], recipe]
        by_key.setdefault(config_hash(common), []).append(run)
    return list(by_key.values())


def can_share(run: Run) -> bool:
    """Whether its method leaves the backbone's blocks as they are, so that others can use them."""
    method = run.config.method_class
    return issubclass(method, HookedMethod) and method.position_wise and run.config.train.packed


def pays() -> bool:
    """Whether runs of a command that does not ask had better train together: on an accelerator. A
    CPU gains less, there each is scored as soon as it can be, and nobody counts their memory."""
    return device().type != "cpu"


def train_group(
    runs: Sequence[Run], on_progress: Progress, on_failure: Callable[[Exception], None]
) -> None:
    """Train those runs of a group together that can and have come equally far.

    If one cannot begin, or its loss is not finite, the others go on together from their last state.
    After any other error (too little memory, a run in use) none goes on. on_failure gets each
    error. What is not trained in the end is left to be trained alone.
    """
    try:
        with ExitStack() as held:
            for run in sorted(runs, key=lambda run: run.directory):  # who has the first, has all
                held.enter_context(run.lock())
            for pending in _untrained(runs, on_failure):
                while len(pending) > 1:
                    try:
                        _train_together(list(pending.values()), on_progress)
                        break
                    except (Diverged, together.Unfit) as error:
                        pending.pop(error.run_dir)
                        on_failure(_without_frames(error))
    except torch.OutOfMemoryError as error:
        too_much = RuntimeError(
            f"{len(runs)} runs together are too much for the memory of this device; they train one "
            "by one instead, and at once with together=false, or a study's run without --together"
        )
        too_much.__cause__ = _without_frames(error)
        on_failure(too_much)
    except Exception as error:
        on_failure(_without_frames(error))


def _without_frames(error: Exception) -> Exception:
    """The error without what was at work when it came: the model would stay in memory with it."""
    link: BaseException | None = error
    while link is not None:
        link.__traceback__ = None
        link = link.__cause__ or link.__context__
    return error


def _untrained(
    runs: Sequence[Run], on_failure: Callable[[Exception], None]
) -> list[dict[Path, Run]]:
    """What is not trained yet, by the step where it stopped, by directory."""
    by_step: dict[int, dict[Path, Run]] = {}
    for run in sorted(runs, key=lambda run: run.name):
        try:
            if not checkpoint.trained(run.directory):
                settle(run.directory)
            state, step = run.state()
        except ValueError as error:  # a damaged state
            on_failure(error)
            continue
        if state in ("missing", "interrupted"):
            by_step.setdefault(step, {})[run.directory] = run
    return list(by_step.values())


def _train_together(runs: list[Run], on_progress: Progress) -> None:
    model, tokenizer, backbone = stages.load_model(runs[0].config.model)
    members: dict[Path, tuple[Run, Training]] = {}
    for run in runs:
        config = run.config
        try:
            method = config.method_class.attach(model, config.adapter, config.seed)
        except ValueError as error:
            raise together.Unfit(run.directory, error) from error
        method.detach()
        if method.position_wise:  # with its options, too
            member = Training(method, config.train, run.directory, config.seed, run.name)
            members[run.directory] = (run, member)
    if len(members) < 2:
        return
    examples = stages.load_data(runs[0].config, model, tokenizer)
    with ExitStack() as recorded:
        entries = [recorded.enter_context(run.stage("train")) for run, _ in members.values()]
        results = together.train_runs(
            model, [member for _, member in members.values()], *examples, on_progress
        )
        for (run, member), entry, result in zip(members.values(), entries, results, strict=True):
            entry |= {"processes": 1} | result
            entry |= stages.finish(run, member.attached, backbone, examples[0], tokenizer)
