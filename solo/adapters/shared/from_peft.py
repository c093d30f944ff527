"""Methods of Hugging Face's peft library under this project's contract; what their modules share.

peft replaces a layer of the model by one of its own that holds the original; the model stays the
same object, so training and decoding see GPT-2 as ever. Each method keeps its file: a Config, a
call of `inject`, and its count. peft is imported when one of them is attached, not before.

Two kinds of layer are adapted here: GPT-2's Conv1D projections, and (LN tuning) its LayerNorms. In
peft 0.21.2 LoHa, LoKr, OFT, BOFT, HRA, C3A, SHiRA, RoAd, MiSS, DeLoRA, GLoRA, PSOFT, LILY, PEANuT
and others refuse Conv1D, so they are not here.
"""

import warnings
from collections.abc import Callable, Sequence

import torch
from torch import nn

from solo.adapters.base import MODULE_NAME, Attached, check_free, freeze
from solo.adapters.shared.targets import PROJECTIONS

ADAPTER = "default"  # peft's name for the only adapter of a model


def inject(
    model,
    kind: str,
    targets: Sequence[str],
    options: dict,
    seed: int,
    weights: Callable = None,
    changes_weights: bool = False,
    **rest,
) -> Attached:
    """Let peft put the method `kind` (PeftType's name) on the modules named `targets`.

    options: of its config, the targets and the order of a weight's sides left out.
    Everything is drawn on the CPU from `seed`; the global generator is left as it was. `weights`
    gives (weight, bias) of what merging leaves of a layer of peft's; changes_weights: peft changes
    the backbone's own weights, which `detach` must put back; `rest` fills Attached. `module` is
    peft's tuner. Raises RuntimeError without peft, ValueError if the model has an adapter already
    or where peft refuses the options.
    """
    check_free(model)
    options = {"target_modules": list(targets)} | options
    if not set(targets) - set(PROJECTIONS):
        options["fan_in_fan_out"] = True  # Conv1D's weight is (n_in, n_out)
    config, tuner_class = _peft(kind, options)
    freeze(model)
    device, training = model.device, model.training
    layers, parameters = dict(model.named_modules()), dict(model.named_parameters())
    copies = {p: p.detach().clone() for p in parameters.values()} if changes_weights else {}
    buffers = {id(buffer) for buffer in model.buffers()}
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of layers that it handles
        torch.default_generator.manual_seed(seed)
        tuner = tuner_class(model.cpu(), config, ADAPTER)
    model.add_module(MODULE_NAME, nn.Module())  # peft's layers sit where the originals were
    model.to(device).train(training)
    replaced = [name for name, layer in layers.items() if model.get_submodule(name) is not layer]

    def detach() -> None:
        for name in replaced:
            parent, _, child = name.rpartition(".")
            setattr(model.get_submodule(parent), child, layers[name])
        delattr(model, MODULE_NAME)
        del model.peft_config
        with torch.no_grad():
            for parameter, values in copies.items():
                parameter.copy_(values)
        for name in replaced:
            layers[name].train(model.training)

    @torch.no_grad()
    def merge() -> None:
        training = model.training
        model.eval()  # dropout is no part of the weights
        folded = {name: (weights or affine_weights)(model.get_submodule(name)) for name in replaced}
        model.train(training)
        detach()
        for name, (weight, bias) in folded.items():
            layers[name].weight.copy_(weight)
            layers[name].bias.copy_(bias)

    trained = {_short(name): p for name, p in model.named_parameters() if p.requires_grad}
    drawn = {_short(n): b for n, b in model.named_buffers() if id(b) not in buffers}
    rest["fixed"] = drawn | rest.get("fixed", {})
    return Attached(trained, detach, tuner, merge=merge, **rest)


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


def _short(name: str) -> str:
    return name.removeprefix("transformer.").replace(f".{ADAPTER}", "")


def affine_weights(layer: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    """(W (n_in, n_out), b) of a layer that does x W + b, found by what it does to the identity."""
    weight = layer.base_layer.weight
    identity = torch.eye(weight.shape[0]).to(weight)
    bias = layer(torch.zeros_like(identity[None, :1]))  # (1, 1, n_out)
    return (layer(identity[None]) - bias)[0], bias[0, 0]
