"""What is told of the losses while runs train: their means, a line of the log, and divergence."""

import math
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from solo.adapters.base import Method
from solo.datasets.data import Example
from solo.training.log import Log

# Done, of how many, and what is told beside: {"loss": text}, or the "part" (a validation) that the
# two numbers are of; {} for neither.
Progress = Callable[[int, int, dict], None]


class Diverged(FloatingPointError):
    """The loss of a run is not finite. run_dir: of which."""

    def __init__(self, run_dir: Path, message: str):
        super().__init__(message)
        self.run_dir = run_dir


def check_finite(losses: Sequence[float], run_dirs: Sequence[Path], step: int) -> None:
    """Raise Diverged for the first run whose loss is not finite."""
    for run_dir, loss in zip(run_dirs, losses, strict=True):
        if not math.isfinite(loss):
            raise Diverged(
                run_dir,
                f"the loss is {loss} at step {step}; the last good state of {run_dir} is kept: "
                "lower train.lr, or look at this step's data",
            )


def check_parameters(attached: Method, run_dir: Path, step: int) -> None:
    """Raise Diverged if the update of `step` made a parameter that is not finite."""
    for name, parameter in attached.parameters.items():
        if not torch.isfinite(parameter).all():
            raise Diverged(run_dir, f"{name} is not finite after step {step}; lower train.lr")


class RunningLoss:
    """The losses of K runs since the last lines of their logs.

    sums: (K,) on the device, in float64 but on MPS, which has none; to read them is to wait for it.
    counts: of how many steps each.
    """

    def __init__(self, sums: Sequence[float], counts: Sequence[int], device: torch.device):
        dtype = torch.float32 if device.type == "mps" else torch.float64
        self.sums = torch.tensor(sums, dtype=dtype, device=device)
        self.counts, self.tokens, self.clock = list(counts), 0, time.monotonic()

    def add(self, losses: Tensor, batches: Sequence[list[Example]]) -> None:
        """Count a step with `losses` (K,) on a batch of each run."""
        self.sums += losses
        self.counts = [count + 1 for count in self.counts]
        self.tokens += sum(len(example.ids) for batch in batches for example in batch)

    def counters(self, step: int) -> list[dict]:
        """Of each run, what its training state keeps after `step` to go on from."""
        pairs = zip(self.sums.tolist(), self.counts, strict=True)
        return [{"step": step, "loss_sum": loss, "loss_count": count} for loss, count in pairs]

    def take(self) -> tuple[list[float], int]:
        """(mean loss of each run, tokens per second) since the last call; begins anew."""
        pairs = zip(self.sums.tolist(), self.counts, strict=True)
        means = [loss / count for loss, count in pairs]
        speed = round(self.tokens / (time.monotonic() - self.clock))
        self.sums.zero_()
        self.counts, self.tokens, self.clock = [0] * len(means), 0, time.monotonic()
        return means, speed


def log_entry(
    step: int, epoch: float, loss: float, lr: float, speed: int, attached: Method
) -> dict:
    """The line of a run's log: its mean loss since the last one, and what the method tells."""
    entry = {"step": step, "epoch": epoch, "loss": loss, "lr": lr, "tokens_per_s": speed}
    return entry | attached.scalars()


def note_in(logs: Sequence[Log], step: int) -> Callable[[str], None]:
    """A function that tells something once: in these logs, at `step`, and as a warning."""

    def note(text: str) -> None:
        for log in logs:
            log.write({"step": step, "note": text})
        warnings.warn(text, RuntimeWarning, stacklevel=2)

    return note


def shown(losses: Tensor, step: int, log_every: int) -> dict[str, str]:
    """What a progress bar shows of the losses, (K,), where reading them costs nothing extra."""
    if losses.device.type != "cpu" and step % log_every:
        return {}
    return {"loss": f"{losses.mean().item():.3f}"}
