"""The interface of a PEFT method, and the few helpers that methods share.

A method is one file with a class of `Method`. Everything else (training, checkpoints, decoding)
sees only what this class has.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import transformers
from torch import Tensor, nn

from solo.backbones import backbone_of
from solo.options import check

MODULE_NAME = "adapter"  # under this name a method's module becomes part of the model
OTHER_DRAWS = (
    "the masks or frozen matrices of this run come out otherwise here; use the version of torch in "
    "its environment.json and, where they are computed from the backbone, the same processor"
)


class Hook(NamedTuple):
    """What a method does at one module of the backbone, which maps x to y (both (B, L, width)).

    before(x) gives what the module sees instead of x, after(x, y) what follows instead of y (x as
    the module saw it). Both treat every example of a batch apart from the others.
    """

    module: nn.Module
    after: Callable[[Tensor, Tensor], Tensor] | None = None
    before: Callable[[Tensor], Tensor] | None = None


@dataclass(frozen=True)
class NoOptions:
    """The Config of a method without options."""


class Method:
    """A method attached to a backbone. A subclass says where it differs from these defaults.

    What a class has:

    Config: a frozen dataclass of its options, checked when made (ValueError with one clear line);
        where presets leave options open, `resolved()` gives the same with everything filled in.
    label, trains, where, count, source: its name in tables, and its cells in docs/methods.md.
    identity_at_start: the model's output is unchanged at step 0, to the bit, or but for a rounding
        error in the logits of `start_tolerance`.
    position_wise: it looks at one position at a time and leaves attention as it is, so that several
        examples may stand in one row.
    cannot_merge: why no weight of the backbone can hold what is trained; None where one can.

    What an attached method has (it may set identity_at_start, start_tolerance, position_wise and
    cannot_merge for itself, too):

    parameters: exactly what is trained, counted and saved, by name. Only after_step and replay may
        change which they are.
    module, hooks: what computes, and where; hooks is None for a method that works by other means.
    events: what a schedule has done so far, JSON-like, the step included.
    state: tensors that a schedule carries from step to step beside the parameters. An exact resume
        needs them back (copied into these); the saved adapter does not.
    fixed: tensors that are drawn rather than learned (masks, random frozen matrices). They are not
        saved; a checksum is, so that a run never goes on with other ones unnoticed.
    """

    Config: type = NoOptions
    label: str
    trains: str
    where: str
    count: str
    source: str = ""
    identity_at_start: bool = True
    start_tolerance: float = 0.0
    position_wise: bool = True
    cannot_merge: str | None = "it computes beside them, and no weight can hold that"

    def __init__(self, parameters: dict[str, nn.Parameter]):
        self.parameters = parameters
        self.module: nn.Module | None = None
        self.hooks: list[Hook] | None = None
        self.events: list[dict] = []
        self.state: dict[str, Tensor] = {}
        self.fixed: dict[str, Tensor] = {}

    @classmethod
    def attach(cls, model: nn.Module, config, seed: int) -> "Method":
        """Freeze the backbone and put the method in; everything is drawn from `seed`.

        model: a causal language model of transformers in eval mode. config: of the class's Config,
        as make_config gives it. Raises ValueError if the model is no such model or has an adapter
        already, or if the options do not fit its parts or sizes; the model is as it was then.
        """
        check_model(model)
        check_seed(seed)
        check(
            isinstance(config, cls.Config),
            f"{config!r} is no configuration of {cls.__name__}; make_config gives one",
        )
        cls.check_backbone(model.config, config)
        return cls(model, config, seed)

    @classmethod
    def check_backbone(cls, shape, config) -> None:
        """Raise ValueError where the method, with these options, has no place in such a backbone.

        shape: its transformers config. Whether the sizes fit is seen when it is attached.
        """

    @classmethod
    def has_targets(cls, shape) -> bool:
        """Whether the method takes targets, and such a backbone has some that it can adapt."""
        return hasattr(cls.Config, "targets")

    @staticmethod
    def n_params(shape, config) -> int:
        """The number of trained parameters in closed form; `shape` is a transformers config."""
        raise NotImplementedError("a method needs n_params, its count in closed form")

    @property
    def n_trained(self) -> int:
        """The number of trained parameters, counted."""
        return sum(parameter.numel() for parameter in self.parameters.values())

    def detach(self) -> None:
        """Take the method out again; the backbone is what it was. ValueError if it is out."""

    @torch.no_grad()
    def merge(self) -> None:
        """Fold what is trained into the backbone's weights and take the method out.

        The model computes the same, up to rounding, without the method's cost. The backbone's own
        weights are lost.
        Raises ValueError where that cannot be.
        """
        if self.cannot_merge is not None:
            raise ValueError(
                "this method cannot be merged into the backbone's weights: " + self.cannot_merge
            )
        self.detach()
        self.fold()

    def fold(self) -> None:
        """`merge` without the removal: change the weights of the bare backbone."""

    def penalty(self) -> Tensor | float:
        """What training adds to the loss, a scalar."""
        return 0.0

    def start(self, total_steps: int) -> None:
        """Before the first step. Raises ValueError where a schedule does not fit into the steps."""

    def after_step(self, step: int) -> None:
        """After the optimizer's step `step` (from 1), with the gradients still there."""

    def replay(self, events: list[dict]) -> None:
        """Repeat `events` on a method just attached, so that it has the same parameters again.

        Their values are loaded afterwards. Events that change no set of parameters are only kept.
        """
        self.events.extend(events)

    def scalars(self) -> dict[str, float]:
        """Figures worth a place in the training log; read at log steps only."""
        return {}


