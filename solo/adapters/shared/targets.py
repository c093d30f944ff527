"""The projections of a GPT-2 block that methods can adapt, under plain names.

GPT-2's projections are transformers' `Conv1D`: y = x W + b with W of shape (n_in, n_out), the
transpose of `nn.Linear`'s weight. The names are those that end their path in a block, so the peft
library finds the same modules by them.
"""

from collections.abc import Iterable

from torch import nn

from solo.adapters.base import check

PROJECTIONS = {
    "c_attn": "attn.c_attn",  # query, key and value, fused: d -> 3d
    "attn.c_proj": "attn.c_proj",  # d -> d
    "c_fc": "mlp.c_fc",  # d -> h
    "mlp.c_proj": "mlp.c_proj",  # h -> d
}


def check_targets(targets: Iterable[str], known: Iterable[str] = PROJECTIONS) -> tuple[str, ...]:
    """`targets` as a tuple; ValueError if it is empty, has a name twice or one not in `known`."""
    if isinstance(targets, str):
        targets = [targets]
    names, known = tuple(targets), tuple(known)
    allowed = f"a GPT-2 block has: {', '.join(known)}"
    for name in names:
        check(name in known, f"adapter.targets has {name!r}; {allowed}")
        check(names.count(name) == 1, f"adapter.targets has {name!r} twice; {allowed}")
    check(bool(names), f"adapter.targets is empty; {allowed}")
    return names


def projection(block: nn.Module, name: str) -> nn.Module:
    """The Conv1D of a block, by its name in PROJECTIONS."""
    return block.get_submodule(PROJECTIONS[name])


def projection_shape(model_config, name: str) -> tuple[int, int]:
    """(n_in, n_out) of a projection."""
    d = model_config.n_embd
    inner = model_config.n_inner or 4 * d
    return {
        "c_attn": (d, 3 * d),
        "attn.c_proj": (d, d),
        "c_fc": (d, inner),
        "mlp.c_proj": (inner, d),
    }[name]
