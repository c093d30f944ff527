"""GELU's tanh form with its gradient, for a CPU, where torch's tanh is slow (2.13, docs/speed.md).

With u = sqrt(2/pi) (x + 0.044715 x^3)

    GELU(x) = x (1 + tanh u) / 2 = x s,  s = sigmoid(2 u)
    GELU'(x) = s + x s (1 - s) 2 u'

and since the two share s, the slope is kept for the way back instead of x.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from transformers.activations import GELUTanh

LINEAR = 2 * math.sqrt(2 / math.pi)  # 2 u = LINEAR x + CUBIC x^3
CUBIC = 0.044715 * LINEAR
FLAT = 12.0  # beyond it s is 0 or 1, to the last digit of fp32; so its cube is never infinite


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        inner = x.double() if x.dtype == torch.float64 else x.float()
        linear = inner.new_tensor(LINEAR)
        near = inner.clamp(-FLAT, FLAT)
        square = near * near
        s = torch.add(linear, square, alpha=CUBIC).mul_(near).sigmoid_()
        y = inner * s
        if ctx.needs_input_grad[0]:
            slope = torch.add(linear, square, alpha=3 * CUBIC, out=square).mul_(y)  # x s 2 u'
            slope = torch.addcmul(slope, slope, s, value=-1, out=slope).add_(s)
            ctx.save_for_backward(slope.to(x.dtype))
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        [slope] = ctx.saved_tensors
        return gradient * slope


def gelu(x: Tensor) -> Tensor:
    """F.gelu(x, approximate="tanh"); in half precision rounded once, as that is."""
    return _Gelu.apply(x)


@contextmanager
def fast_gelu(model: nn.Module) -> Iterator[None]:
    """Within: the model's GELUs of the tanh form are `gelu`."""
    activations = [module for module in model.modules() if type(module) is GELUTanh]
    for module in activations:
        module.forward = gelu
    try:
        yield
    finally:
        for module in activations:
            del module.forward
