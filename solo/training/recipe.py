"""The recipe's options, learning rate and optimizer; configs/train says where each is from."""

import math
from dataclasses import dataclass

import torch

from solo.adapters.base import Method
from solo.options import check


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
    packed: bool = True  # batches without padding
    compile: bool | None = None  # the blocks, by torch.compile; None: no
    valid_batch_size: int | None = None  # None: 16 on a CPU, 64 elsewhere
    log_every: int = 100
    save_every: int = 1000
    tracker: str = "none"  # or tensorboard, wandb, trackio (tracking.py)

    def __post_init__(self):
        for name in ("batch_size", "epochs", "valid_batch_size", "log_every", "save_every"):
            value = getattr(self, name)
            open_ = value is None and name == "valid_batch_size"
            check(open_ or value >= 1, f"train.{name} is {value}; at least 1")
        check(
            self.max_steps is None or self.max_steps >= 1,
            f"train.max_steps is {self.max_steps}; at least 1, or null for whole epochs",
        )
        check(self.lr > 0, f"train.lr is {self.lr}; it must be above 0")
        check(
            all(0 <= beta < 1 for beta in self.betas),
            f"train.betas is {list(self.betas)}; both must be in [0, 1)",
        )
        for name in ("eps", "weight_decay"):
            check(getattr(self, name) >= 0, f"train.{name} is {getattr(self, name)}; at least 0")
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
        return self.max_steps or self.epochs * self.steps_per_epoch(n_examples)

    def steps_per_epoch(self, n_examples: int) -> int:
        """Batches of an epoch, the last of which may be short."""
        return math.ceil(n_examples / self.batch_size)


def warmup_note(total: int, config: TrainConfig) -> str | None:
    """A line for a run of `total` steps that ends before its warm-up does."""
    if 0 < total <= config.warmup_steps:
        return (
            f"train.warmup_steps={config.warmup_steps} is not below the run's {total} steps, and "
            f"train.lr={config.lr:g} is never reached; set it lower"
        )
    return None


def learning_rate(step: int, total: int, config: TrainConfig) -> float:
    """The rate of step 0, 1, ...: zero at first, linear to `lr`, then linear to zero at the end."""
    if step < config.warmup_steps:
        return config.lr * step / config.warmup_steps
    return config.lr * max(0.0, (total - step) / max(1, total - config.warmup_steps))


def make_optimizer(attached: Method, config: TrainConfig) -> torch.optim.Optimizer:
    """AdamW over everything trained, weight decay included (LoRA: examples/NLG/src/optimizer.py).

    LoRA's version adds eps before the bias correction; `set_step` sets the equivalent eps. It
    decays the weights after the update, torch before: a difference of the order lr^2.
    """
    return torch.optim.AdamW(
        list(attached.parameters.values()),
        lr=config.lr,
        betas=tuple(config.betas),
        weight_decay=config.weight_decay,
        fused=True,
    )


def set_step(optimizer: torch.optim.Optimizer, step: int, lr: float, config: TrainConfig) -> None:
    """Prepare the optimizer for update number `step` (from 1) at the rate `lr`."""
    for group in optimizer.param_groups:
        group["lr"] = lr
        own = step - group.get("born", 0)  # a parameter's bias correction counts its own steps
        group["eps"] = config.eps / math.sqrt(1 - config.betas[1] ** own)


def follow(optimizer: torch.optim.Optimizer, attached: Method, step: int) -> None:
    """Let the optimizer train what `attached` names after `step` steps.

    What stays keeps its moments, what left loses them, what is new starts afresh.
    """
    parameters = list(attached.parameters.values())
    stays = {id(parameter) for parameter in parameters}
    for parameter in [p for p in optimizer.state if id(p) not in stays]:
        del optimizer.state[parameter]
    groups: dict[int, list] = {}
    for parameter in parameters:
        state = optimizer.state.get(parameter)
        groups.setdefault(step - int(state["step"]) if state else step, []).append(parameter)
    options = {k: v for k, v in optimizer.param_groups[0].items() if k not in ("params", "born")}
    optimizer.param_groups = [
        options | {"params": members, "born": born} for born, members in groups.items()
    ]


def after_step(attached: Method, optimizer: torch.optim.Optimizer, step: int) -> list[dict]:
    """Let a method do what follows update number `step`; returns what its schedule has done."""
    before = len(attached.events)
    attached.after_step(step)
    events = attached.events[before:]
    if events:
        follow(optimizer, attached, step)
    return events
