"""The training loop: LoRA's public E2E recipe (design: section 2), for any method.

It sees a model, what is trained in it (`Attached`), and examples; it knows no method by name. A
run killed at any moment and started again ends with the same parameters, bit for bit on one
machine: order is a function of seed and epoch, and the state holds the random generators.

Under `accelerate launch` the processes share each batch: process k takes every n-th example from
the k-th on, the gradients are summed, and the loss is the mean over all target tokens of the
batch, so the steps are those of one process but for dropout, which every process draws for itself.
The main process alone writes and reports.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from accelerate import Accelerator

from solo import checkpoint
from solo.adapters.base import Attached, check
from solo.data import IGNORED, Example, collate, epoch_batches
from solo.record import Log

LOG = "train_log.jsonl"
Progress = Callable[[int, int, dict], None]


@dataclass(frozen=True)
class TrainConfig:
    """The recipe. Defaults are the paper's set-up; configs/train says where each is from."""

    batch_size: int = 4
    epochs: int = 5
    max_steps: int | None = None  # stop the schedule here instead of after `epochs`
    lr: float = 2e-4
    warmup_steps: int = 500
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    eps: float = 1e-6  # added before the bias correction, as LoRA's AdamW does
    label_smoothing: float = 0.1
    precision: str = "fp32"
    valid_batch_size: int = 16
    log_every: int = 100
    save_every: int = 1000

    def __post_init__(self):
        for name in ("batch_size", "epochs", "valid_batch_size", "log_every", "save_every"):
            check(getattr(self, name) >= 1, f"train.{name} is {getattr(self, name)}; at least 1")
        check(
            self.max_steps is None or self.max_steps >= 1,
            f"train.max_steps is {self.max_steps}; at least 1, or null for whole epochs",
        )
        check(self.lr > 0, f"train.lr is {self.lr}; it must be above 0")
        check(self.warmup_steps >= 0, f"train.warmup_steps is {self.warmup_steps}; at least 0")
        check(
            0 <= self.label_smoothing < 1,
            f"train.label_smoothing is {self.label_smoothing}; it must be in [0, 1)",
        )
        check(
            self.precision in ("fp32", "bf16"),
            f"train.precision is {self.precision!r}; known: fp32, bf16",
        )

    def total_steps(self, n_examples: int) -> int:
        """Steps of the run: whole epochs, or `max_steps`."""
        return self.max_steps or self.epochs * math.ceil(n_examples / self.batch_size)


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """The rate of step 0, 1, ...: zero at first, linear to `lr`, then linear to zero at the end."""
    if step < config.warmup_steps:
        return config.lr * step / config.warmup_steps
    return config.lr * max(0.0, (total - step) / max(1, total - config.warmup_steps))


