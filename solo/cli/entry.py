"""A task as a command line of Hydra's: overrides, --help, -m, and errors of one line."""

import functools
import os
import sys
import warnings
from collections.abc import Callable
from contextlib import contextmanager

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig

from solo.backbones.loading import take_device
from solo.cli.command import CONFIGS, as_note, one_line_errors
from solo.cli.compose import SWEEP, check_all, in_checkout, is_sweep
from solo.cli.help import OF_TRAINING, help_page
from solo.cli.hydra_errors import in_one_line
from solo.runs.config import RunConfig
from solo.training.processes import make_accelerator


def command(
    task: Callable[[DictConfig], None], config_name: str = "config", trains: bool = True
) -> Callable[[], list[RunConfig]]:
    """Decorator: `task` as a command line with Hydra's overrides, --help and -m.

    Every configuration that the command line leads to is composed and checked before the first one
    is begun; what is wrong is one line. In the end those of runs are returned: a launcher's workers
    leave nothing else to the process that was started. trains: whether --help has the options of
    the training.
    """

    @hydra.main(version_base="1.3", config_path=str(CONFIGS), config_name=config_name)
    @functools.wraps(task)
    def main(cfg: DictConfig) -> None:
        hydra_config = HydraConfig.get()
        if not hydra_config.launcher._target_.endswith(".BasicLauncher"):  # jobs side by side
            take_device(hydra_config.job.num)
            warnings.formatwarning = as_note  # in a process of their own
        try:
            task(cfg)
        except Exception as error:
            raise _Failed from error

    @functools.wraps(task)
    def start() -> list[RunConfig]:
        with one_line_errors():
            if {"-h", "--help"} & set(sys.argv[1:]):
                doc = task.__globals__["__doc__"]
                print(help_page(doc, config_name, sys.argv[1:], () if trains else OF_TRAINING))
                return []
            arguments = sorted(sys.argv[1:], key=lambda word: word not in SWEEP)  # first, since
            sys.argv[1:] = in_checkout(arguments, is_sweep(sys.argv))  # Hydra takes none between
            configs = check_all(sys.argv[1:], config_name)
            try:
                with _raising():
                    main()
            except _Failed as failed:
                raise failed.__cause__ from None
            except HydraException as error:
                raise ValueError(in_one_line(error)) from error
        return configs

    return start


def sweeps_here() -> bool:
    """Within a task: whether it is one of a sweep whose tasks take turns in this one process."""
    here = HydraConfig.get()
    in_turn = here.mode == RunMode.MULTIRUN and here.launcher._target_.endswith(".BasicLauncher")
    return in_turn and make_accelerator().num_processes == 1


command_of_run = functools.partial(command, trains=False)


class _Failed(BaseException):
    """Carries a task's error past Hydra, which would add lines of its own."""


@contextmanager
def _raising():
    """Within: Hydra raises its own errors, too, instead of printing lines and an exit."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        os.environ.pop("HYDRA_FULL_ERROR")
        if before is not None:
            os.environ["HYDRA_FULL_ERROR"] = before
