"""Several methods in one model, each for its share of a batch."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from solo.adapters.base import Hook, HookedMethod, Method
from solo.options import check


def stack(model: nn.Module, methods: Sequence[Method]) -> Callable[[], None]:
    """Let K methods, attached to `model` and detached again, work in it together.

    The rows of a batch are K equal shares, one after the other; method k sees share k only.
    Returns the function that takes them out again. Raises ValueError for a method without hooks.
    """
    check(
        all(method.hooks is not None for method in methods),
        "a method that works by other means than hooks cannot share a backbone; train it alone",
    )
    share: dict[nn.Module, list[tuple[int, Hook]]] = {}
    for k, method in enumerate(methods):
        for hook in method.hooks:
            share.setdefault(hook.module, []).append((k, hook))
    hooks = [_shared(module, of_module, len(methods)) for module, of_module in share.items()]
    modules = nn.ModuleList(method.module for method in methods if method.module is not None)
    return HookedMethod(model, modules, hooks).detach


def _shared(module: nn.Module, hooks: list[tuple[int, Hook]], count: int) -> Hook:
    def before(x: Tensor) -> Tensor:
        shares = list(x.chunk(count))
        for k, hook in hooks:
            if hook.before is not None:
                shares[k] = hook.before(shares[k])
        return torch.cat(shares)

    def after(x: Tensor, y: Tensor) -> Tensor:
        inputs, shares = x.chunk(count), list(y.chunk(count))
        for k, hook in hooks:
            if hook.after is not None:
                shares[k] = hook.after(inputs[k], shares[k])
        return torch.cat(shares)

    has_before, has_after = (
        any(getattr(hook, kind) is not None for _, hook in hooks) for kind in ("before", "after")
    )
    return Hook(module, after if has_after else None, before if has_before else None)
