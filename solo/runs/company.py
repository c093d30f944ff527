"""Runs that train together, in one pass through the backbone: which of them can, and how.

Runs that train together take turns at one stream of random numbers, so a method with dropout ends
with other weights than alone or in another company. Its company is therefore part of its identity.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path

import torch

from solo.adapters.base import HookedMethod
from solo.files import config_hash
from solo.run_files import DIVERGED, IDENTITY
from solo.runs import checkpoint, stages
from solo.runs.identity import resolved, short_name
from solo.runs.run import Run, make_run, read_identity
from solo.training import together
from solo.training.loop import Training
from solo.training.progress import Diverged, Progress
from solo.training.state import beside, is_last, remove, settle


def groups(runs: Sequence[Run]) -> list[list[Run]]:
    """Runs that have the backbone, the data, the recipe but for OWN, and the company in common."""
    by_key: dict[str, list[Run]] = {}
    for run in runs:
        recipe = {k: v for k, v in asdict(run.config.train).items() if k not in together.OWN}
        common = [run.identity["model"], run.identity["data"], recipe, drawn_with(run)]
        by_key.setdefault(config_hash(common), []).append(run)
    return list(by_key.values())


def drawn_with(run: Run) -> list[str]:
    """The names (alone) of the runs from whose common stream a run draws; [] for its own stream."""
    return run.identity.get("shared_draws", [])


def in_companies(runs: Sequence[Run]) -> list[Run]:
    """The runs as they are when those that can train together do; twice is once.

    Of each group those with dropout become the company of one another. One that is trained in some
    company, or begun in one that is here, stays in that; one that is trained or begun alone, or has
    diverged there, stays alone.
    """
    companies: dict[str, list[str]] = {}
    for group in groups(runs):
        members = [run for run in group if run.config.together and can_share(run)]
        members = [run for run in members if draws_alone(run)]
        names = {run.name for run in members if _is_new(run)}
        for folder in {run.directory.parent for run in members}:
            companies |= _companies(folder, names)
        new = sorted(names - companies.keys())
        if len(new) > 1:
            companies |= dict.fromkeys(new, new)
    return _in_company(runs, companies)


def as_trained(runs: Sequence[Run]) -> list[Run]:
    """The runs as they are trained already: one that was trained in some company alone is that."""
    names = {run.name for run in runs if _is_new(run)}
    companies: dict[str, list[str]] = {}
    for folder in {run.directory.parent for run in runs if run.name in names}:
        companies |= _companies(folder, names, begun_too=False)
    return _in_company(runs, companies)


def _is_new(run: Run) -> bool:
    return run.state()[0] == "missing" and not (run.directory / DIVERGED).exists()


def _in_company(runs: Sequence[Run], companies: dict[str, list[str]]) -> list[Run]:
    return [
        make_run(run.config, run.planned, companies[run.name]) if run.name in companies else run
        for run in runs
    ]


def _companies(folder: Path, names: set[str], begun_too: bool = True) -> dict[str, list[str]]:
    """The company of each run of `names` (alone) that has one in `folder`; see `in_companies`.

    Of a company that was begun a kill may have left some members' directories alone; begun_too:
    whether it counts, or only what is trained.
    """
    begun: list[list[str]] = []
    companies: dict[str, list[str]] = {}
    for path in sorted(folder.glob(f"*/{IDENTITY}")):
        try:
            identity = read_identity(path.parent)
            others = identity.pop("shared_draws", None)
            if isinstance(others, list) and short_name(identity) in names:
                if checkpoint.trained(path.parent):
                    companies[short_name(identity)] = others
                if begun_too and set(others) <= names:
                    begun.append(others)
        except (OSError, ValueError, TypeError, LookupError):
            continue  # the run of somebody else, damaged: nothing of ours
    for others in sorted(begun, key=len, reverse=True):
        if all(companies.get(name, others) == others for name in others):
            companies |= dict.fromkeys(others, others)
    return companies


def can_share(run: Run) -> bool:
    """Whether its method leaves the backbone's blocks as they are, so that others can use them."""
    method = run.config.method_class
    return issubclass(method, HookedMethod) and method.position_wise and run.config.train.packed


