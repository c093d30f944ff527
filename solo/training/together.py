"""Several runs that share a frozen backbone, trained for the price of one pass through it.

Their batches go through the backbone side by side; each run has its own adapter, optimizer, log and
files, and ends as it does alone (loop.py, whose parts these are) but for rounding and the dropout's
draws. A state that was written here goes on alone, and the other way round. A kill at any moment
leaves all of them at one step, from which they go on as if nothing had been.
"""

import math
import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator

from solo.adapters.base import Method, check, stack
from solo.datasets.data import Example
from solo.files import Log
from solo.training.batches import batches_from
from solo.training.loop import LOG, train
from solo.training.loss import training_loss, validation_losses
from solo.training.processes import make_accelerator
from solo.training.progress import (
    Diverged,
    Progress,
    RunningLoss,
    check_finite,
    log_entry,
    note_in,
    shown,
)
from solo.training.recipe import (
    TrainConfig,
    after_step,
    learning_rate,
    make_optimizer,
    set_step,
    warmup_note,
)
from solo.training.state import NEXT, STATE, resume, save
from solo.training.tracking import tracked

__all__ = ["OWN", "Diverged", "Run", "Unfit", "train_runs"]
OWN = ("lr", "warmup_steps", "weight_decay", "betas", "eps")  # may differ between runs together


class Unfit(ValueError):
    """A run cannot begin at all; the others can. run_dir: of which."""

    def __init__(self, run_dir: Path, error: Exception):
        super().__init__(str(error))
        self.run_dir = run_dir


@dataclass
class Run:
    """One of the runs that train together, in its own directory."""

    attached: Method
    config: TrainConfig
    run_dir: Path
    seed: int
    identity: str


def train_runs(
    model,
    runs: Sequence[Run],
    train_examples: list[Example],
    valid_examples: list[Example],
    on_progress: Progress = lambda done, total, info: None,
) -> list[dict]:
    """Train runs together, in place; returns {"steps", "valid_loss", "together"} of each.

    If there are more than one, each was attached to `model` and detached again, and their recipes
    differ in OWN only. Each run's directory gets what `train` writes, and a state after the last
    step too: from there each of them can be finished without the others.

    Raises what `train` raises, ValueError also for runs that cannot train together. The errors of a
    single run name it: Diverged for a loss that is not finite, Unfit for a schedule that does not
    fit.
    """
    if len(runs) == 1:
        [run] = runs
        examples, rest = (train_examples, valid_examples), (run.run_dir, run.seed, run.identity)
        return [train(model, run.attached, *examples, run.config, *rest, on_progress)]
    processes = make_accelerator()
    _check_together(runs, processes)
    model.to(processes.device)
    with ExitStack() as closing:
        closing.callback(stack(model, [run.attached for run in runs]))
        return _train(model, runs, train_examples, valid_examples, processes, on_progress)


def _shown(run: Run) -> dict:
    """What a tracker shows of a run beside its numbers."""
    return asdict(run.config) | {"seed": run.seed}


