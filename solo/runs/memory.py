"""What a run needs at the least, against what there is: no machine begins what it cannot hold."""

import os
from dataclasses import asdict

import torch

from solo.backbones.shapes import shape_of
from solo.options import check
from solo.runs.config import RunConfig

BYTES_PER_PARAMETER = 16  # weight, gradient and AdamW's two moments, in fp32
SHORTEST = 4  # tokens of an example: a context, a completion, an end token after each


def check_memory(config: RunConfig) -> None:
    """Refuse a number of trained parameters, or a batch, that no memory of this machine holds.

    Both are lower bounds in closed form, from the backbone's config alone; where that is not at
    hand, nothing is checked. Raises ValueError with the option, its value, what it takes and what
    there is.
    """
    shape = shape_of(config.model.path)
    if shape is None:
        return
    size = config.train.batch_size
    activations = 4 * size * SHORTEST * shape.hidden_size * shape.num_hidden_layers
    _check(f"train.batch_size is {size}", activations, "activations")
    try:
        count = config.method_class.n_params(shape, config.adapter)
    except ValueError:
        return  # it does not fit the backbone: that is said where it is attached, of this run alone
    sizes = {k: v for k, v in asdict(config.adapter).items() if type(v) is int and "seed" not in k}
    key = max(sizes, key=sizes.get, default="name")
    value = sizes.get(key, config.method)
    _check(f"adapter.{key} is {value}", BYTES_PER_PARAMETER * count, f"{count:,} parameters")


def memory() -> int:
    """Bytes of this machine's memory, or of its accelerator's if that has more."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if torch.cuda.is_available():
        sizes.append(torch.cuda.get_device_properties(0).total_memory)
    return max(sizes)


def _check(option: str, needed: int, what: str) -> None:
    check(
        needed <= memory(),
        f"{option}; training takes at least {needed / 2**30:,.1f} GiB for its {what}, and this "
        f"machine has {memory() / 2**30:,.1f} GiB; choose a smaller one",
    )
