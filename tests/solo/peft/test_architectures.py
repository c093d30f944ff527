"""The blocks of sixteen architectures are found, and what peft users do works there."""

import pytest
import torch
from peft import PeftModel, get_peft_model

from solo.peft import SoloConfig
from solo.peft.blocks import find_blocks
from tests.solo.peft.tiny import BLOCKS, FITTING, NOT_CAUSAL, WIDTH, inputs, make

CONFIG = {"r": 4, "sparsity": 0.4, "lambda_init": 0.5, "dropout": 0.0}


@torch.no_grad()  # frozen or not, T5's attention takes another kernel otherwise
def logits(model, batch):
    return model(**batch).logits


@pytest.mark.parametrize("kind", FITTING)
def test_works(kind, tmp_path):
    batch = inputs(kind)
    base = logits(make(kind), batch)
    model = get_peft_model(make(kind), SoloConfig(**CONFIG)).eval()
    path, blocks = find_blocks(model.get_base_model())
    assert FITTING[kind][2] in (path, None) and len(blocks) == BLOCKS

    adapted = logits(model, batch)
    assert not torch.allclose(adapted, base, atol=1e-3)
    with model.disable_adapter():
        assert torch.equal(logits(model, batch), base)

    model.train()
    model(**batch).logits.square().mean().backward()
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    assert len(trained) == 5 and all(p.grad.abs().max() > 0 for p in trained.values())
    assert all(p.grad is None for p in model.parameters() if not p.requires_grad)

    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make(kind), tmp_path)
    assert torch.equal(logits(loaded, batch), adapted)
    assert torch.equal(logits(loaded.unload(), batch), base)


@pytest.mark.parametrize("kind", FITTING)
def test_hidden_states_have_what_the_connections_add(kind):
    """Against hooks of the test on the blocks: inputs of the blocks are the recorded states."""
    batch = inputs(kind)
    model = make(kind)
    model(**batch, output_hidden_states=True)  # transformers installs its recorders now
    model = get_peft_model(model, SoloConfig(**CONFIG)).eval()
    seen = []
    for block in find_blocks(model.get_base_model())[1]:
        block.register_forward_pre_hook(lambda block, args: seen.append(args[0]))
    outputs = model(**batch, output_hidden_states=True)
    states = outputs["decoder_hidden_states" if kind in ("t5", "bart") else "hidden_states"]
    assert len(states) == BLOCKS + 1 and states[0].shape[-1] == WIDTH
    for state, x in zip(states, seen, strict=False):
        assert torch.equal(state, x)


@pytest.mark.parametrize("kind", [kind for kind in FITTING if kind not in ("bert", "vit")])
def test_generates_the_same_with_and_without_a_cache(kind):
    model = get_peft_model(make(kind), SoloConfig(**CONFIG)).eval()
    batch = {k: v for k, v in inputs(kind).items() if k != "decoder_input_ids"}
    options = {"max_new_tokens": 8, "min_new_tokens": 8, "do_sample": False}
    cached = model.generate(**batch, **options, use_cache=True)
    assert torch.equal(model.generate(**batch, **options, use_cache=False), cached)
    with model.disable_adapter():
        assert not torch.equal(model.generate(**batch, **options), cached)
    if kind not in NOT_CAUSAL:
        beams = {"num_beams": 3, **options}
        assert torch.equal(
            model.generate(**batch, **beams), model.generate(**batch, **beams, use_cache=False)
        )
