"""Shapes of backbones by model.path: counting and timing need no weights."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import transformers
from huggingface_hub import try_to_load_from_cache

from solo.backbones import BACKBONES
from solo.files import read_json


@functools.cache
def gpt2_shapes() -> dict[str, transformers.GPT2Config]:
    """The shapes of the hub's GPT-2 checkpoints, by their names there."""
    return {
        "openai-community/gpt2": transformers.GPT2Config(n_layer=12, n_embd=768, n_head=12),
        "openai-community/gpt2-medium": transformers.GPT2Config(n_layer=24, n_embd=1024, n_head=16),
    }


def config_class(model_type: str) -> type[transformers.PretrainedConfig]:
    """transformers' config of a type of backbone."""
    return transformers.CONFIG_MAPPING[model_type]


def model_class(shape: transformers.PretrainedConfig) -> type[transformers.PreTrainedModel]:
    """transformers' causal language model for a config."""
    return transformers.MODEL_FOR_CAUSAL_LM_MAPPING[type(shape)]


def is_hub_name(path: str) -> bool:
    """Whether `path` may be a model's name on the hub, OWNER/NAME."""
    return re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", path, re.ASCII) is not None


def shape_of(path: str) -> transformers.PretrainedConfig | None:
    """The shape of a backbone, its weights at hand or not; None if nothing tells it.

    Raises ValueError for a config.json that is damaged.
    """
    file = Path(path) / "config.json"
    if not file.is_file():
        if path in gpt2_shapes():
            return gpt2_shapes()[path]
        cached = try_to_load_from_cache(path, "config.json") if is_hub_name(path) else None
        if not isinstance(cached, str):
            return None
        file = Path(cached)
    values = read_json(file)
    kind = values.get("model_type") if isinstance(values, dict) else None
    if kind not in BACKBONES:
        return None
    try:
        return config_class(kind).from_dict(values)
    except Exception as error:  # transformers' own kinds; to the user they are one
        reason = " ".join(str(error).split())
        raise ValueError(f"{file} is no configuration of {kind} ({reason})") from error
