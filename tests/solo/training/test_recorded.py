"""What a GPU's way needs, as far as a CPU can try it: torch's recording is imitated.

On a device `scripts/checks/device.py` holds the whole against the CPU, and every run its own steps
against the plain way.
"""

from types import SimpleNamespace

import pytest
import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from solo.adapters import make_config
from solo.adapters.base import Method
from solo.backbones.attention import causal_attention
from solo.backbones.products import cast_once
from solo.standin import training
from solo.training import recorded as module
from solo.training.batches import collate, pad
from solo.training.loss import autocast, summed_loss
from solo.training.recipe import TrainConfig, make_optimizer
from solo.training.state import load_state, save_state
from tests.conftest import make_model
from tests.solo.training.test_train import TRAIN


@pytest.fixture
def recordings(monkeypatch):
    """What was recorded: in place of a graph, a module that reads the inputs of its recording."""
    made = []

    def record(step, sample, **options):
        static, run = [tensor.clone() for tensor in sample], step.forward
        made.append(options)

        def replay(*tensors):
            for place, tensor in zip(static, tensors, strict=True):
                place.copy_(tensor)  # which shapes that differ would refuse
            return run(*static)

        step.forward = replay
        return step

    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**30, 2**31))
    monkeypatch.setattr(torch.cuda, "graph_pool_handle", object)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", record)
    return made


def test_each_shape_is_recorded_once_and_each_change_of_what_is_trained(recordings):
    model = make_model().eval()
    method, config = make_config({"name": "lora", "rank": 2, "dropout": 0.0})
    attached = method.attach(model, config, 1)

    def loss_of(model, batch):
        return summed_loss(model, batch, 1, 0.1)

    loss = module.recorded(model, loss_of)
    batches = [pad([TRAIN[i : i + 4]], multiple=64) for i in (0, 4, 0, 8)]
    for batch in batches:
        assert torch.equal(loss(batch), loss_of(model, batch))
    shapes = {tuple(tensor.shape for tensor in batch) for batch in batches}
    assert len(recordings) == len(shapes) < len(batches)
    next(iter(attached.parameters.values())).requires_grad_(False)  # as a schedule does
    loss(batches[0])
    assert len(recordings) == len(shapes) + 1
    assert len({options["pool"] for options in recordings}) == 1


@pytest.mark.parametrize("masked", [False, True])
def test_a_recording_that_finds_too_little_memory_leaves_its_shape_plain(
    recordings, monkeypatch, masked
):
    def too_much(*args, **options):
        try:
            raise torch.OutOfMemoryError("tried to allocate 2 GiB")
        finally:
            if masked:  # by the end of a recording that is not valid any more
                raise RuntimeError("operation failed due to a previous error during capture")

    model = make_model().eval()

    def loss_of(model, batch):
        return summed_loss(model, batch, 1, 0.1)

    loss, batch = module.recorded(model, loss_of), pad([TRAIN[:4]], multiple=64)
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", too_much)
    assert torch.equal(loss(batch), loss_of(model, batch))
    monkeypatch.setattr(torch.cuda, "make_graphed_callables", lambda *args, **options: 1 / 0)
    assert torch.equal(loss(batch), loss_of(model, batch))  # and it is not tried again
    with pytest.raises(ZeroDivisionError):
        loss(pad([TRAIN[:2]], multiple=64))


def test_a_small_pretraining_is_recorded_and_a_large_one_is_not(recordings):
    """The recorded hidden states and their gradients are the plain ones, for each shape."""
    model = make_model()

    def trunk(ids):
        return model.transformer(ids, use_cache=False).last_hidden_state

    small = SimpleNamespace(compile=False, phases=[{"batch_size": 2, "context": 8}])
    large = SimpleNamespace(compile=False, phases=[{"batch_size": 512, "context": 128}])
    assert training._faster(model, large, trunk, "cuda") is None
    assert training._faster(model, small, trunk, "cpu") is None
    faster = training._faster(model, small, trunk, "cuda")
    weights = list(model.parameters())
    for shape in [(2, 8), (1, 9), (2, 8)]:
        ids = torch.randint(model.config.vocab_size, shape)
        found, expected = (
            torch.autograd.grad(way(ids).square().sum(), weights, allow_unused=True)
            for way in (faster, trunk)
        )
        assert all(map(torch.equal, found, expected))
    assert len(recordings) == 2


