"""Methods of Hugging Face's peft library under this project's contract; what their classes share.

peft replaces a layer of the model by one of its own that holds the original; the model stays the
same object, so training and decoding see it as ever. Each method keeps its file: a Config, peft's
options for it, and its count. peft is imported when one of them is attached, not before.

Two kinds of layer are adapted here: projections, and (LN tuning) norms. The default targets are
GPT-2's; on another backbone adapter.targets names its own. In peft 0.21.2 LoHa, LoKr, OFT, BOFT,
HRA, C3A, SHiRA, RoAd, MiSS, DeLoRA, GLoRA, PSOFT, LILY, PEANuT and others refuse GPT-2's Conv1D, so
they are not here.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from solo.adapters.base import (
    MODULE_NAME,
    Method,
    check_attached,
    check_free,
    freeze,
    leave,
    unfreeze,
)
from solo.adapters.shared.dropout import Dropout
from solo.adapters.shared.layers import check_low_rank, count_low_rank
from solo.adapters.shared.targets import ProjectionTargets, check_has, target_shape
from solo.backbones import backbone_of, matrix_of

ADAPTER = "default"  # peft's name for the only adapter of a model


class PeftConfig(ProjectionTargets):
    """What the Configs of peft's methods check: targets; rank, alpha and dropout if they have them.

    It has no fields, so that `targets` may come last.
    """

    def __post_init__(self):
        check_low_rank(self)
        super().__post_init__()


class PeftMethod(Method):
    """peft puts the method `kind` on the modules named in a Config's `targets`.

    kind: the name in peft's PeftType. options: peft's, each with the option of ours that it takes;
    settings: peft's that have one value; seed_option: peft's that takes the seed. changes_weights:
    peft changes the backbone's own weights, which `detach` must put back.

    `module` is peft's tuner, and `fixed` the buffers that it added: what a kind of peft's keeps
    frozen as parameters, a class has to put there itself. Everything is drawn on the CPU from the
    seed; the global generator is left as it was. Attaching raises RuntimeError without peft, and
    ValueError where peft refuses the options.
    """

    kind: str
    options: dict[str, str] = {}
    settings: dict = {}
    seed_option: str | None = None
    changes_weights = False
    cannot_merge = None

    def __init__(self, model, config, seed: int):
        check_free(model)
        self.check_sizes(model.config, config)
        peft_config, tuner_class = _peft(self.kind, self._peft_options(model, config, seed))
        self.frozen = freeze(model)
        device, training = model.device, model.training
        layers, parameters = dict(model.named_modules()), list(model.parameters())
        self.copies = {p: p.detach().clone() for p in parameters} if self.changes_weights else {}
        buffers = {name for name, _ in model.named_buffers()}  # other objects after a move
        with torch.random.fork_rng(devices=[]), one_thread(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of layers that it handles
            torch.default_generator.manual_seed(seed)
            try:
                tuner = tuner_class(model.cpu(), peft_config, ADAPTER)
            except BaseException:  # an interruption too: half of the layers are peft's by then
                self._put_back(model, layers)
                unfreeze(self.frozen)
                model.to(device).train(training)
                raise
        _own_dropout(tuner, set(layers.values()))
        self.mark = nn.Module()  # peft's layers sit where the originals were
        model.add_module(MODULE_NAME, self.mark)
        model.to(device).train(training)

        def short(name: str) -> str:
            name = name.removeprefix(f"{model.base_model_prefix}.")
            return name.replace(f".{ADAPTER}", "")

        super().__init__({short(n): p for n, p in model.named_parameters() if p.requires_grad})
        self.model, self.module = model, tuner
        self.originals = {
            name: layer for name, layer in layers.items() if model.get_submodule(name) is not layer
        }
        self.fixed = {short(n): b for n, b in model.named_buffers() if n not in buffers}

    def _peft_options(self, model, config, seed: int) -> dict:
        values = {"target_modules": config.targets} | self.settings
        values |= {theirs: getattr(config, ours) for theirs, ours in self.options.items()}
        if self.seed_option is not None:
            values[self.seed_option] = seed
        backbone = backbone_of(model.config)
        if backbone.LINEAR is Conv1D and not set(config.targets) - set(backbone.PROJECTIONS):
            values["fan_in_fan_out"] = True
        return {name: list(v) if isinstance(v, tuple) else v for name, v in values.items()}

    @classmethod
    def check_backbone(cls, shape, config) -> None:
        check_has(shape, config.targets)

    @classmethod
    def check_sizes(cls, shape, config) -> None:
        """Raise ValueError where the options do not fit a target; see check_target."""
        for name in config.targets:
            cls.check_target(config, name, *target_shape(shape, name))

    @staticmethod
    def check_target(config, name: str, n_in: int, n_out: int) -> None:
        """Raise ValueError where the options do not fit the target `name` of these sizes."""

    def affine(self, layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
        """(W (n_in, n_out), b) that merging leaves of a layer of peft's.

        Found by what the layer, which does x W + b, does to the identity.
        """
        weight = matrix_of(layer.base_layer)
        identity = torch.eye(len(weight)).to(weight)
        bias = layer(torch.zeros_like(identity[None, :1]))  # (1, 1, n_out)
        return (layer(identity[None]) - bias)[0], bias[0, 0]

    def detach(self) -> None:
        leave(self.model, self.mark, self.frozen)
        self._put_back(self.model, self.originals)
        for layer in self.originals.values():
            layer.train(self.model.training)

    @torch.no_grad()
    def _put_back(self, model: nn.Module, layers: dict[str, nn.Module]) -> None:
        """The model's own layers, by name, and its weights, instead of what peft made of them."""
        for name, layer in layers.items():
            parent, _, child = name.rpartition(".")
            if name and getattr(model.get_submodule(parent), child) is not layer:
                setattr(model.get_submodule(parent), child, layer)
        if hasattr(model, "peft_config"):
            del model.peft_config
        for parameter, values in self.copies.items():
            parameter.copy_(values)

    @torch.no_grad()
    def merge(self) -> None:
        check_attached(self.model, self.mark)
        training = self.model.training
        self.model.eval()  # dropout is no part of the weights
        folded = [self.affine(self.model.get_submodule(name)) for name in self.originals]
        self.model.train(training)
        self.detach()
        for layer, (weight, bias) in zip(self.originals.values(), folded, strict=True):
            (layer.weight if weight.dim() == 1 else matrix_of(layer)).copy_(weight)
            if getattr(layer, "bias", None) is not None:
                layer.bias.copy_(bias)


