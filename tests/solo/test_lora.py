"""LoRA against its definition."""

import math

import pytest
import torch

from solo.adapters import make_config


def test_update_folded_into_the_weights_gives_the_same_logits(model, ids):
    """W + (alpha / r) B A on the query and value thirds, nothing on the key third."""
    method, config = make_config({"name": "lora", "rank": 3, "alpha": 6, "dropout": 0.0})
    attached = method.attach(model, config, 1)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter.normal_()
        adapted = model(ids).logits
        values = {name: p.clone() for name, p in attached.parameters.items()}
        attached.detach()
        for i, block in enumerate(model.transformer.h):
            for third, part in ((0, "q"), (2, "v")):
                update = 2.0 * values[f"{i}.{part}_b"] @ values[f"{i}.{part}_a"]  # (out, in)
                block.attn.c_attn.weight[:, third * 16 : (third + 1) * 16] += update.T
        torch.testing.assert_close(model(ids).logits, adapted, rtol=1e-4, atol=1e-4)


def test_start_is_loralibs(model):
    """A uniform within 1 / sqrt(fan in) (Kaiming with a = sqrt 5), B zero, A's all different."""
    method, config = make_config({"name": "lora", "rank": 8})
    parameters = method.attach(model, config, 1).parameters
    firsts = [p for name, p in parameters.items() if name.endswith("_a")]
    assert len(firsts) == 12 and not any(torch.equal(firsts[0], a) for a in firsts[1:])
    largest = max(a.abs().max().item() for a in firsts)
    assert 0.9 / math.sqrt(16) < largest <= 1 / math.sqrt(16)
    assert all(p.abs().sum() == 0 for name, p in parameters.items() if name.endswith("_b"))


def test_dropout_acts_in_training_only(model, ids):
    method, config = make_config({"name": "lora", "rank": 2, "dropout": 0.5})
    attached = method.attach(model, config, 1)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter.normal_()
        assert torch.equal(model(ids).logits, model(ids).logits)
        model.train()
        assert not torch.equal(model(ids).logits, model(ids).logits)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rank": 0}, "adapter.rank is 0; it must be at least 1"),
        ({"alpha": 0}, "adapter.alpha is 0; it must be above 0"),
        ({"dropout": 1.0}, r"adapter.dropout is 1.0; it must be in \[0, 1\)"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        make_config({"name": "lora", **options})
