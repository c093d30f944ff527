"""The tuner computes what solo/adapters/solo.py does, to the bit, on every option."""

from dataclasses import fields

import pytest
import torch
from peft import get_peft_model

from solo.adapters import make_config
from solo.adapters.solo import CHOICES, Config
from solo.peft import SoloConfig
from solo.peft.convert import to_peft
from tests.architectures import TYPES, make_backbone
from tests.conftest import make_model

OPTIONS = [
    {},
    {"sparsity": 0.4},
    {"sparsity": 0.4, "mask_seed": 11},
    {"span": 2},
    {"start": 1, "stride": 1, "reach": 2},
    {"trainable_matrices": False, "bias": True},
    {"homotopy": False},
    {"encoding": "scale"},
    {"encoding": "bias", "variant": "devcode", "vector_init": "normal"},
    {"vector_init": "zeros"},
    {"lambda_init": 0.9},
    {"lambda_init": -0.5, "lambda_bounded": False},
    *[{"weight_init": kind} for kind in CHOICES["weight_init"]],
    {"bias": True, "bias_init": "uniform"},
    {"bias": True, "bias_init": "zeros"},
    {"mask": "permutation", "sparsity": 0.4, "weight_init": "normal"},
    {"dropout": 0.5},
    {"variant": "devcode"},
    {"variant": "devcode", "sparsity": 0.4, "vector_init": "normal", "weight_init": "normal"},
]


def test_the_options_are_the_adapters_own():
    """Same names and defaults; every option is in the list above with another value than that."""
    own = {f.name: f.default for f in fields(Config)}
    ours = {f.name: f.default for f in fields(SoloConfig)}
    assert own.pop("rank") == ours["r"]
    assert own == {name: ours[name] for name in own}
    for name, default in own.items():
        assert any(options.get(name, default) != default for options in OPTIONS), name


def train(model, ids, parameters, after_step) -> list[float]:
    """Six steps of AdamW, at a rate that drives lambda out of [0, 1]."""
    optimizer = torch.optim.AdamW(parameters, lr=0.3, weight_decay=0.1)
    losses = []
    for step in range(1, 7):
        torch.manual_seed(step)  # of dropout
        loss = model(ids, labels=ids).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        after_step(step)
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_equal_to_the_bit(options, ids):
    plain, bare = make_model(), make_model()
    method, config = make_config({"name": "solo", "rank": 5, **options})
    attached = method.attach(plain, config, 3)
    model = get_peft_model(bare, SoloConfig(r=5, seed=3, **options)).eval()
    layer = bare.transformer.around_blocks.solo_connections["default"]

    assert torch.equal(model(ids).logits, plain(ids).logits)
    trained, everything = model.get_nb_trainable_parameters()
    assert trained == attached.n_trained == method.n_params(bare.config, config)
    assert model.get_model_status().requires_grad == {"default": True}

    plain.train()
    model.train()
    mine = {n: p for n, p in layer.named_parameters() if p.requires_grad}
    assert mine.keys() == attached.parameters.keys()
    expected = train(plain, ids, attached.parameters.values(), attached.after_step)
    assert train(model, ids, [mine[n] for n in attached.parameters], lambda _: None) == expected
    plain.eval()
    model.eval()
    assert torch.equal(model(ids).logits, plain(ids).logits)
    for name, parameter in attached.parameters.items():
        assert torch.equal(mine[name], parameter), name
    if "lambda_" in mine and config.resolved().lambda_bounded:
        assert 0 <= mine["lambda_"].min() and mine["lambda_"].max() <= 1


@pytest.mark.parametrize("architecture", TYPES)
def test_a_lora_of_the_projects_own_is_the_same_in_peft(architecture):
    """On q and v, which some backbones hold in one projection, one after the other or by heads."""
    method, options = make_config({"name": "lora", "rank": 2, "targets": ["q", "v"]})
    model, bare = (make_backbone(architecture) for _ in range(2))
    attached = method.attach(model, options, 1)
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter += 0.3 * torch.randn(parameter.shape, generator=draws)
        ids = torch.arange(1, 25).view(2, 12)
        expected, before = model(ids).logits, bare(ids).logits
        found = to_peft(attached, options, 1, bare).eval()(ids).logits
    assert not torch.allclose(before, expected, atol=1e-2)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
