"""An exported adapter, or a whole model, from a folder or the hub."""

from pathlib import Path

import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.utils import find_adapter_config_file

from solo.adapters.base import check


def load_export(source: str, backbone: str | None = None) -> PreTrainedModel | PeftModel:
    """The model of a folder or of a name on the hub, in eval mode and in fp32, as runs compute.

    Of an adapter it is peft's model around its backbone: `backbone`, or that which it names. Raises
    ValueError, in one line, if there is neither an adapter nor a model.
    """
    try:
        adapter = find_adapter_config_file(source)
        if adapter is None:
            check(backbone is None, f"{source} holds no adapter; leave backbone out")
            return AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        if backbone is None:
            return AutoPeftModelForCausalLM.from_pretrained(source, dtype=torch.float32).eval()
        model = AutoModelForCausalLM.from_pretrained(backbone, dtype=torch.float32)
        return PeftModel.from_pretrained(model, source).eval()
    except (OSError, ValueError) as error:
        if Path(source).is_dir():
            raise
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{source!r} is no folder with a run, an adapter or a model, nor a name that the hub "
            f"gave one for ({reason})"
        ) from error