class PeftFactors(PeftMethod):
    """One whose trained parameters are factors A (r, n_in) and B (n_out, r) of each target."""

    @staticmethod
    def n_params(shape, config) -> int:
        """r (n_in + n_out) per target and block."""
        return count_low_rank(shape, config.targets, config.rank)


def _own_dropout(tuner: nn.Module, before: set[nn.Module]) -> None:
    """Put this project's dropout in the place of torch's in peft's layers."""
    for layer in tuner.modules():
        if layer in before or not hasattr(layer, "base_layer"):
            continue
        for name, part in list(layer.named_modules()):
            if type(part) is nn.Dropout and part not in before:
                layer.set_submodule(name, Dropout(part.p, len(matrix_of(layer.base_layer))))


@contextmanager
def one_thread() -> Iterator[None]:
    """Within: sums and decompositions of a matrix come out the same whatever number of threads
    torch has outside."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def _peft(kind: str, options: dict):
    """(peft's config, its tuner class) of a method."""
    try:
        import peft
    except ImportError as error:
        raise RuntimeError(
            f"{kind} comes from the peft library, which is not installed: pip install peft==0.21.2"
        ) from error
    kind = peft.PeftType[kind]
    return (
        peft.PEFT_TYPE_TO_CONFIG_MAPPING[kind](**options),
        peft.PEFT_TYPE_TO_TUNER_MAPPING[kind],
    )