class HookedMethod(Method):
    """A method whose `module`, part of the model from now on, acts through hooks.

    What is trained is what has a gradient in `module`. The module moves to the model's device.
    """

    def __init__(self, model: nn.Module, module: nn.Module, hooks: Sequence[Hook]):
        check_free(model)
        self.frozen = freeze(model)
        module.to(model.device, model.dtype).train(model.training)  # fp64 too: its products need it
        model.add_module(MODULE_NAME, module)
        module.__deepcopy__ = _no_copy
        super().__init__({name: p for name, p in module.named_parameters() if p.requires_grad})
        self.fixed = dict(module.named_buffers())
        self.model, self.module, self.hooks = model, module, list(hooks)
        self.handles = [handle for hook in hooks for handle in _register(hook)]

    def detach(self) -> None:
        leave(self.model, self.module, self.frozen)
        for handle in self.handles:
            handle.remove()
        del self.module.__deepcopy__


def _no_copy(memo: dict) -> None:
    raise ValueError(
        "a model with an attached method cannot be copied: the copy would go on with this one's "
        "parameters; copy the bare model, attach the method there, and load what was trained"
    )


def freeze(model: nn.Module) -> list[nn.Parameter]:
    """Set requires_grad to False on every parameter of the backbone; returns those that had it."""
    frozen = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(False)
    return frozen


def leave(model: nn.Module, mark: nn.Module, frozen: Sequence[nn.Parameter]) -> None:
    """Take a method's mark from a model, and undo what `freeze` did.

    mark: the module that stands in the model as the method's. ValueError if it does not.
    """
    check_attached(model, mark)
    delattr(model, MODULE_NAME)
    unfreeze(frozen)


def check_attached(model: nn.Module, mark: nn.Module) -> None:
    """ValueError unless `mark` stands in the model as its method's."""
    check(
        getattr(model, MODULE_NAME, None) is mark,
        "this method is not attached to its model any more",
    )


def unfreeze(frozen: Sequence[nn.Parameter]) -> None:
    """Undo what `freeze` did to the parameters that it returned."""
    for parameter in frozen:
        parameter.requires_grad_(True)


def check_model(model: nn.Module) -> None:
    """Raise ValueError unless a model is a bare backbone that this project knows, with its head."""
    if isinstance(model, nn.Module):
        check_free(model)
    check(
        isinstance(model, transformers.PreTrainedModel) and model.can_generate(),
        f"{type(model).__name__} is no causal language model of transformers; load one with "
        "AutoModelForCausalLM.from_pretrained",
    )
    backbone_of(model.config)
    check(
        model.dtype.itemsize >= torch.float32.itemsize,
        f"this model computes in {model.dtype}, what is trained in torch.float32; load it with "
        "dtype=torch.float32 (train.precision=bf16 multiplies in bf16 all the same)",
    )


def check_seed(seed: int) -> None:
    """Raise ValueError unless torch can draw from a seed."""
    check(
        isinstance(seed, int) and -(2**63) <= seed < 2**64,
        f"the seed is {seed!r}; it must be a whole number of at most 64 bits",
    )


def check_free(model: nn.Module) -> None:
    """Raise ValueError if the model has an adapter already, ours or peft's."""
    check(not hasattr(model, MODULE_NAME), "this model has an adapter already; detach it first")
    places = (type(module).__module__ for module in model.modules())
    theirs = any(place.startswith(("peft.", "solo.peft.")) for place in places)
    check(not theirs, "this model has an adapter of peft's already; take a bare one")


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
    """A CPU generator: the same draws on every device, whatever else the program draws.

    Raises ValueError for what is no seed.
    """
    check_seed(seed)
    return torch.Generator().manual_seed(seed)