def target_logits(model, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits, targets) at the positions that carry loss: (N, vocabulary) and (N,).

    The head, a third of GPT-2 S's work, runs at these positions only.
    """
    hidden = model.transformer(batch["input_ids"], use_cache=False).last_hidden_state  # (B, L, d)
    targets = batch["labels"][:, 1:]  # (B, L - 1): position i predicts token i + 1
    mask = targets != IGNORED
    return model.lm_head(hidden[:, :-1][mask]), targets[mask]


@torch.no_grad()
def validation_loss(
    model, examples: list[Example], config: TrainConfig, accelerator: Accelerator
) -> float:
    """Mean negative log-likelihood per target token (nats), without label smoothing."""
    model.eval()
    total = 0.0
    by_length = sorted(examples, key=lambda example: len(example.ids))  # little padding
    size, index = config.valid_batch_size, accelerator.process_index
    for i in range(index * size, len(by_length), accelerator.num_processes * size):
        batch = _to_device(collate(by_length[i : i + size]), model.device)
        with _autocast(model, config):
            logits, targets = target_logits(model, batch)
        total += F.cross_entropy(logits.float(), targets, reduction="sum").item()
    if accelerator.num_processes > 1:
        share = torch.tensor(total, dtype=torch.float64, device=accelerator.device)
        total = accelerator.reduce(share, "sum").item()
    return total / sum(example.n_targets for example in examples)


def train(
    model,
    attached: Attached,
    train_examples: list[Example],
    valid_examples: list[Example],
    config: TrainConfig,
    run_dir: Path,
    seed: int,
    identity: str,
    on_progress: Progress = lambda done, total, info: None,
) -> dict:
    """Train what `attached` names, in place; returns {"steps", "valid_loss"}.

    Writes `train_log.jsonl` (a line per `log_every` steps and per validation) and, every
    `save_every` steps, the training state, from which a later call with the same `identity` goes
    on. Raises ValueError for a state of another identity or of another number of processes,
    FloatingPointError at a loss that is not finite, with the last good state kept.
    """
    accelerator = Accelerator()
    main = accelerator.is_main_process
    model.to(accelerator.device)
    state_path, log = Path(run_dir) / checkpoint.STATE, Log(Path(run_dir) / LOG, main)
    per_epoch = math.ceil(len(train_examples) / config.batch_size)

    def validate(step: int) -> float:
        loss = validation_loss(model, valid_examples, config, accelerator)
        log.write({"step": step, "epoch": step / per_epoch, "valid_loss": loss})
        return loss

    if not attached.parameters:
        log.keep_until(0)
        return {"steps": 0, "valid_loss": validate(0)}

    total = config.total_steps(len(train_examples))
    optimizer = _optimizer(attached, config)
    counters = {"identity": identity, "processes": accelerator.num_processes}
    torch.manual_seed(seed + 1_000_003 * accelerator.process_index)  # dropout is each one's own
    if state_path.exists():
        counters = _resume(state_path, attached, optimizer, counters, accelerator)
    else:
        counters |= {"step": 0, "loss_sum": 0.0, "loss_count": 0}
    log.keep_until(counters["step"])
    valid_loss, tokens, clock = None, 0, time.monotonic()
    for step, indices in _batches(len(train_examples), config, seed, counters["step"], total):
        examples = [train_examples[i] for i in indices]
        lr = learning_rate(step - 1, total, config)
        loss = _step(model, attached, optimizer, examples, step, lr, config, accelerator)
        tokens += sum(len(example.ids) for example in examples)
        counters["step"] = step
        counters["loss_sum"] += loss
        counters["loss_count"] += 1
        if step % config.log_every == 0 or step == total:
            mean = counters["loss_sum"] / counters["loss_count"]
            speed = round(tokens / (time.monotonic() - clock))
            line = {"step": step, "epoch": step / per_epoch, "loss": mean, "lr": lr}
            log.write(line | {"tokens_per_s": speed} | attached.scalars())
            counters |= {"loss_sum": 0.0, "loss_count": 0}
            tokens, clock = 0, time.monotonic()
        if main:
            on_progress(step, total, {"loss": f"{loss:.3f}"})
        if step % per_epoch == 0 or step == total:
            valid_loss = validate(step)
        if step % config.save_every == 0 and step < total:
            random = _random_states(accelerator)
            if main:
                checkpoint.save_state(state_path, attached, optimizer, counters, random)
    return {"steps": total, "valid_loss": valid_loss}


def _batches(n_examples: int, config: TrainConfig, seed: int, done: int, total: int):
    """(step, indices of its batch) for the steps done + 1 ... total, counted from 1."""
    per_epoch = math.ceil(n_examples / config.batch_size)
    step = done
    while step < total:
        epoch, position = divmod(step, per_epoch)
        for indices in epoch_batches(n_examples, config.batch_size, seed, epoch)[position:]:
            step += 1
            yield step, indices
            if step == total:
                return


def _step(model, attached, optimizer, examples, step, lr, config, accelerator) -> float:
    """Update number `step` (from 1); returns its loss. A bad loss raises before the update."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = lr
        group["eps"] = config.eps / math.sqrt(1 - config.betas[1] ** step)
    share = examples[accelerator.process_index :: accelerator.num_processes]
    # A process without a share of a short batch goes along with a gradient of zero.
    batch = _to_device(collate(share or examples[:1]), model.device)
    with _autocast(model, config):
        logits, targets = target_logits(model, batch)
    n_targets = sum(example.n_targets for example in examples)
    smoothing = config.label_smoothing
    loss = F.cross_entropy(logits.float(), targets, reduction="sum", label_smoothing=smoothing)
    loss = loss * (bool(share) / n_targets)
    value = accelerator.reduce(loss.detach(), "sum").item()
    if not math.isfinite(value):
        raise FloatingPointError(
            f"the loss is {value} at step {step}; the last good state is kept: "
            "lower train.lr, or look at this step's data"
        )
    accelerator.backward(loss)
    _sum_gradients(attached, accelerator)
    optimizer.step()
    attached.after_step(step)
    optimizer.zero_grad()
    return value


def _sum_gradients(attached: Attached, accelerator: Accelerator) -> None:
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


def _autocast(model, config: TrainConfig):
    """Matrix products in bf16 where the recipe says so; parameters and loss stay in fp32."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16")


def _optimizer(attached: Attached, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over everything trained, weight decay included (LoRA: examples/NLG/src/optimizer.py).

    LoRA's version adds eps before the bias correction; `_step` sets the equivalent eps. It decays
    the weights after the update, torch before: a difference of the order lr^2.
    """
    return torch.optim.AdamW(
        list(attached.parameters.values()),
        lr=config.lr,
        betas=tuple(config.betas),
        weight_decay=config.weight_decay,
    )


def _resume(path: Path, attached, optimizer, wanted: dict, accelerator: Accelerator) -> dict:
    """Load a state and return its counters; ValueError unless it has the `wanted` ones."""
    counters = checkpoint.read_counters(path)
    if counters["identity"] != wanted["identity"]:
        raise ValueError(
            f"{path} is the state of another configuration ({counters['identity']}, this one is "
            f"{wanted['identity']}); choose another output_dir, or delete the file"
        )
    check(
        counters["processes"] == wanted["processes"],
        f"{path} was written by {counters['processes']} processes, these are "
        f"{wanted['processes']}; start as many as before, or delete the file to begin again",
    )
    checkpoint.load_state(path, attached, optimizer, accelerator.process_index)
    return counters


def _to_device(batch: dict[str, torch.Tensor], device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}
