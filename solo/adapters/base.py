"""The interface of a PEFT method, and the few helpers that methods share.

A method is one module with three names:

- `Config`: a dataclass of its options, checked when made (ValueError with one clear line); where
  presets leave options open, `resolved()` gives the same config with everything filled in;
- `attach(model, config, seed) -> Attached`: freeze the backbone, put the method in, hand back what
  is trained. `model` is a transformers GPT2LMHeadModel in eval mode;
- `n_params(model_config, config) -> int`: the number of trainable parameters in closed form.

Everything else (training, checkpoints, decoding) sees only `Attached`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import nn

MODULE_NAME = "adapter"  # under this name a method's module becomes part of the model


@dataclass
class Attached:
    """A method at work in a backbone.

    parameters: exactly what is trained, counted and saved, by name.
    detach: takes the method out again; the backbone is what it was.
    after_step: runs after each optimizer step (projections, schedules).
    scalars: figures worth a place in the training log, read at log steps only.
    fixed: tensors that are drawn rather than learned (masks, random frozen matrices). They are not
        saved; a checksum is, so that a run never goes on with other ones unnoticed.
    identity_at_start: the method promises that the model's output is unchanged at step 0.
    """

    parameters: dict[str, nn.Parameter]
    detach: Callable[[], None]
    after_step: Callable[[], None] = lambda: None
    scalars: Callable[[], dict[str, float]] = dict
    fixed: dict[str, torch.Tensor] = field(default_factory=dict)
    identity_at_start: bool = True

    @property
    def n_params(self) -> int:
        return sum(parameter.numel() for parameter in self.parameters.values())


def freeze(model: nn.Module) -> None:
    """Take the gradient from every parameter of the backbone."""
    for parameter in model.parameters():
        parameter.requires_grad_(False)


def install(model: nn.Module, module: nn.Module, handles: list) -> Callable[[], None]:
    """Make `module` part of the frozen `model`; returns the function that undoes it.

    `handles` are the hooks through which the module acts. The module moves to the model's device.
    """
    if hasattr(model, MODULE_NAME):
        raise ValueError("this model has an adapter already; detach it first")
    freeze(model)
    model.add_module(MODULE_NAME, module.to(model.device).train(model.training))

    def detach() -> None:
        for handle in handles:
            handle.remove()
        delattr(model, MODULE_NAME)

    return detach


def generator(seed: int) -> torch.Generator:
    """A CPU generator: the same draws on every device, whatever else the program draws."""
    return torch.Generator().manual_seed(seed)


def check(condition: bool, message: str) -> None:
    """Raise ValueError(message) unless `condition` holds."""
    if not condition:
        raise ValueError(message)
