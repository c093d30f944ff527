"""train.tracker: the log's numbers sent to TensorBoard, Weights & Biases or Trackio as well.

The classes are accelerate's. The log on the disk stays what the tables read.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from numbers import Real
from pathlib import Path

from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from solo.options import check
from solo.training.log import Log

PROJECT = "solo-connection"
# Of each tracker, packages any one of which it works with.
PACKAGES = {
    "none": (),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "wandb": ("wandb",),
    "trackio": ("trackio",),
}


def check_tracker(name: str) -> None:
    """Raise ValueError if a tracker is unknown, or if the package that it needs is not there."""
    check(name in PACKAGES, f"train.tracker is {name!r}; known: {', '.join(PACKAGES)}")
    packages = PACKAGES[name]
    check(
        not packages or any(map(find_spec, packages)),
        f"train.tracker={name} needs the package {' or '.join(packages)}; run: pip install {name}",
    )


@contextmanager
def tracked(runs: Mapping[Path, tuple[Log, dict]], name: str) -> Iterator[None]:
    """Within the block, what is written to each run's log goes to a tracker of its own, too.

    runs: by directory, a run's log and the recipe that its tracker shows beside the numbers.
    Only the main process tracks. Raises ValueError as check_tracker does.
    """
    check_tracker(name)
    with ExitStack() as stack:
        for run_dir, (log, recipe) in runs.items() if name != "none" else ():
            if log.main:
                tracker = _started(name, run_dir, recipe)
                stack.callback(tracker.finish)
                log.listener = _sender(tracker)
        yield


def _started(name: str, run_dir: Path, recipe: dict) -> GeneralTracker:
    tracker_class = LOGGER_TYPE_TO_CLASS[name]
    shown = {key: v for key, v in recipe.items() if isinstance(v, str | bool | int | float)}
    if name == "tensorboard":
        tracker = tracker_class("tensorboard", logging_dir=str(run_dir))
        tracker.start()
        tracker.store_init_configuration(shown)
        return tracker
    # A run that goes on continues the curves that it began. Of several in one program each is to
    # have its own: wandb would give all of them the first one, and accelerate's
    # store_init_configuration writes to the one that the program began last.
    options = {"id": run_dir.name, "reinit": "create_new"} if name == "wandb" else {}
    tracker = tracker_class(PROJECT, name=run_dir.name, resume="allow", config=shown, **options)
    tracker.start()
    return tracker


def _sender(tracker: GeneralTracker):
    def send(entry: dict) -> None:
        values = {key: value for key, value in entry.items() if isinstance(value, Real)}
        tracker.log(values, step=values.pop("step"))

    return send
