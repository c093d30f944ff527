"""The training loop: LoRA's public E2E recipe (learning rate, AdamW, loss), for any method.

It sees a model, what is trained in it (`Method`), and examples; it knows no method by name. A
run killed at any moment and started again ends with the same parameters, bit for bit on one
machine: order and dropout are functions of the seed and the epoch.

The parts: batches.py (the order, and how a batch is laid out), loss.py (the loss, and the cheapest
way to it), recipe.py (learning rate, optimizer), state.py (what a run goes on from), progress.py
(what is told), tracking.py (to whom else), processes.py (several processes). Several runs that
share a frozen backbone go through the same loop side by side; together.py says which of them can.
"""

import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from solo.adapters.base import Method
from solo.datasets.data import Example
from solo.options import check
from solo.run_files import LOG, STATE
from solo.training.batches import batches_from, sent
from solo.training.checked import Loss
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
from solo.training.state import resume, save_together
from solo.training.tracking import tracked


@dataclass
class Training:
    """What is trained, by which recipe, in which directory; alone or beside others."""

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

    Raises ValueError for a state of another identity, and for a
    schedule that does not fit into the run; FloatingPointError at a loss that is not finite, with
    the last good state kept.
    """
    attached.start(config.total_steps(len(train_examples)))
    training = Training(attached, config, Path(run_dir), seed, identity)
    [result] = train_side_by_side(model, [training], train_examples, valid_examples, on_progress)
    return result


def train_side_by_side(
    model,
    trainings: Sequence[Training],
    train_examples: list[Example],
    valid_examples: list[Example],
    on_progress: Progress,
) -> list[dict]:
    """The loop itself, for K trainings whose methods are at work in `model` and have been started.

    Their recipes differ in together.py's OWN only. Several trainings get a state after the last
    step too: from there each of them can be finished without the others.
    """
    loop = _Loop(model, trainings, train_examples, valid_examples, on_progress)
    if not loop.parameters:  # the bare backbone
        loop.logs[0].keep_until(0)
        return [{"steps": 0, "valid_loss": loss} for loss in loop.validate(0)]
    done = loop.resume()
    if loop.results:  # all steps are done, together
        return loop.results
    recipes = {
        training.run_dir: (log, asdict(training.config) | {"seed": training.seed})
        for training, log in zip(trainings, loop.logs, strict=True)
    }
    orders = [
        batches_from(train_examples, loop.config.batch_size, training.seed, done, loop.total)
        for training in trainings
    ]
    with loop.summed_losses(done) as summed_losses, tracked(recipes, loop.config.tracker):
        for step, batches in enumerate(zip(*orders, strict=True), done + 1):
            losses = loop.update(step, batches, summed_losses)
            loop.tell(step, losses, batches)
            aside = time.monotonic()
            if step % loop.per_epoch == 0 or step == loop.total:
                valid_losses = loop.validate(step)
            if step == loop.total:
                loop.end(valid_losses)
            loop.save(step)
            loop.running.clock += time.monotonic() - aside  # what takes no step counts for no speed
    for training in trainings:
        check_parameters(training.attached, training.run_dir, loop.total)
    return loop.results


class _Loop:
    """K trainings at work in one model: what their steps share, and what a step consists of.

    results: of each training, {"steps", "valid_loss", ...}; empty until all steps are done.
    given_up: the ways to the loss that failed their check (loss.py).
    """

    def __init__(self, model, trainings, train_examples, valid_examples, on_progress):
        self.model, self.trainings, self.on_progress = model, trainings, on_progress
        self.valid_examples, self.config = valid_examples, trainings[0].config
        self.processes = make_accelerator()
        self.device, self.main = self.processes.device, self.processes.is_main_process
        model.to(self.device)
        self.total = self.config.total_steps(len(train_examples))
        self.per_epoch = self.config.steps_per_epoch(len(train_examples))
        self.run_dirs = [training.run_dir for training in trainings]
        self.logs = [Log(directory / LOG, self.main) for directory in self.run_dirs]
        self.results, self.given_up = [], set()

    @property
    def parameters(self) -> list[nn.Parameter]:
        """All that is trained now; a schedule may change which these are."""
        return [p for training in self.trainings for p in training.attached.parameters.values()]

    def resume(self) -> int:
        """Put every training back to its last state; the number of steps that are done.

        Raises ValueError for states of different steps, and what `state.resume` raises.
        """
        optimizers = [make_optimizer(each.attached, each.config) for each in self.trainings]
        self.members = list(zip(self.trainings, optimizers, self.logs, strict=True))
        before = [
            resume(each.run_dir / STATE, each.attached, optimizer, each.identity)
            for each, optimizer, _ in self.members
        ]
        done = before[0]["step"]
        check(
            all(counters["step"] == done for counters in before),
            "these runs stopped at different steps; let each go on alone",
        )
        for log in self.logs:
            log.keep_until(done)
        if all("result" in counters for counters in before):
            self.results = [counters["result"] for counters in before]
        self.given_up = set().union(*(counters["given_up"] for counters in before))
        sums, counts = ([c[key] for c in before] for key in ("loss_sum", "loss_count"))
        self.running = RunningLoss(sums, counts, self.device)
        return done

    def summed_losses(self, done: int) -> AbstractContextManager[Loss]:
        """The cheapest way to the losses of a batch; `done` steps are behind."""
        note = note_in(self.logs, done)
        notes = {warmup_note(self.total, training.config) for training in self.trainings}
        for words in sorted(filter(None, notes)):
            if self.main and done == 0:
                note(words)
        methods = [training.attached for training in self.trainings]
        return training_loss(self.model, self.config, methods, self.total, note, self.given_up)

    def update(self, step: int, batches: Sequence[list[Example]], summed_losses: Loss) -> Tensor:
        """Update number `step` (from 1) on a batch of each training; their losses, (K,)."""
        self.model.train()
        for training, optimizer, _ in self.members:
            lr = learning_rate(step - 1, self.total, training.config)
            set_step(optimizer, step, lr, training.config)
        shares, weights = zip(*(share_of(batch, self.processes) for batch in batches), strict=True)
        losses = summed_losses(list(shares))  # (K,), this process's part
        losses = losses * sent(torch.tensor(weights), self.device)
        values = self.processes.reduce(losses.detach(), "sum")
        if self.device.type == "cpu":  # elsewhere to read a loss is to wait for the device
            check_finite(values.tolist(), self.run_dirs, step)
        loss = losses.sum()
        if self.main:  # once: the gradients of all processes are summed
            loss = loss + sum(training.attached.penalty() for training in self.trainings)
        loss.backward()
        for training, optimizer, log in self.members:
            sum_gradients(training.attached, self.processes)
            optimizer.step()
            for event in after_step(training.attached, optimizer, step):
                log.write({"step": step, "event": event})
            optimizer.zero_grad()
        return values

    def tell(self, step: int, losses: Tensor, batches: Sequence[list[Example]]) -> None:
        """Count the losses of a step, (K,); write the logs when their time has come."""
        self.running.add(losses, batches)
        if step % self.config.log_every == 0 or step == self.total:
            means, speed = self.running.take()
            check_finite(means, self.run_dirs, step)
            for (training, optimizer, log), mean in zip(self.members, means, strict=True):
                lr = optimizer.param_groups[0]["lr"]
                epoch = step / self.per_epoch
                log.write(log_entry(step, epoch, mean, lr, speed, training.attached))
        if self.main:
            self.on_progress(step, self.total, shown(losses, step, self.config.log_every))

    def validate(self, step: int) -> list[float]:
        """The validation loss of each training after `step`, written into its log."""
        losses = validation_losses(
            self.model, self.valid_examples, self.config, self.processes, len(self.trainings),
            self.on_progress,
        )  # fmt: skip
        check_finite(losses, self.run_dirs, step)
        for log, loss in zip(self.logs, losses, strict=True):
            log.write({"step": step, "epoch": step / self.per_epoch, "valid_loss": loss})
        return losses

    def end(self, valid_losses: Sequence[float]) -> None:
        """All steps are done, with these validation losses."""
        several = {"together": len(self.trainings)} if len(self.trainings) > 1 else {}
        self.results = [
            {"steps": self.total, "valid_loss": loss} | several for loss in valid_losses
        ]

    def save(self, step: int) -> None:
        """Write the states where it is time; after the last step only those of several."""
        last = step == self.total
        if len(self.trainings) == 1 if last else step % self.config.save_every:
            return
        same = {"given_up": sorted(self.given_up)}  # a run that goes on takes the same way
        counters = [own | same for own in self.running.counters(step)]
        check_finite([own["loss_sum"] for own in counters], self.run_dirs, step)
        if last:
            pairs = zip(counters, self.results, strict=True)
            counters = [own | {"result": result} for own, result in pairs]
        if self.main:
            save_together(self.members, counters)
