"""The training loop: LoRA's public E2E recipe (learning rate, AdamW, loss), for any method.

It sees a model, what is trained in it (`Method`), and examples; it knows no method by name. A
run killed at any moment and started again ends with the same parameters, bit for bit on one
machine: order is a function of seed and epoch, and the state holds the random generators.

The parts: batches.py (the order, and how a batch is laid out), loss.py (the loss, and the cheapest
way to it), recipe.py (learning rate, optimizer), state.py (what a run goes on from), progress.py
(what is told), tracking.py (to whom else), processes.py (several processes). Several runs that
share a frozen backbone go through the same loop side by side; together.py says which of them can.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from solo.adapters.base import Method
from solo.datasets.data import Example
from solo.options import check
from solo.run_files import LOG
from solo.training.batches import batches_from
from solo.training.log import Log
from solo.training.loss import training_loss, validation_losses
from solo.training.processes import make_accelerator, share_of, sum_gradients
from solo.training.progress import (
    Progress,
    RunningLoss,
    check_finite,
    check_parameters,
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
from solo.training.state import STATE, resume, save_together
from solo.training.tracking import tracked


@dataclass
class Run:
    """A run to train, alone or together with others, in its own directory."""

    attached: Method
    config: TrainConfig
    run_dir: Path
    seed: int
    identity: str


def train(
    model,
    attached: Method,
    train_examples: list[Example],
    valid_examples: list[Example],
    config: TrainConfig,
    run_dir: Path,
    seed: int,
    identity: str,
    on_progress: Progress = lambda done, total, info: None,
) -> dict:
    """Train what `attached` names, in place; returns {"steps", "valid_loss"}.

    Writes into `run_dir` LOG (a line per `log_every` steps and per validation) and, every
    `save_every` steps, the training state, from which a later call with the same identity goes on.

    Raises ValueError for a state of another identity or of another number of processes, and for a
    schedule that does not fit into the run; FloatingPointError at a loss that is not finite, with
    the last good state kept.
    """
    attached.start(config.total_steps(len(train_examples)))
    run = Run(attached, config, Path(run_dir), seed, identity)
    [result] = train_side_by_side(model, [run], train_examples, valid_examples, on_progress)
    return result


def train_side_by_side(
    model,
    runs: Sequence[Run],
    train_examples: list[Example],
    valid_examples: list[Example],
    on_progress: Progress,
) -> list[dict]:
    """The loop itself, for K runs whose methods are at work in `model` and have been started.

    Their recipes differ in together.py's OWN only. Several runs get a state after the last step
    too: from there each of them can be finished without the others.
    """
    processes, config = make_accelerator(), runs[0].config
    device, main = processes.device, processes.is_main_process  # the main one writes and reports
    model.to(device)
    run_dirs, several = [run.run_dir for run in runs], len(runs) > 1
    logs = [Log(run.run_dir / LOG, main) for run in runs]
    total = config.total_steps(len(train_examples))
    per_epoch = math.ceil(len(train_examples) / config.batch_size)

    def validate(step: int) -> list[float]:
        losses = validation_losses(model, valid_examples, config, processes, len(runs), on_progress)
        check_finite(losses, run_dirs, step)
        for log, loss in zip(logs, losses, strict=True):
            log.write({"step": step, "epoch": step / per_epoch, "valid_loss": loss})
        return losses

    parameters = [p for run in runs for p in run.attached.parameters.values()]
    if not parameters:  # the bare backbone
        logs[0].keep_until(0)
        return [{"steps": 0, "valid_loss": loss} for loss in validate(0)]
    optimizers = [make_optimizer(run.attached, run.config) for run in runs]
    members = list(zip(runs, optimizers, logs, strict=True))
    # each process draws its own dropout
    torch.manual_seed(runs[0].seed + 1_000_003 * processes.process_index)
    before = [
        resume(run.run_dir / STATE, run.attached, optimizer, run.identity, processes)
        for run, optimizer, _ in members
    ]
    done = before[0]["step"]
    check(
        all(counters["step"] == done for counters in before),
        "these runs stopped at different steps; let each go on alone",
    )
    for log in logs:
        log.keep_until(done)
    if all("result" in counters for counters in before):  # all steps are done, together
        return [counters["result"] for counters in before]
    note, given_up = note_in(logs, done), set().union(*(c["given_up"] for c in before))
    for told in dict.fromkeys(warmup_note(total, run.config) for run in runs):
        if main and told:
            note(told)
    sums, counts = ([counters[key] for counters in before] for key in ("loss_sum", "loss_count"))
    running = RunningLoss(sums, counts, device)
    orders = [
        batches_from(train_examples, config.batch_size, run.seed, done, total) for run in runs
    ]
    position_wise = all(run.attached.position_wise for run in runs)
    recipes = {
        run.run_dir: (log, asdict(run.config) | {"seed": run.seed}) for run, _, log in members
    }

    ways = training_loss(model, config, parameters, position_wise, total, note, given_up)
    with ways as summed_losses, tracked(recipes, config.tracker):
        for step, batches in enumerate(zip(*orders, strict=True), done + 1):
            model.train()
            rates = [learning_rate(step - 1, total, run.config) for run in runs]
            for (run, optimizer, _), lr in zip(members, rates, strict=True):
                set_step(optimizer, step, lr, run.config)
            shares, weights = zip(*(share_of(batch, processes) for batch in batches), strict=True)
            losses = summed_losses(list(shares))  # (K,), this process's part
            losses = losses * torch.tensor(weights).to(device, non_blocking=True)
            values = processes.reduce(losses.detach(), "sum")
            if device.type == "cpu":  # elsewhere to read a loss is to wait for the device
                check_finite(values.tolist(), run_dirs, step)
            loss = losses.sum()
            if main:  # once: the gradients of all processes are summed
                loss = loss + sum(run.attached.penalty() for run in runs)
            loss.backward()
            for run, optimizer, log in members:
                sum_gradients(run.attached, processes)
                optimizer.step()
                for event in after_step(run.attached, optimizer, step):
                    log.write({"step": step, "event": event})
                optimizer.zero_grad()
            running.add(values, batches)

            if step % config.log_every == 0 or step == total:
                means, speed = running.take()
                check_finite(means, run_dirs, step)
                for (run, _, log), mean, lr in zip(members, means, rates, strict=True):
                    log.write(log_entry(step, step / per_epoch, mean, lr, speed, run.attached))
            if main:
                on_progress(step, total, shown(values, step, config.log_every))
            if step % per_epoch == 0 or step == total:
                valid = validate(step)
            if step == total:
                results = [{"steps": total, "valid_loss": loss} for loss in valid]
                if several:
                    results = [result | {"together": len(runs)} for result in results]
            if step == total and several or step % config.save_every == 0 and step < total:
                same = {"beside": sorted(run.identity for run in runs)}  # whose draws are in it
                same |= {"given_up": sorted(given_up)}  # a run that goes on takes the same way
                counters = [own | same for own in running.counters(step)]
                check_finite([own["loss_sum"] for own in counters], run_dirs, step)
                if step == total:
                    for own, result in zip(counters, results, strict=True):
                        own["result"] = result
                save_together(members, processes, counters)
    for run in runs:
        check_parameters(run.attached, run.run_dir, total)
    return results