def _train(model, runs, train_examples, valid_examples, processes, on_progress) -> list[dict]:
    """`train` for runs that are stacked on the model, line by line."""
    config, device = runs[0].config, processes.device
    total = config.total_steps(len(train_examples))
    per_epoch = math.ceil(len(train_examples) / config.batch_size)
    logs = [Log(run.run_dir / LOG) for run in runs]
    optimizers = [make_optimizer(run.attached, run.config) for run in runs]
    members = list(zip(runs, optimizers, logs, strict=True))
    run_dirs = [run.run_dir for run in runs]
    for run in runs:
        try:
            run.attached.start(total)
        except ValueError as error:
            raise Unfit(run.run_dir, error) from error
    torch.manual_seed(runs[0].seed)
    done, running, results = _resume(members, processes)
    parameters = [p for run in runs for p in run.attached.parameters.values()]
    orders = [
        batches_from(train_examples, config.batch_size, run.seed, done, total) for run in runs
    ]

    note = note_in(logs, done)
    for told in dict.fromkeys(warmup_note(total, run.config) for run in runs):
        if told:
            note(told)

    with (
        training_loss(model, config, parameters, True, total, note) as summed_losses,
        tracked({run.run_dir: (log, _shown(run)) for run, _, log in members}, config.tracker),
    ):
        for step, batches in enumerate(zip(*orders, strict=True), done + 1):
            model.train()
            rates = [learning_rate(step - 1, total, run.config) for run in runs]
            for (run, optimizer, _), lr in zip(members, rates, strict=True):
                set_step(optimizer, step, lr, run.config)
            weights = [1 / sum(example.n_targets for example in batch) for batch in batches]
            losses = summed_losses(batches)  # (K,)
            losses = losses * torch.tensor(weights).to(device, non_blocking=True)
            if device.type == "cpu":
                check_finite(losses.tolist(), run_dirs, step)
            penalties = [run.attached.penalty() for run in runs]
            (losses.sum() + sum(penalties)).backward()
            for run, optimizer, log in members:
                optimizer.step()
                for event in after_step(run.attached, optimizer, step):
                    log.write({"step": step, "event": event})
                optimizer.zero_grad()
            running.add(losses.detach(), batches)

            if step % config.log_every == 0 or step == total:
                means, speed = running.take()
                check_finite(means, run_dirs, step)
                for (run, _, log), mean, lr in zip(members, means, rates, strict=True):
                    log.write(log_entry(step, step / per_epoch, mean, lr, speed, run.attached))
            on_progress(step, total, shown(losses.detach(), step, config.log_every))
            if step % per_epoch == 0 or step == total:
                valid = validation_losses(
                    model, valid_examples, config, processes, len(runs), on_progress
                )
                check_finite(valid, run_dirs, step)
                for log, loss in zip(logs, valid, strict=True):
                    log.write({"step": step, "epoch": step / per_epoch, "valid_loss": loss})
            if step % config.save_every == 0 or step == total:
                beside = {"beside": sorted(run.identity for run in runs)}  # whose draws are in it
                counters = [own | beside for own in running.counters(step)]
                check_finite([c["loss_sum"] for c in counters], run_dirs, step)
                if step == total:
                    results = [
                        {"steps": total, "valid_loss": loss, "together": len(runs)}
                        for loss in valid
                    ]
                    for own, result in zip(counters, results, strict=True):
                        own["result"] = result
                save_together(members, processes, counters)
    return results


def save_together(members: list[tuple], processes: Accelerator, counters: list[dict]) -> None:
    """Write the states of runs so that they take effect all at once, with that of the first one.

    Before it the others are written as NEXT, and after it they take their place: after a kill
    `settle` does what is left of that. Raises Diverged for a parameter that is not finite.
    """
    leader = members[0][0].run_dir
    for (run, optimizer, log), own in reversed(list(zip(members, counters, strict=True))):
        name = STATE
        if run.run_dir != leader:
            name, own = NEXT, own | {"leader": os.path.relpath(leader, run.run_dir)}
        log.sync()
        try:
            save(run.run_dir / name, run.attached, optimizer, run.identity, processes, own)
        except FloatingPointError as error:
            raise Diverged(run.run_dir, str(error)) from error
    for run, _, _ in members[1:]:
        os.replace(run.run_dir / NEXT, run.run_dir / STATE)


def _resume(
    members: list[tuple], processes: Accelerator
) -> tuple[int, RunningLoss, list[dict | None]]:
    """(steps done, their losses since the last line of the log, results of runs that have done all
    steps) of runs that go on together."""
    counters = [
        resume(run.run_dir / STATE, run.attached, optimizer, run.identity, processes)
        for run, optimizer, _ in members
    ]
    done = counters[0]["step"]
    check(
        all(c["step"] == done for c in counters),
        "these runs stopped at different steps; let each go on alone",
    )
    for _, _, log in members:
        log.keep_until(done)
    sums, counts = ([c[key] for c in counters] for key in ("loss_sum", "loss_count"))
    running = RunningLoss(sums, counts, processes.device)
    return done, running, [c.get("result") for c in counters]


def _check_together(runs: Sequence[Run], processes: Accelerator) -> None:
    """ValueError for runs that cannot train together."""
    check(
        processes.num_processes == 1,
        "runs train together in one process; under accelerate launch start them one by one",
    )
    first = runs[0]
    for run in runs:
        check(
            replace(run.config, **{name: getattr(first.config, name) for name in OWN})
            == first.config,
            f"{run.run_dir} and {first.run_dir} have recipes that differ in more than "
            f"{', '.join(OWN)}; train them one by one",
        )
        check(
            run.attached.position_wise and run.config.packed and bool(run.attached.parameters),
            f"the method of {run.run_dir} cannot share a backbone; train it alone",
        )
