"""GELU's tanh form with its gradient, for a CPU, where torch's takes longer (docs/speed_notes.md).

With u = sqrt(2/pi) (x + 0.044715 x^3)

    GELU(x) = x (1 + tanh u) / 2 = x s,  s = sigmoid(2 u)
    GELU'(x) = s + x s (1 - s) 2 u'

and since the two share s, the slope is kept for the way back instead of x. A number in bf16 is one
of 65,536, so for those both are looked up.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import transformers
from torch import Tensor, nn

LINEAR = 2 * math.sqrt(2 / math.pi)  # 2 u = LINEAR x + CUBIC x^3
CUBIC = 0.044715 * LINEAR
FLAT = 12.0  # beyond it s is 0 or 1, to the last digit of fp32; so its cube is never infinite


def by_formula(x: Tensor, sloping: bool = True) -> tuple[Tensor, Tensor | None]:
    """GELU(x) and GELU'(x) in fp32 or fp64, of x in any precision; without the slope, None."""
    inner = x.double() if x.dtype == torch.float64 else x.float()
    linear = inner.new_tensor(LINEAR)
    near = inner.clamp(-FLAT, FLAT)
    square = near * near
    s = torch.add(linear, square, alpha=CUBIC).mul_(near).sigmoid_()
    y = inner * s
    if not sloping:
        return y, None
    slope = torch.add(linear, square, alpha=3 * CUBIC, out=square).mul_(y)  # x s 2 u'
    return y, torch.addcmul(slope, slope, s, value=-1, out=slope).add_(s)


def _every() -> Tensor:
    """Of every number in bf16, in the order of its bits: its GELU, also in bf16, as the lower half
    of an integer, and its slope as the upper half; one lookup gives both."""
    bits = torch.arange(2**16, dtype=torch.int32)
    found = by_formula(bits.to(torch.int16).view(torch.bfloat16))
    y, slope = (part.to(torch.bfloat16).view(torch.int16).to(torch.int32) for part in found)
    return (slope << 16) | (y & 0xFFFF)


TABLE = _every()


def _half(pairs: Tensor) -> Tensor:
    """The lower halves, as bf16."""
    return pairs.to(torch.int16).view(torch.bfloat16)


class _Gelu(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        if x.dtype == torch.bfloat16:
            bits = x.flatten().view(torch.int16).to(torch.int32).bitwise_and_(0xFFFF)
            pairs = TABLE.index_select(0, bits).view(x.shape)
            ctx.save_for_backward(pairs)
            return _half(pairs)
        y, slope = by_formula(x, ctx.needs_input_grad[0])
        ctx.save_for_backward(slope)
        return y.to(x.dtype)

    @staticmethod
    def backward(ctx, gradient):
        [slope] = ctx.saved_tensors
        if slope.dtype == torch.int32:
            return gradient * _half(slope >> 16)
        return gradient * slope.to(gradient.dtype)


def gelu(x: Tensor) -> Tensor:
    """F.gelu(x, approximate="tanh"); in half precision rounded once, as that is."""
    return _Gelu.apply(x)


@contextmanager
def fast_gelu(model: nn.Module) -> Iterator[None]:
    """Within: the model's GELUs of the tanh form are `gelu`."""
    of_transformers = transformers.activations.GELUTanh
    activations = [module for module in model.modules() if type(module) is of_transformers]
    for module in activations:
        module.forward = gelu
    try:
        yield
    finally:
        for module in activations:
            del module.forward
