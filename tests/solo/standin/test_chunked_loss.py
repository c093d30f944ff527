"""The head's loss and gradients chunk by chunk, against torch's own on the whole table."""

import pytest
import torch
import torch.nn.functional as F

from solo.standin.chunked_loss import head_cross_entropy


def drawn(n=37, width=24, vocabulary=131, scale=1.0):
    random = torch.Generator().manual_seed(3)
    hidden = torch.randn(n, width, generator=random, requires_grad=True)
    weight = (scale * torch.randn(vocabulary, width, generator=random)).requires_grad_()
    return hidden, weight, torch.randint(0, vocabulary, (n,), generator=random)


def plain(hidden, weight, targets):
    """(loss, gradients) of the textbook formula in float64; the loss counts three times."""
    whole = [x.detach().double().requires_grad_() for x in (hidden, weight)]
    loss = 3 * F.cross_entropy(whole[0] @ whole[1].T, targets)
    return loss.item(), torch.autograd.grad(loss, whole)


def apart(found, wanted) -> float:
    return ((found.double() - wanted).norm() / wanted.norm()).item()


@pytest.mark.parametrize("chunk", [1, 8, 37, 100])
@pytest.mark.parametrize("scale", [0.1, 3.0])
def test_equals_plain_cross_entropy(chunk, scale):
    inputs = drawn(scale=scale)
    loss = 3 * head_cross_entropy(*inputs, torch.float32, chunk)
    loss.backward()
    wanted, gradients = plain(*inputs)
    assert loss.item() == pytest.approx(wanted, rel=1e-5)
    for one, other in zip(inputs, gradients, strict=False):
        assert apart(one.grad, other) < 1e-5


def test_a_batch_without_targets_changes_nothing():
    hidden, weight, targets = drawn(n=0)
    loss = head_cross_entropy(hidden, weight, targets, torch.float32)
    loss.backward()
    assert loss == 0 and not weight.grad.any() and hidden.grad.shape == hidden.shape


def test_bf16_is_off_by_its_rounding_alone():
    hidden, weight, targets = drawn(n=500, scale=0.3)
    loss = 3 * head_cross_entropy(hidden, weight, targets, torch.bfloat16, 64)
    loss.backward()
    wanted, gradients = plain(hidden, weight, targets)
    assert loss.item() == pytest.approx(wanted, rel=2e-3)
    assert apart(hidden.grad, gradients[0]) < 1e-2 and apart(weight.grad, gradients[1]) < 1e-2
    assert hidden.grad.dtype == weight.grad.dtype == torch.float32


def test_under_autocast_fp32_stays_fp32():
    inputs = drawn()
    with torch.autocast("cpu", torch.bfloat16):
        loss = head_cross_entropy(*inputs, torch.float32, 8)
    assert 3 * loss.item() == pytest.approx(plain(*inputs)[0], rel=1e-5)


def test_no_table_is_whole_and_no_gradient_is_made_unasked():
    """The largest tensor that is made has `chunk` rows, not as many as there are tokens."""
    hidden, weight, targets = drawn(n=640, vocabulary=3000)
    made = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            made.extend(x.numel() for x in [out] if isinstance(x, torch.Tensor))
            return out

    with Watch():
        head_cross_entropy(hidden, weight, targets, torch.float32, 32).backward()
    assert max(made) < 40 * 3072 < 640 * 3000 / 10
    made.clear()
    with torch.no_grad(), Watch():
        loss = head_cross_entropy(hidden, weight, targets, torch.float32, 32)
    assert 3 * loss.item() == pytest.approx(plain(hidden, weight, targets)[0], rel=1e-5)
    assert not loss.requires_grad and max(made) < 40 * 3072


def test_a_frozen_head_gets_no_gradient():
    hidden, weight, targets = drawn()
    head_cross_entropy(hidden, weight.detach(), targets, torch.float32, 8).backward()
    assert 3 * apart(hidden.grad, plain(hidden, weight, targets)[1][0] / 3) < 1e-5
