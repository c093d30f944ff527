"""Prefix and prompt tuning against the peft library's own models, and in the beam search."""

import copy

import peft
import pytest
import torch
from transformers import DynamicCache, GPT2Config, GPT2LMHeadModel

from solo.adapters import make_config
from solo.decoding.recipe import BeamConfig
from solo.decoding.rules import beam_search
from tests.conftest import make_model

HEADS = {"task_type": "CAUSAL_LM", "num_layers": 6, "num_attention_heads": 2, "token_dim": 16}


def attach(model, name, **options):
    method, config = make_config({"name": name, **options})
    return method.attach(model, config, 1)


def losses(model, parameters, ids, forward):
    """Of three steps of AdamW on the given parameters."""
    optimizer = torch.optim.AdamW(parameters, lr=0.01)
    values = []
    for _ in range(3):
        logits = forward(ids)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        values.append(loss.item())
    return values


def test_the_attention_is_otherwise_that_of_the_model(ids):
    """Its scale, held against the bare model that was given keys and values; its dropout draws."""
    model = make_model()
    config = GPT2Config(**model.config.to_dict() | {"scale_attn_weights": False})
    other = GPT2LMHeadModel(config).eval()
    other.load_state_dict(model.state_dict())
    attached = attach(other, "prefix", length=3)
    with torch.no_grad():
        found = other(ids).logits
        cache = DynamicCache()
        for i in range(config.n_layer):
            pair = (s.view(1, 3, 2, 8).transpose(1, 2) for s in attached.of_layer(i))
            cache.update(*(s.expand(len(ids), -1, -1, -1) for s in pair), i)
        attached.detach()
        torch.testing.assert_close(found, other(ids, past_key_values=cache).logits)
    model.config.attn_pdrop = 0.5
    dropping = GPT2LMHeadModel(model.config).train()
    attach(dropping, "prefix", length=3)
    assert not torch.equal(dropping(ids).logits, dropping(ids).logits)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_two_models_that_share_a_config_have_no_two_prefixes(model, ids, name):
    """The attention is chosen by the config: one that is taken out would take the other's along."""
    other = GPT2LMHeadModel(model.config).eval()
    attached = attach(model, name)
    with pytest.raises(ValueError, match="another model that shares this one's config has a pref"):
        attach(other, name)
    attached.detach()
    attach(other, name)


def test_prefix_trains_as_pefts(model, ids):
    theirs = peft.get_peft_model(
        copy.deepcopy(model),
        peft.PrefixTuningConfig(num_virtual_tokens=3, num_transformer_submodules=1, **HEADS),
    )
    attached = attach(model, "prefix", length=3)
    prefix = attached.module
    states = torch.stack([prefix.keys, prefix.values], 1)  # (n_layer, 2, P, d)
    table = theirs.prompt_encoder.default.embedding.weight  # (P, n_layer * 2 * d)
    with torch.no_grad():
        table.copy_(states.permute(2, 0, 1, 3).flatten(1))
    wanted = losses(theirs, [table], ids, lambda x: theirs(input_ids=x).logits)
    ours = losses(
        model, attached.parameters.values(), ids, lambda x: model.lm_head(model.transformer(x)[0])
    )
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)
    assert ours[0] > ours[2]


def test_prompt_trains_as_pefts(model, ids):
    theirs = peft.get_peft_model(
        copy.deepcopy(model),
        peft.PromptTuningConfig(num_virtual_tokens=4, num_transformer_submodules=1, **HEADS),
    )
    attached = attach(model, "prompt", length=4)
    table = theirs.prompt_encoder.default.embedding.weight
    with torch.no_grad():
        table.copy_(attached.module.embeddings)
    wanted = losses(theirs, [table], ids, lambda x: theirs(input_ids=x).logits[:, 4:])
    ours = losses(
        model, attached.parameters.values(), ids, lambda x: model.lm_head(model.transformer(x)[0])
    )
    torch.testing.assert_close(ours, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_beam_search_of_a_padded_batch_is_that_of_each_prompt_alone(model, name):
    """Left padding, masks and explicit positions go together with the prefix."""
    attach(model, name, length=4)
    config = BeamConfig(beam=3, max_new_tokens=6)
    prompts = [[5, 6, 7, 8, 9, 10], [11, 12], [13]]
    together = beam_search(model, prompts, config, (0,))
    alone = [beam_search(model, [prompt], config, (0,))[0] for prompt in prompts]
    assert together == alone


def test_a_prompt_of_words_is_a_longer_input(model, ids):
    """With the embeddings of tokens as the prompt: the logits behind those tokens."""
    attached = attach(model, "prompt", length=5)
    words = torch.randint(0, 61, (5,))
    with torch.no_grad():
        attached.module.embeddings.copy_(model.transformer.wte.weight[words])
        ours = model(ids).logits
        attached.detach()
        wanted = model(torch.cat([words.expand(len(ids), -1), ids], 1)).logits[:, 5:]
    torch.testing.assert_close(ours, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["prefix", "prompt"])
def test_bad_lengths(model, name):
    with pytest.raises(ValueError, match="adapter.length is 0; it must be at least 1"):
        make_config({"name": name, "length": 0})
    with pytest.raises(ValueError, match="length is 400; the model has 400 positions in all"):
        attach(model, name, length=400)


def test_an_interrupted_pass_leaves_the_prompt_in_the_model(model, ids):
    attach(model, "prompt", length=4)
    wanted = model(ids).logits

    def interrupt(*_):
        raise KeyboardInterrupt

    handle = model.transformer.h[0].register_forward_pre_hook(interrupt)
    with pytest.raises(KeyboardInterrupt):
        model(ids)
    handle.remove()
    assert torch.equal(model(ids).logits, wanted)


def test_a_prompt_refuses_gradient_checkpointing(model, ids):
    attach(model, "prompt", length=4)
    model.activation_checkpointing_enable()
    with pytest.raises(ValueError, match="call model.activation_checkpointing_disable()"):
        model.train()(ids)


def test_no_layer_works_without_the_prompt(model):
    """As a pass of the model would that has lost it, compiled after a refused one for example."""
    prompt, config = make_config({"name": "prompt", "length": 3})
    method = prompt.attach(model, config, seed=1)
    with pytest.raises(ValueError, match="this pass has not read its prompt"):
        method.of_layer(0)


def test_another_model_with_the_same_configuration_object_stays_without(model, ids):
    other = GPT2LMHeadModel(model.config).eval()
    wanted = other(ids).logits
    attach(model, "prefix", length=4)
    torch.testing.assert_close(other(ids).logits, wanted)
