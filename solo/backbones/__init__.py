"""The seam for backbones: which file says where the parts of a model are, by its `model_type`.

A backbone is a file with the names of gpt2.py and a line below. What all of transformers' configs
call by one name is read from the config itself: hidden_size (the width), num_hidden_layers,
vocab_size, max_position_embeddings.
"""

from types import ModuleType

from torch import nn

from solo.backbones import gpt2

BACKBONES = {"gpt2": gpt2}


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