def _draws(run: Run) -> bool:
    """Whether its training takes random numbers: only dropout does."""
    return getattr(resolved(run.config.adapter), "dropout", 0) > 0


def draws_alone(run: Run) -> bool:
    """Whether it draws random numbers, and from a stream of its own: it has to train alone."""
    return _draws(run) and not drawn_with(run)


def train_group(
    runs: Sequence[Run], on_progress: Progress, on_failure: Callable[[Exception], None]
) -> None:
    """Train those runs of a group together that can and have come equally far.

    If one cannot begin, or its loss is not finite, the others go on together from their last
    state, or from the beginning if they draw their dropout together: what they have drawn beside
    the lost one would depend on when that state was saved. After any other error (too little
    memory, a run in use) none goes on. on_failure gets each error. What is not trained in the end
    is left to be trained alone.
    """
    try:
        with ExitStack() as held:
            for run in sorted(runs, key=lambda run: run.directory):  # who has the first, has all
                held.enter_context(run.lock())
            if drawn_with(runs[0]):
                runs = _as_begun(runs)
            for pending in _untrained(runs, on_failure):
                while len(pending) > 1:
                    try:
                        _train_together(list(pending.values()), on_progress)
                        break
                    except (Diverged, together.Unfit) as error:
                        pending.pop(error.run_dir)
                        on_failure(error)
                        for directory in pending if drawn_with(runs[0]) else ():
                            remove(directory)
    except torch.OutOfMemoryError as error:
        too_much = RuntimeError(
            f"{len(runs)} runs together are too much for the memory of this device; train fewer, "
            "or one by one (together=false, or a study's run without --together)"
        )
        too_much.__cause__ = error
        on_failure(too_much)
    except Exception as error:
        on_failure(error)


def _as_begun(runs: Sequence[Run]) -> list[Run]:
    """Those of a company that go on together: all, or those whose states were drawn together.

    Beside a run that could not begin the others have gone on without it. Where a run of the states
    has diverged since, they begin again: what they drew beside it would depend on when that was.
    """
    for run in runs:
        settle(run.directory)
    states = [names for run in runs if (names := beside(run.directory)) is not None]
    together_then = set().union(*states)
    if together_then - {run.name for run in runs}:
        for run in runs:
            if not checkpoint.trained(run.directory):
                remove(run.directory)
        return list(runs)
    return [run for run in runs if not together_then or run.name in together_then]


def _untrained(
    runs: Sequence[Run], on_failure: Callable[[Exception], None]
) -> list[dict[Path, Run]]:
    """What is not trained yet, by the step where it stopped, by directory.

    Raises ValueError for a company that is not at one step: its draws cannot be had again.
    """
    by_step: dict[int, dict[Path, Run]] = {}
    at_the_end = set()  # trained, or only to be finished
    for run in sorted(runs, key=lambda run: run.name):
        try:
            if not checkpoint.trained(run.directory):
                settle(run.directory)
            state, step = run.state()
            at_the_end.add(state not in ("missing", "interrupted") or is_last(run.directory))
        except ValueError as error:  # a damaged state
            if drawn_with(run):
                raise
            on_failure(error)
            continue
        if state in ("missing", "interrupted"):
            by_step.setdefault(step, {})[run.directory] = run
    together_still = len(at_the_end) == 1 and len(by_step) < 2
    if by_step and drawn_with(runs[0]) and not together_still:
        raise ValueError(
            "these runs draw their dropout together, but are not at one step any more; to begin "
            f"again move all of them away: {', '.join(str(run.directory) for run in runs)}"
        )
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
        if method.hooks is not None and method.position_wise and method.parameters:
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
            if run.config.row:
                run.note_row(run.config.row)
    for directory in members:
        remove(directory)
