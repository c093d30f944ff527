"""The seam for backbones: which file says where the parts of a model are, by its `model_type`.

A backbone is a file with the names of gpt2.py (paths and sizes, no more) and a line below. Types
that name their modules alike share a file. What all of transformers' configs call by one name is
read from the config itself: hidden_size (the width), num_hidden_layers, vocab_size,
max_position_embeddings.
"""

from collections.abc import Sequence
from types import ModuleType

import torch
from torch import Tensor, nn
from transformers.pytorch_utils import Conv1D

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
    """The file for a model of this config.

    ValueError for an architecture that has none, for one that reads an encoder's text, too, and for
    a sliding window that is not said to be in some layers.
    """
    if shape.model_type not in BACKBONES:
        raise ValueError(
            f"the backbone is of type {shape.model_type!r}; supported: {', '.join(BACKBONES)}"
        )
    if getattr(shape, "add_cross_attention", False):
        raise ValueError(
            "the backbone has cross-attention (add_cross_attention in its config.json), to a text "
            "that an encoder reads; take a model that is a decoder alone"
        )
    window_of(shape)
    return BACKBONES[shape.model_type]


def without_dropout(shape):
    """`shape` itself, from now on without dropout and with GELU's tanh form in one kernel."""
    for name in backbone_of(shape).DROPOUTS:
        setattr(shape, name, 0.0)
    if getattr(shape, "activation_function", None) == "gelu_new":  # the same in eight kernels
        shape.activation_function = "gelu_pytorch_tanh"
    return shape


def trunk_of(model) -> nn.Module:
    """Everything of a model below its head: token ids (B, L) to hidden states (B, L, d).

    In models whose embeddings are narrower than d (opt-350m) the states have their width.
    """
    return model.get_submodule(backbone_of(model.config).TRUNK)


def positions_of(model) -> int:
    """How many tokens an input of a model can have. A prefix before it takes some of them."""
    return model.config.max_position_embeddings - getattr(model, "positions_taken", 0)


def head_of(model) -> nn.Module:
    """The head of a model: hidden states (..., d) to logits (..., vocabulary)."""
    return model.get_submodule(backbone_of(model.config).HEAD)


def blocks_of(model) -> nn.ModuleList:
    return trunk_of(model).get_submodule(backbone_of(model.config).BLOCKS)


def projection_of(model, block: nn.Module, name: str) -> nn.Module:
    """The projection of a model's block by its name in PROJECTIONS."""
    return block.get_submodule(backbone_of(model.config).PROJECTIONS[name])


def matrix_of(linear: nn.Module) -> Tensor:
    """W (n_in, n_out) of a projection or of the head, to be changed in place."""
    return linear.weight if isinstance(linear, Conv1D) else linear.weight.T


def join_parts(shape, parts: Sequence[Tensor]) -> Tensor:
    """The output (..., n) of a projection, of the outputs (..., n / parts) of its PARTS."""
    if len(parts) == 1:
        return parts[0]
    if not backbone_of(shape).BY_HEAD:
        return torch.cat(list(parts), dim=-1)
    by_head = [part.unflatten(-1, (shape.num_attention_heads, -1)) for part in parts]
    return torch.stack(by_head, dim=-2).flatten(-3)  # (..., heads, parts, width of a head)


def window_of(shape) -> int | None:
    """How many tokens, itself included, a token sees in layers with a sliding window, if any has.

    Which layers have it is layer_types' to say. ValueError for a config with a window and without
    layer_types, such as Mistral's.
    """
    kinds, window = getattr(shape, "layer_types", None), getattr(shape, "sliding_window", None)
    if kinds is None and window is not None:
        raise ValueError(
            f"the backbone's config.json has sliding_window={window} and no layer_types, which say "
            "in which layers it is; for inputs no longer than it set sliding_window to null there"
        )
    return window if "sliding_attention" in (kinds or ()) else None


def key_width(shape) -> int:
    """The width of all keys of a token in a layer: less than that of the queries, if shared."""
    heads = shape.num_attention_heads
    width = getattr(shape, "head_dim", None) or shape.hidden_size // heads
    return width * (getattr(shape, "num_key_value_heads", None) or heads)
