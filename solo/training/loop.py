"""The training loop: LoRA's public E2E recipe (learning rate, AdamW, loss), for any method.

It sees a model, what is trained in it (`Method`), and examples; it knows no method by name. A
run killed at any moment and started again ends with the same parameters, bit for bit on one
machine: order is a function of seed and epoch, and the state holds the random generators.

The parts: batches.py (the order, and how a batch is laid out), loss.py (the loss, and the cheapest
way to it), recipe.py (learning rate, optimizer), state.py (what a run goes on from), progress.py
(what is told), tracking.py (to whom else), processes.py (several processes). Several runs at once:
together.py.
"""

import math
from dataclasses import asdict
from pathlib import Path

import torch

from solo.adapters.base import Method
from solo.datasets.data import Example
from solo.files import Log
from solo.training.batches import batches_from
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
from solo.training.state import STATE, resume, save
from solo.training.tracking import tracked

LOG = "train_log.jsonl"


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
    processes, run_dir = make_accelerator(), Path(run_dir)
    device, main = processes.device, processes.is_main_process  # the main one writes and reports
    model.to(device)
    log = Log(run_dir / LOG, main)
    total = config.total_steps(len(train_examples))
    per_epoch = math.ceil(len(train_examples) / config.batch_size)

    def validate(step: int) -> float:
        [loss] = validation_losses(model, valid_examples, config, processes, 1, on_progress)
        check_finite([loss], [run_dir], step)
        log.write({"step": step, "epoch": step / per_epoch, "valid_loss": loss})
        return loss

    if not attached.parameters:  # the bare backbone
        log.keep_until(0)
        return {"steps": 0, "valid_loss": validate(0)}
    optimizer = make_optimizer(attached, config)
    attached.start(total)
    torch.manual_seed(seed + 1_000_003 * processes.process_index)  # each draws its own dropout
    done = resume(run_dir / STATE, attached, optimizer, identity, processes)
    log.keep_until(done["step"])
    if "result" in done:  # all steps are done, together with others (together.py)
        return done["result"]
    note = note_in([log], done["step"])
    if main and (told := warmup_note(total, config)):
        note(told)
    running = RunningLoss([done["loss_sum"]], [done["loss_count"]], device)
    batches = batches_from(train_examples, config.batch_size, seed, done["step"], total)

    with (
        training_loss(
            model, config, list(attached.parameters.values()), attached.position_wise, total, note
        ) as summed_losses,
        tracked({run_dir: (log, asdict(config) | {"seed": seed})}, config.tracker),
    ):
        for step, batch in enumerate(batches, done["step"] + 1):
            model.train()
            lr = learning_rate(step - 1, total, config)
            set_step(optimizer, step, lr, config)
            share, weight = share_of(batch, processes)
            loss = summed_losses([share]) * weight  # (1,), this process's part of the mean
            values = processes.reduce(loss.detach(), "sum")
            if device.type == "cpu":  # elsewhere to read a loss is to wait for the device
                check_finite(values.tolist(), [run_dir], step)
            if main:  # once: the gradients of all processes are summed
                loss = loss + attached.penalty()
            loss.sum().backward()
            sum_gradients(attached, processes)
            optimizer.step()
            for event in after_step(attached, optimizer, step):
                log.write({"step": step, "event": event})
            optimizer.zero_grad()
            running.add(values, [batch])

            if step % config.log_every == 0 or step == total:
                [mean], speed = running.take()
                check_finite([mean], [run_dir], step)
                log.write(log_entry(step, step / per_epoch, mean, lr, speed, attached))
            if main:
                on_progress(step, total, shown(values, step, config.log_every))
            if step % per_epoch == 0 or step == total:
                valid_loss = validate(step)
            if step % config.save_every == 0 and step < total:
                [counters] = running.counters(step)
                counters["beside"] = [identity]  # as together.py notes whose draws are in it
                check_finite([counters["loss_sum"]], [run_dir], step)
                log.sync()
                save(run_dir / STATE, attached, optimizer, identity, processes, counters)
    check_parameters(attached, run_dir, total)
    return {"steps": total, "valid_loss": valid_loss}
