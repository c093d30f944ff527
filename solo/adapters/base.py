"""The interface of a PEFT method, and the few helpers that methods share.

A method is one module with three names:

- `Config`: a dataclass of its options, checked when made (ValueError with one clear line); where
  presets leave options open, `resolved()` gives the same config with everything filled in;
- `attach(model, config, seed) -> Attached`: freeze the backbone, put the method in, hand back what
  is trained. `model` is a transformers GPT2LMHeadModel in eval mode;
- `n_params(model_config, config) -> int`: the number of trainable parameters in closed form.

Everything else (training, checkpoints, decoding) sees only `Attached`.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn

MODULE_NAME = "adapter"  # under this name a method's module becomes part of the model


def cannot_merge(why: str) -> Callable[[], None]:
    """What `Attached.merge` is for a method that has no merge: it raises ValueError, saying why."""

    def merge() -> None:
        raise ValueError(f"this method cannot be merged into the backbone's weights: {why}")

    return merge


class Hook(NamedTuple):
    """What a method does at one module of the backbone, which maps x to y (both (B, L, width)).

    before(x) gives what the module sees instead of x, after(x, y) what follows instead of y (x as
    the module saw it). Both treat every example of a batch apart from the others.
    """

    module: nn.Module
    after: Callable[[Tensor, Tensor], Tensor] | None = None
    before: Callable[[Tensor], Tensor] | None = None


@dataclass
class Attached:
    """A method at work in a backbone.

    parameters: exactly what is trained, counted and saved, by name. Only after_step may change
        which they are.
    detach: takes the method out again; the backbone is what it was.
    module, hooks: what computes, and where; hooks is None for a method that works by other means.
    penalty: a scalar that training adds to the loss.
    start: called with the number of steps before the first one; raises ValueError where a schedule
        does not fit into them.
    after_step: called with the number of each step (from 1) when the optimizer has made it, the
        gradients still there (projections, schedules).
    events: what a schedule has done so far, JSON-like, the step included; replay(events) does the
        same to a method just attached, up to the values of its parameters.
    state: tensors that a schedule carries from step to step beside the parameters. An exact resume
        needs them back (copied into these); the saved adapter does not.
    scalars: figures worth a place in the training log, read at log steps only.
    fixed: tensors that are drawn rather than learned (masks, random frozen matrices). They are not
        saved; a checksum is, so that a run never goes on with other ones unnoticed.
    identity_at_start: the method promises that the model's output is unchanged at step 0, to the
        bit, or but for a rounding error in the logits of `start_tolerance`.
    position_wise: it looks at one position at a time and leaves attention as it is, so that several
        examples may stand in one row.
    merge: folds what is trained into the backbone's weights and takes the method out: the same
        model without its cost, up to rounding. Raises ValueError where that cannot be. What
        `detach` gave back is lost.
    """

    parameters: dict[str, nn.Parameter]
    detach: Callable[[], None]
    module: nn.Module | None = None
    hooks: list[Hook] | None = None
    penalty: Callable[[], Tensor] | None = None
    start: Callable[[int], None] = lambda total_steps: None
    after_step: Callable[[int], None] = lambda step: None
    events: list[dict] = field(default_factory=list)
    replay: Callable[[list[dict]], None] = lambda events: None
    state: dict[str, Tensor] = field(default_factory=dict)
    scalars: Callable[[], dict[str, float]] = dict
    fixed: dict[str, Tensor] = field(default_factory=dict)
    identity_at_start: bool = True
    start_tolerance: float = 0.0
    position_wise: bool = True
    merge: Callable[[], None] = cannot_merge("it computes beside them, and no weight can hold that")

    @property
    def n_params(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters.values())


def freeze(model: nn.Module) -> None:
    """Take the gradient from every parameter of the backbone."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def check_free(model: nn.Module) -> None:
    """Raise ValueError if the model has an adapter already."""
    check(not hasattr(model, MODULE_NAME), "this model has an adapter already; detach it first")


def install(
    model: nn.Module,
    module: nn.Module,
    hooks: Sequence[Hook],
    fold: Callable[[], None] | None = None,
    **rest,
) -> Attached:
    """Make `module` part of the frozen `model`, acting through `hooks`; `rest` fills Attached.

    What is trained is what has a gradient in `module`. The module moves to the model's device.
    `fold` writes what is trained into the backbone's weights: Attached.merge, without the hooks'
    removal. Raises ValueError if the model has an adapter already.
    """
    check_free(model)
    freeze(model)
    model.add_module(MODULE_NAME, module.to(model.device).train(model.training))
    handles = [handle for hook in hooks for handle in _register(hook)]

    def detach() -> None:
        for handle in handles:
            handle.remove()
        delattr(model, MODULE_NAME)

    @torch.no_grad()
    def merge() -> None:
        detach()
        fold()

    if fold is not None:
        rest["merge"] = merge
    parameters = {name: p for name, p in module.named_parameters() if p.requires_grad}
    return Attached(parameters, detach, module, list(hooks), **rest)


def _register(hook: Hook) -> list:
    handles = []
    if hook.before is not None:

        def before(module, args):
            return (hook.before(args[0]), *args[1:])

        handles.append(hook.module.register_forward_pre_hook(before))
    if hook.after is not None:

        def after(module, args, output):
            if isinstance(output, tuple):  # a block's, in some versions of transformers
                return (hook.after(args[0], output[0]), *output[1:])
            return hook.after(args[0], output)

        handles.append(hook.module.register_forward_hook(after))
    return handles


def generator(seed: int) -> torch.Generator:
    """A CPU generator: the same draws on every device, whatever else the program draws."""
    return torch.Generator().manual_seed(seed)


def check(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless `condition` holds."""
    if not condition:
        raise ValueError(message)


def stack(model: nn.Module, attached: Sequence[Attached]) -> Callable[[], None]:
    """Let K methods, attached to `model` and detached again, work in it together.

    The rows of a batch are K equal shares, one after the other; method k sees share k only.
    Returns the function that takes them out again. Raises ValueError for a method without hooks.
    """
    check(
        all(one.hooks is not None for one in attached),
        "a method that works by other means than hooks cannot share a backbone; train it alone",
    )
    share: dict[nn.Module, list[tuple[int, Hook]]] = {}
    for k, one in enumerate(attached):
        for hook in one.hooks:
            share.setdefault(hook.module, []).append((k, hook))
    hooks = [_shared(module, of_module, len(attached)) for module, of_module in share.items()]
    modules = nn.ModuleList(one.module for one in attached if one.module is not None)
    return install(model, modules, hooks).detach


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
