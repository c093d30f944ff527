"""Several processes under `accelerate launch` that share each batch; one process is the usual case.

Process k takes every n-th example from the k-th on, the gradients are summed, and the loss is the
mean over all target tokens of the batch, so the steps are those of one process but for rounding.
"""

import atexit
import os
from functools import cache

import torch
from accelerate import Accelerator, PartialState
from accelerate.utils import GradientAccumulationPlugin

from solo.adapters.base import Method
from solo.datasets.data import Example


def make_accelerator() -> Accelerator:
    """The processes and the device of this launch, and nothing else of accelerate.

    All else is the recipe's to decide. accelerate reads variables of the environment, which its
    launcher sets from a configuration file that nobody may remember (mixed precision, accumulation,
    sharding), and prefers some to arguments; so they go, but for what keeps a launch on CPUs. That
    one is set where several processes find no accelerator, since without it each would take itself
    for the only one.
    """
    launched, on_cpus = "LOCAL_RANK" in os.environ, "ACCELERATE_USE_CPU"
    for name in [n for n in os.environ if n.startswith("ACCELERATE_")]:
        if not (launched and name == on_cpus):
            del os.environ[name]
    if launched and not torch.accelerator.is_available():
        os.environ[on_cpus] = "true"
    processes = Accelerator(
        mixed_precision="no", gradient_accumulation_plugin=GradientAccumulationPlugin(num_steps=1)
    )
    if processes.num_processes > 1 and processes.device.type == "cpu":
        _leave_at_exit()
    return processes


@cache
def _leave_at_exit() -> None:
    """Have gloo's threads end before Python does.

    One that wants Python's lock while Python ends aborts the process, whose work was done.
    """
    atexit.register(PartialState().destroy_process_group)


def share_of(batch: list[Example], processes: Accelerator) -> tuple[list[Example], float]:
    """(examples, weight): this process's part, and what its summed loss counts in the mean.

    A process without a part of a short batch goes along with an example of weight zero.
    """
    share = batch[processes.process_index :: processes.num_processes]
    weight = bool(share) / sum(example.n_targets for example in batch)
    return share or batch[:1], weight


def sum_gradients(attached: Method, processes: Accelerator) -> None:
    """Give every process the sum of all processes' gradients, in one exchange."""
    if processes.num_processes == 1:
        return
    gradients = [p.grad for p in attached.parameters.values() if p.grad is not None]
    total = processes.reduce(torch.cat([g.flatten() for g in gradients]), "sum")
    for gradient, summed in zip(
        gradients, total.split([g.numel() for g in gradients]), strict=True
    ):
        gradient.copy_(summed.view_as(gradient))
