"""The seam for backbones: every file in it says the same things, and they are so."""

from types import FunctionType

import pytest
import torch
from transformers import CONFIG_MAPPING, GPT2Config, GPT2LMHeadModel, MambaConfig

from solo.adapters.shared.targets import target_shape
from solo.backbones import (
    BACKBONES,
    backbone_of,
    blocks_of,
    gpt2,
    head_of,
    matrix_of,
    projection_of,
    trunk_of,
    window_of,
    without_dropout,
)

WIDE = GPT2Config(n_layer=2, n_embd=8, n_head=2, n_inner=24, vocab_size=11, n_positions=7)


def names(backbone) -> set[str]:
    """The constants and functions that a file defines, but for what it keeps to itself."""
    return {
        name
        for name, value in vars(backbone).items()
        if name[0] != "_"
        and (
            name.isupper()
            or (type(value) is FunctionType and value.__module__ == backbone.__name__)
        )
    }


def test_a_window_that_is_not_said_to_be_in_some_layers_is_refused():
    """Mistral's: its beams would be wrong, without a word, for a text longer than the window."""
    shape = CONFIG_MAPPING["mistral"](sliding_window=4)
    with pytest.raises(ValueError, match="sliding_window=4 and no layer_types"):
        window_of(shape)
    shape.sliding_window = None
    assert window_of(shape) is None


@pytest.mark.parametrize("model_type", BACKBONES)
def test_every_backbone_says_what_gpt2_does(model_type):
    assert names(BACKBONES[model_type]) == names(gpt2)
    assert backbone_of(CONFIG_MAPPING[model_type]()) is BACKBONES[model_type]


def test_an_architecture_without_a_file():
    with pytest.raises(ValueError, match="the backbone is of type 'mamba'; supported: gpt2, l"):
        backbone_of(MambaConfig())


def test_parts_of_gpt2_are_where_they_are_said_to_be(ids):
    """The whole model out of its parts, of an inner width that is not 4 d."""
    model = GPT2LMHeadModel(without_dropout(WIDE)).eval()
    ids = ids[:, :7] % 11
    with torch.no_grad():
        assert torch.equal(head_of(model)(trunk_of(model)(ids)[0]), model(ids).logits)
        positions = trunk_of(model).get_submodule(gpt2.POSITIONS)
        x = model.get_input_embeddings()(ids) + positions(torch.arange(7))
        for block in blocks_of(model):
            x = block(x)
        x = trunk_of(model).get_submodule(gpt2.NORMS[-1])(x)
        torch.testing.assert_close(head_of(model)(x), model(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("tied", [True, False])
def test_sizes_of_gpt2_are_those_of_a_model(tied):
    shape = GPT2Config(**WIDE.to_diff_dict() | {"tie_word_embeddings": tied})
    model = GPT2LMHeadModel(shape)
    for block in blocks_of(model):
        for name in gpt2.PROJECTIONS:
            linear = projection_of(model, block, name)
            assert isinstance(linear, gpt2.LINEAR)
            assert matrix_of(linear).shape == gpt2.projection_shape(WIDE, name)
            assert linear.bias.shape == matrix_of(linear).shape[1:]
    parameters = dict(model.named_parameters())
    assert gpt2.n_parameters(shape) == sum(p.numel() for p in parameters.values())
    biases = [p.numel() for name, p in parameters.items() if name.endswith("bias")]
    assert gpt2.n_biases(WIDE) == sum(biases)


def test_a_target_that_this_backbone_lacks():
    assert target_shape(WIDE, "q") == (8, 8) and target_shape(WIDE, "c_attn") == (8, 24)
    with pytest.raises(ValueError, match="targets has 'q_proj'; a block of GPT-2 has: q, k, v, "):
        target_shape(WIDE, "q_proj")
