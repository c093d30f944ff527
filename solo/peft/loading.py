"""An exported adapter, or a whole model, from a folder or the hub."""

from pathlib import Path

import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import CONFIG_NAME, find_adapter_config_file

from solo.adapters.base import check

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
    try:
        adapter = find_adapter_config_file(source)
        if adapter is None:
            check(backbone is None, f"{source} holds no adapter; leave backbone out")
            return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        if backbone is None:
            return AutoPeftModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        model = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.float32)
        return PeftModel.from_pretrained(model, source).eval()
    except (OSError, ValueError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        if folder.is_dir():
            raise ValueError(
                f"{source} cannot be loaded, or its backbone ({backbone or 'the one it names'}) is "
                f"not at hand; backbone=DIR names another place ({reason})"
            ) from error
        raise ValueError(
            f"{source!r} is no folder with a run, an adapter or a model, nor a name that the hub "
            f"gave one for ({reason})"
        ) from error
