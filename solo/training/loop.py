"""The training loop: LoRA's public E2E recipe (design: section 2), for any method.

It sees a model, what is trained in it (`Method`), and examples; it knows no method by name. A
run killed at any moment and started again ends with the same parameters, bit for bit on one
machine: order is a function of seed and epoch, and the state holds the random generators.

Three ways lead through the backbone, and give the same but for rounding and the dropout's draws.
On the CPU a batch is one row without padding, and what never changes is prepared once
(solo/backbones/fast.py). On an accelerator every example has a row, in few shapes, so that a
compiled step can be replayed. `packed: false` is the plain path that both are tested against, and
the one for methods that look at more than one position.

Runs that share a frozen backbone can train together: their batches go through it side by side, and
each has its own adapter, optimizer, log and files. A run alone is the case of one.

Under `accelerate launch` the processes share each batch: process k takes every n-th example from
the k-th on, the gradients are summed, and the loss is the mean over all target tokens of the
batch, so the steps are those of one process but for dropout, which every process draws for itself.
The main process alone writes and reports.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import Accelerator

from solo.adapters.base import Method, check, stack
from solo.backbones.fast import frozen_products
from solo.datasets.data import Example, collate, epoch_batches, pack, pad
from solo.runs import checkpoint
from solo.runs.record import Log
from solo.training.loss import autocast, summed_loss, to_device, validation_losses
from solo.training.recipe import TrainConfig, follow, learning_rate, make_optimizer, set_step

LOG = "train_log.jsonl"
OWN = ("lr", "warmup_steps", "weight_decay", "betas", "eps")  # may differ between runs together
COMPILE_FROM = 2000  # steps that pay for a compilation
Progress = Callable[[int, int, dict], None]


class Diverged(FloatingPointError):
    """The loss of a run is not finite. run_dir: of which."""

    def __init__(self, run_dir: Path, message: str):
        super().__init__(message)
        self.run_dir = run_dir


@dataclass
class Run:
    """One of the runs that train together, in its own directory."""

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
    """Train what `attached` names, in place; returns {"steps", "valid_loss"}. See train_runs."""
    run = Run(attached, config, Path(run_dir), seed, identity)
    return train_runs(model, [run], train_examples, valid_examples, on_progress)[0]


def train_runs(
    model,
    runs: Sequence[Run],
    train_examples: list[Example],
    valid_examples: list[Example],
    on_progress: Progress = lambda done, total, info: None,
) -> list[dict]:
    """Train runs together, in place; returns {"steps", "valid_loss"} of each.

    If there are more than one, each was attached to `model` and detached again, and their recipes
    differ in OWN only. Writes, for each, `train_log.jsonl` (a line per `log_every` steps and per
    validation) and, every `save_every` steps, the training state, from which a later call with the
    same identities goes on.

    Raises ValueError for runs that cannot train together, for a state of another identity or of
    another number of processes, and for a schedule that does not fit into the run;
    FloatingPointError at a loss that is not finite, with the last good state kept.
    """
    accelerator = Accelerator()
    config = _common(runs, accelerator)
    model.to(accelerator.device)
    logs = [Log(run.run_dir / LOG, accelerator.is_main_process) for run in runs]
    per_epoch = math.ceil(len(train_examples) / config.batch_size)

    def validate(step: int) -> list[float]:
        losses = validation_losses(model, valid_examples, config, accelerator, len(runs))
        for log, loss in zip(logs, losses, strict=True):
            log.write({"step": step, "epoch": step / per_epoch, "valid_loss": loss})
        return losses

    if not runs[0].attached.parameters:
        logs[0].keep_until(0)
        return [{"steps": 0, "valid_loss": validate(0)[0]}]
    attached = [run.attached for run in runs]
    unstack = stack(model, attached) if len(runs) > 1 else lambda: None
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    with ExitStack() as closing:
        closing.callback(unstack)
        loop = _Loop(model, runs, logs, accelerator, config.total_steps(len(train_examples)))
        if loop.by_row:
            closing.enter_context(frozen_products(model, dtype))
        for step, indices in _batches(len(train_examples), runs, loop.step, loop.total):
            loss = loop.advance(step, [[train_examples[i] for i in batch] for batch in indices])
            if step % config.log_every == 0 or step == loop.total:
                loop.write_logs(per_epoch)
            if accelerator.is_main_process:
                on_progress(step, loop.total, {"loss": f"{loss:.3f}"} if loss is not None else {})
            if step % per_epoch == 0 or step == loop.total:
                valid_losses = validate(step)
            if step % config.save_every == 0 and step < loop.total:
                loop.save()
    return [{"steps": loop.total, "valid_loss": loss} for loss in valid_losses]


def _common(runs: Sequence[Run], accelerator: Accelerator) -> TrainConfig:
    """The recipe that the runs share; ValueError if they cannot train together."""
    config = runs[0].config
    if len(runs) > 1:
        check(
            accelerator.num_processes == 1,
            "runs train together in one process; under accelerate launch start them one by one",
        )
        for run in runs:
            check(
                replace(run.config, **{name: getattr(config, name) for name in OWN}) == config,
                f"{run.run_dir} and {runs[0].run_dir} have recipes that differ in more than "
                f"{', '.join(OWN)}; train them one by one",
            )
            check(
                run.attached.position_wise and config.packed and bool(run.attached.parameters),
                f"the method of {run.run_dir} cannot share a backbone; train it alone",
            )
    return config


class _Loop:
    """What changes from step to step: optimizers, counters, and the losses since the last log."""

    def __init__(self, model, runs: Sequence[Run], logs: list[Log], accelerator, total: int):
        self.model, self.runs, self.logs, self.accelerator = model, runs, logs, accelerator
        self.config, self.total = runs[0].config, total
        self.optimizers = [make_optimizer(run.attached, run.config) for run in runs]
        packed = self.config.packed and all(run.attached.position_wise for run in runs)
        on_cpu, compiled = model.device.type == "cpu", self.config.compile
        if compiled is None:
            compiled = not on_cpu and packed and total >= COMPILE_FROM
        self.by_row = packed and on_cpu and not compiled
        multiple, self.summed_loss = 1, summed_loss
        if compiled:
            multiple = 32  # few shapes
            mode = None if on_cpu else "reduce-overhead"
            self.summed_loss = torch.compile(summed_loss, dynamic=True, mode=mode)
        if self.by_row:
            self.make_batch = pack
        elif packed:
            self.make_batch = partial(pad, multiple=multiple)
        else:
            self.make_batch = lambda batches: collate(batches[0])
        # To read a loss is to wait for the device. The CPU does not mind, and tells earlier.
        self.read_every = 1 if model.device.type == "cpu" else self.config.log_every
        for run in runs:
            run.attached.start(total)
        # Dropout is each process's own.
        torch.manual_seed(runs[0].seed + 1_000_003 * accelerator.process_index)
        counters = [self._resume(*pair) for pair in zip(runs, self.optimizers, strict=True)]
        self.step, self.count = counters[0]["step"], counters[0]["loss_count"]
        check(
            all(c["step"] == self.step for c in counters),
            "these runs stopped at different steps; let each go on alone",
        )
        sums = [c["loss_sum"] for c in counters]
        self.sums = torch.tensor(sums, dtype=torch.float64, device=model.device)
        for log in logs:
            log.keep_until(self.step)
        self.tokens, self.clock = 0, time.monotonic()

    def _resume(self, run: Run, optimizer) -> dict:
        """The counters of a run's saved state, which is loaded, or those of a new run."""
        wanted = {"identity": run.identity, "processes": self.accelerator.num_processes}
        path = run.run_dir / checkpoint.STATE
        if not path.exists():
            return wanted | {"step": 0, "loss_sum": 0.0, "loss_count": 0}
        found = checkpoint.read_counters(path)
        check(
            found["identity"] == wanted["identity"],
            f"{path} is the state of another configuration ({found['identity']}, this one is "
            f"{wanted['identity']}); choose another output_dir, or delete the file",
        )
        check(
            found["processes"] == wanted["processes"],
            f"{path} was written by {found['processes']} processes, these are "
            f"{wanted['processes']}; start as many as before, or delete the file to begin again",
        )
        checkpoint.load_state(path, run.attached, optimizer, self.accelerator.process_index)
        if run.attached.events:
            follow(optimizer, run.attached, found["step"])
        return found

    def advance(self, step: int, batches: list[list[Example]]) -> float | None:
        """Make update number `step` (from 1); the mean of the runs' losses, if it was read."""
        self.step, self.count = step, self.count + 1
        losses = self._update(batches)
        self.sums += losses
        self.tokens += sum(len(example.ids) for batch in batches for example in batch)
        for run, optimizer, log in zip(self.runs, self.optimizers, self.logs, strict=True):
            known = len(run.attached.events)
            run.attached.after_step(step)
            events = run.attached.events[known:]
            if events:
                follow(optimizer, run.attached, step)
            for event in events:
                log.write({"step": step, "event": event})
            optimizer.zero_grad()
        return losses.mean().item() if step % self.read_every == 0 else None

    def _update(self, batches: list[list[Example]]) -> torch.Tensor:
        """One step of every run; their losses, (runs,). A bad one raises before it."""
        self.model.train()
        accelerator, config = self.accelerator, self.config
        for run, optimizer in zip(self.runs, self.optimizers, strict=True):
            lr = learning_rate(self.step - 1, self.total, run.config)
            set_step(optimizer, self.step, lr, run.config)
        shares = [
            batch[accelerator.process_index :: accelerator.num_processes] for batch in batches
        ]
        # A process without a share of a short batch goes along with a gradient of zero.
        given = [share or batch[:1] for share, batch in zip(shares, batches, strict=True)]
        batch = to_device(self.make_batch(given), self.model.device)
        weights = [
            bool(share) / sum(example.n_targets for example in whole)
            for share, whole in zip(shares, batches, strict=True)
        ]
        with autocast(self.model, config):
            losses = self.summed_loss(self.model, batch, len(given), config.label_smoothing)
        losses = losses * torch.tensor(weights).to(losses.device, non_blocking=True)
        values = accelerator.reduce(losses.detach(), "sum")
        if self.read_every == 1:
            self._check_finite(values)
        loss = losses.sum()
        if accelerator.is_main_process:  # once: the gradients of all processes are summed
            loss = loss + sum(run.attached.penalty() for run in self.runs)
        accelerator.backward(loss)
        for run, optimizer in zip(self.runs, self.optimizers, strict=True):
            _sum_gradients(run.attached, accelerator)
            optimizer.step()
        return values

    def _check_finite(self, losses: torch.Tensor) -> None:
        for run, value in zip(self.runs, losses.tolist(), strict=True):
            if not math.isfinite(value):
                raise Diverged(
                    run.run_dir,
                    f"the loss is {value} at step {self.step}; the last good state of "
                    f"{run.run_dir} is kept: lower train.lr, or look at this step's data",
                )

    def write_logs(self, per_epoch: int) -> None:
        """A line for each run: its mean loss since the last one, and what the method tells."""
        self._check_finite(self.sums)
        speed = round(self.tokens / (time.monotonic() - self.clock))
        for run, log, loss in zip(self.runs, self.logs, self.sums.tolist(), strict=True):
            line = {"step": self.step, "epoch": self.step / per_epoch, "loss": loss / self.count}
            line["lr"] = learning_rate(self.step - 1, self.total, run.config)
            log.write(line | {"tokens_per_s": speed} | run.attached.scalars())
        self.sums.zero_()
        self.count, self.tokens, self.clock = 0, 0, time.monotonic()

    def save(self) -> None:
        """Write every run's state."""
        self._check_finite(self.sums)
        random = _random_states(self.accelerator)
        if not self.accelerator.is_main_process:
            return
        counters = {"processes": self.accelerator.num_processes, "step": self.step}
        counters["loss_count"] = self.count
        sums = self.sums.tolist()
        for run, optimizer, loss in zip(self.runs, self.optimizers, sums, strict=True):
            own = counters | {"identity": run.identity, "loss_sum": loss}
            path = run.run_dir / checkpoint.STATE
            checkpoint.save_state(path, run.attached, optimizer, own, random)