def test_where_memory_is_short_a_step_runs_unrecorded(recordings, monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 2**31))
    model, batch = make_model(), pad([TRAIN[:4]], multiple=64)

    def loss_of(model, batch):
        return summed_loss(model, batch, 1, 0.1)

    assert torch.equal(module.recorded(model, loss_of)(batch), loss_of(model, batch))
    assert not recordings


@pytest.mark.parametrize("window", [None, 3, 50])
def test_attention_without_a_mask_is_transformers_attention(window):
    """Rows padded on the right, shared keys, and a sliding window, against `sdpa` with its mask."""
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, heads, 9, 5) for heads in (4, 2, 2))
    place = torch.arange(9)
    seen = place[:, None] >= place
    if window is not None:
        seen &= place[:, None] - place < window
    found, _ = causal_attention(None, query, key, value, None, 0.3, sliding_window=window)
    k, v = (x.repeat_interleave(2, dim=1) for x in (key, value))
    scores = (query @ k.transpose(-1, -2) * 0.3).masked_fill(~seen, float("-inf"))
    torch.testing.assert_close(found, (scores.softmax(-1) @ v).transpose(1, 2))


def test_padded_rows_give_the_plain_logits_with_shared_keys():
    config = LlamaConfig(vocab_size=300, hidden_size=32, intermediate_size=48, num_hidden_layers=2,
                         num_attention_heads=4, num_key_value_heads=2)  # fmt: skip
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).eval()
    plain, targets = collate([TRAIN[:4]]).target_logits(model)
    padded, filled = pad([TRAIN[:4]], multiple=8).target_logits(model)
    assert torch.equal(filled[filled >= 0], targets)
    torch.testing.assert_close(padded[filled >= 0], plain)


@pytest.mark.parametrize("options", [{"name": "lora", "rank": 2}, {"name": "bitfit"}])
def test_weights_that_are_cast_once_give_autocasts_bits(options):
    """Also where the biases beside them are trained."""
    model = make_model()
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.data += 0.3
    method, config = make_config(options)
    attached = method.attach(model, config, 1)
    batch, losses, gradients = pad([TRAIN[:4]], multiple=8), [], []
    for once in (False, True):
        with autocast(model, TrainConfig(precision="bf16")):
            if once:
                with cast_once(model, torch.bfloat16):
                    losses.append(summed_loss(model, batch, 1, 0.1))
            else:
                losses.append(summed_loss(model, batch, 1, 0.1))
        gradients.append(torch.autograd.grad(losses[-1], list(attached.parameters.values())))
    assert torch.equal(*losses)
    assert all(torch.equal(*pair) for pair in zip(*gradients, strict=True))
    assert not any("forward" in vars(part) for part in model.modules())


def test_a_state_goes_to_the_device_of_its_parameters(tmp_path):
    """All of it: on a GPU the fused optimizer counts its steps there, too."""
    attached = Method({"w": nn.Parameter(torch.ones(3))})
    optimizer = make_optimizer(attached, TrainConfig())
    attached.parameters["w"].grad = torch.ones(3)
    optimizer.step()
    save_state(tmp_path / "state", attached, optimizer, {"step": 1})
    elsewhere = Method({"w": nn.Parameter(torch.empty(3, device="meta"))})
    optimizer = make_optimizer(elsewhere, TrainConfig())
    load_state(tmp_path / "state", elsewhere, optimizer)
    [state] = optimizer.state.values()
    assert {value.device.type for value in state.values()} == {"meta"} and len(state) == 3
