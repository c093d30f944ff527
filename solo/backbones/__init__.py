"""The seam for backbones: which file says where the parts of a model are, by its `model_type`.

A backbone is a file with the names of gpt2.py and a line below; types that name their modules alike
share one. What all of transformers' configs call by one name is read from the config itself:
hidden_size (the width), num_hidden_layers, vocab_size, max_position_embeddings.
"""

from types import ModuleType

from torch import nn

from solo.backbones import gpt2, gpt_neox, llama, opt

BACKBONES = {
    "gpt2": gpt2,
    "llama": llama,
    "qwen2": llama,
    "qwen3": llama,
    "gpt_neox": gpt_neox,
    "opt": opt,
}
LAYOUTS = tuple(dict.fromkeys(BACKBONES.values()))  # each file once


def backbone_of(shape) -> ModuleType:
    """The file for a model of this config. ValueError for an architecture that has none."""
    if shape.model_type not in BACKBONES:
        raise ValueError(
            f"the backbone is of type {shape.model_type!r}; supported: {', '.join(BACKBONES)}"
        )
    return BACKBONES[shape.model_type]


def trunk_of(model) -> nn.Module:
    """Everything of a model below its head: token ids (B, L) to hidden states (B, L, d)."""
    return backbone_of(model.config).trunk(model)


def head_of(model) -> nn.Module:
    """The head of a model: hidden states (..., d) to logits (..., vocabulary)."""
    return backbone_of(model.config).head(model)


def window_of(shape) -> int | None:
    """How many tokens, itself included, a token sees in layers with a sliding window, if any has.

    Which layers have it is layer_types' to say; without any it is None.
    """
    sliding = "sliding_attention" in (getattr(shape, "layer_types", None) or ())
    return shape.sliding_window if sliding else None


def key_width(shape) -> int:
    """The width of all keys of a token in a layer: less than that of the queries, if shared."""
    heads = shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    return width * (getattr(shape, "num_key_value_heads", None) or heads)
