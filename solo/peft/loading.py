"""An exported adapter, or a whole model, from a folder or the hub."""

import warnings
from pathlib import Path

import torch
from peft import (
    AutoPeftModelForCausalLM,
    PeftModel,
    get_peft_model_state_dict,
    load_peft_weights,
)
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import CONFIG_NAME, find_adapter_config_file

from solo.adapters.base import check
from solo.tensors import check_names_and_shapes

ADAPTER_CONFIG = "adapter_config.json"


def load_export(source: str, backbone: str | None = None) -> PreTrainedModel | PeftModel:
    """The model of a folder or of a name on the hub, in eval mode and in fp32, as runs compute.

    Of an adapter it is peft's model around its backbone: `backbone`, or that which it names. Raises
    ValueError, in one line, if there is neither an adapter nor a model, or no such backbone.
    """
    folder = Path(source)
    if folder.is_dir():
        files = {path.name for path in folder.iterdir()}
        check(
            bool(files & {CONFIG_NAME, ADAPTER_CONFIG}),
            f"{source} holds neither a run nor an adapter nor a model (no {CONFIG_NAME}, no "
            f"{ADAPTER_CONFIG})",
        )
        check(
            ADAPTER_CONFIG not in files or SAFETENSORS_WEIGHTS_NAME in files,
            f"{source} has {ADAPTER_CONFIG}, but no {SAFETENSORS_WEIGHTS_NAME} with its weights",
        )
        check(
            backbone is None or ADAPTER_CONFIG in files,
            f"{source} holds no adapter; leave backbone out",
        )
    try:
        if find_adapter_config_file(source) is None:
            return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        with warnings.catch_warnings():  # what is missing is an error below
            warnings.filterwarnings("ignore", "Found missing adapter keys")
            if backbone is None:
                model = AutoPeftModelForCausalLM.from_pretrained(source, dtype=torch.float32)
            else:
                model = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.float32)
                model = PeftModel.from_pretrained(model, source)
        _check_whole(model, source)
        return model.eval()
    # KeyError, TypeError: peft's, where a field of its configuration is unknown or of another kind
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        if folder.is_dir():
            raise ValueError(
                f"{source} cannot be loaded, or its backbone ({backbone or 'the one it names'}) is "
                f"not at hand or not the one it was made for; backbone=DIR names another ({reason})"
            ) from error
        raise ValueError(
            f"{source!r} is no folder with a run, an adapter or a model, nor a name that the hub "
            f"gave one for ({reason})"
        ) from error


def _check_whole(model: PeftModel, source: str) -> None:
    """Raise ValueError unless every tensor of the adapter's file has a place in the model, and none
    of the adapter is left without: peft fills gaps at random and drops what is too much."""
    given, backbone = load_peft_weights(source, device="cpu"), model.state_dict().keys()
    given = {name: tensor for name, tensor in given.items() if name not in backbone}
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    check_names_and_shapes(given, own, f"the adapter in {source}")
