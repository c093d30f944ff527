"""What a run needs at the least, against what there is: no machine begins what it cannot hold."""

import os
from dataclasses import asdict

import torch

from solo.adapters import check_backbone
from solo.backbones import backbone_of, key_width
from solo.backbones.loading import device
from solo.backbones.shapes import shape_of
from solo.options import check
from solo.runs.config import RunConfig, data_file

BYTES_PER_PARAMETER = 16  # weight, gradient and AdamW's two moments, in fp32
SIZES = ("num_hidden_layers", "hidden_size", "num_attention_heads", "vocab_size",
         "max_position_embeddings")  # fmt: skip
SHORTEST_PROMPT = 2  # tokens: a context of one, and the separator
SHORTEST = 4  # tokens of an example: a context, a completion, an end token after each


def check_memory(config: RunConfig) -> None:
    """Refuse a method that has no place in the backbone, an output that it has no positions for,
    and a backbone, a number of trained parameters, a batch or a beam that no memory of this machine
    holds.

    The last are lower bounds in closed form, from the backbone's config alone; where that is not at
    hand, nothing is checked. Raises ValueError with the option, its value, what it takes and what
    there is.
    """
    shape = shape_of(config.model.path)
    if shape is None:
        return
    check_backbone(config.method, config.adapter, shape)
    _check_backbone(config.model.path, shape)
    size = config.train.batch_size
    activations = 4 * size * SHORTEST * shape.hidden_size * shape.num_hidden_layers
    _check(f"train.batch_size is {size}", activations, "training", "activations")
    _check_search(config, shape)
    try:
        count = config.method_class.n_params(shape, config.adapter)
    except ValueError:
        return  # it does not fit the backbone: that is said where it is attached, of this run alone
    sizes = {k: v for k, v in asdict(config.adapter).items() if type(v) is int and "seed" not in k}
    key = max(sizes, key=sizes.get, default="name")
    value = sizes.get(key, config.method)
    needed = BYTES_PER_PARAMETER * count
    _check(f"adapter.{key} is {value}", needed, "training", f"{count:,} parameters")


def _check_backbone(path: str, shape) -> None:
    """Refuse a config.json with a size below 1, or with more weights than memory."""
    sizes = {name: getattr(shape, name) for name in SIZES}
    for name, size in sizes.items():
        check(size >= 1, f"{path}/config.json: {name} is {size}; it must be at least 1")
    count = backbone_of(shape).n_parameters(shape)
    name = max(sizes, key=sizes.get)
    _check(f"{path}/config.json: {name} is {sizes[name]}", 4 * count, "loading", "weights")


def _check_search(config: RunConfig, shape) -> None:
    """Refuse an output longer than the backbone's positions, and a beam beyond memory."""
    search, positions = config.decode, shape.max_position_embeddings
    check(
        search.max_new_tokens + SHORTEST_PROMPT <= positions,
        f"decode.max_new_tokens is {search.max_new_tokens}; the backbone has {positions} "
        f"positions, so at most {positions - SHORTEST_PROMPT} can be new",
    )
    candidates = 4 * search.beam * min(search.beam, shape.vocab_size)
    keys = 8 * search.beam * shape.num_hidden_layers * key_width(shape)
    _check(f"decode.beam is {search.beam}", candidates + keys, "decoding", "candidates")
    file = data_file(config, "test")
    contexts = file.read_bytes().count(b"\n") + 1 if file.is_file() else 1  # at most one a line
    at_once = search.contexts(device())
    needed = min(contexts, at_once) * (candidates + keys)
    _check(f"decode.batch_size is {at_once}", needed, "decoding", "candidates")


def memory() -> int:
    """Bytes of this machine's memory, or of its accelerator's if that has more."""
    sizes = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")]
    if torch.cuda.is_available():
        sizes.append(torch.cuda.get_device_properties(0).total_memory)
    return max(sizes)


def _check(option: str, needed: int, stage: str, what: str) -> None:
    check(
        needed <= memory(),
        f"{option}; {stage} takes at least {needed / 2**30:,.1f} GiB for its {what}, and this "
        f"machine has {memory() / 2**30:,.1f} GiB; choose a smaller one",
    )