def _batches(n_examples: int, runs: Sequence[Run], done: int, total: int):
    """(step, indices of each run's batch) for the steps done + 1 ... total, counted from 1."""
    size, seeds = runs[0].config.batch_size, {run.seed for run in runs}
    per_epoch = math.ceil(n_examples / size)
    step = done
    while step < total:
        epoch, first = divmod(step, per_epoch)
        orders = {seed: epoch_batches(n_examples, size, seed, epoch) for seed in seeds}
        for place in range(first, min(per_epoch, first + total - step)):
            step += 1
            yield step, [orders[run.seed][place] for run in runs]


def _sum_gradients(attached: Method, accelerator: Accelerator) -> None:
    """Give every process the sum of all processes' gradients, in one exchange."""
    if accelerator.num_processes == 1:
        return
    gradients = [p.grad for p in attached.parameters.values() if p.grad is not None]
    total = accelerator.reduce(torch.cat([g.flatten() for g in gradients]), "sum")
    for gradient, summed in zip(
        gradients, total.split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(summed.view_as(gradient))


def _random_states(accelerator: Accelerator) -> dict[str, torch.Tensor]:
    """The random state of every process: (processes, n) by kind."""
    return {
        kind: accelerator.gather(state[None].to(accelerator.device)).cpu()
        for kind, state in checkpoint.random_state().items()
    }
