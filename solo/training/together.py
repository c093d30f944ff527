"""Several runs that share a frozen backbone, trained for the price of one pass through it.

Their batches go through the backbone side by side; each run has its own adapter, optimizer, log and
files, and ends as it does alone (loop.py) but for rounding. A state that was written here goes on
alone, and the other way round. A kill at any moment leaves all of them at one step, from which they
go on as if nothing had been.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from solo.adapters.shared.stack import stack
from solo.datasets.data import Example
from solo.options import check
from solo.training.loop import Training, train_side_by_side
from solo.training.processes import make_accelerator
from solo.training.progress import Progress

OWN = ("lr", "warmup_steps", "weight_decay", "betas", "eps")  # may differ between runs together


class Unfit(ValueError):
    """A run cannot begin at all; the others can. run_dir: of which."""

    def __init__(self, run_dir: Path, error: Exception):
        super().__init__(str(error))
        self.run_dir = run_dir


def train_runs(
    model,
    trainings: Sequence[Training],
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
    with ExitStack() as closing:
        if len(trainings) > 1:
            _check_together(trainings)
            closing.callback(stack(model, [training.attached for training in trainings]))
        for training in trainings:
            try:
                training.attached.start(training.config.total_steps(len(train_examples)))
            except ValueError as error:
                raise Unfit(training.run_dir, error) from error
        return train_side_by_side(model, trainings, train_examples, valid_examples, on_progress)


def _check_together(trainings: Sequence[Training]) -> None:
    """ValueError for runs that cannot train together."""
    check(
        make_accelerator().num_processes == 1,
        "runs train together in one process; under accelerate launch start them one by one",
    )
    first = trainings[0]
    for training in trainings:
        check(
            replace(training.config, **{name: getattr(first.config, name) for name in OWN})
            == first.config,
            f"{training.run_dir} and {first.run_dir} have recipes that differ in more than "
            f"{', '.join(OWN)}; train them one by one",
        )
        check(
            training.attached.position_wise
            and training.config.packed
            and bool(training.attached.parameters),
            f"the method of {training.run_dir} cannot share a backbone; train it alone",
        )
