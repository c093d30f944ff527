"""Products with weights that never change, packed once for the CPU.

In torch 2.13 a product with a frozen weight lays that weight out anew every time. `frozen_products`
has oneDNN do it once; `cast_once` does the same for autocast on an accelerator. Both give what the
plain path (torch's own products) gives, and tests hold them to it.
"""

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import torch
from torch import Tensor, nn

from solo.backbones import backbone_of, head_of, matrix_of


class Packed:
    """A frozen weight (n_in, n_out) in oneDNN's own layout, for y = x W and for its gradient."""

    def __init__(self, weight: Tensor, dtype: torch.dtype, tokens: int):
        self.weight, self.dtype, self.tokens = weight.detach(), dtype, tokens
        self.forth = self.back = None
        # A tensor, since a compiler takes numbers for constants: one compilation for each of them.
        self.number = torch.tensor(next(_NUMBERS))
        _PACKED[self.number.item()] = self

    def _pack(self, weight: Tensor) -> Tensor:
        return torch.ops.mkldnn._reorder_linear_weight(
            weight.to(self.dtype).contiguous(), self.tokens
        )

    def times(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x W + bias, (..., n_in) -> (..., n_out)."""
        if self.forth is None:
            self.forth = self._pack(self.weight.t())
        return torch.ops.mkldnn._linear_pointwise(x, self.forth, bias, "none", [], "")

    def times_transposed(self, gradient: Tensor) -> Tensor:
        """(..., n_out) -> (..., n_in)."""
        if self.back is None:  # never needed below the first adapted block
            self.back = self._pack(self.weight)
        return torch.ops.mkldnn._linear_pointwise(gradient, self.back, None, "none", [], "")


# A compiler cannot look into packed weights. For it a product with them is one operation, which
# finds them by their number; they go with the run that packed them.
_NUMBERS = itertools.count()
_PACKED: WeakValueDictionary[int, Packed] = WeakValueDictionary()


@torch.library.custom_op("solo::packed_product", mutates_args=())
def packed_product(x: Tensor, bias: Tensor | None, number: Tensor, n_out: int) -> Tensor:
    """x W + bias, (N, n_in) -> (N, n_out), with the packed weight of that number."""
    return _PACKED[number.item()].times(x, bias)


@torch.library.custom_op("solo::packed_gradient", mutates_args=())
def packed_gradient(gradient: Tensor, number: Tensor, n_in: int) -> Tensor:
    """gradient W^T, (N, n_out) -> (N, n_in)."""
    return _PACKED[number.item()].times_transposed(gradient.contiguous())


@packed_product.register_fake
def _(x, bias, number, n_out):
    return x.new_empty(x.shape[0], n_out)  # not len(x), a constant for a compiler


@packed_gradient.register_fake
def _(gradient, number, n_in):
    return gradient.new_empty(gradient.shape[0], n_in)


def _remember(ctx, inputs, output):
    x, bias, number, _ = inputs
    ctx.save_for_backward(number)
    ctx.n_in = x.shape[1]


def _differentiate(ctx, gradient):
    wanted_x, wanted_bias, *_ = ctx.needs_input_grad
    [number] = ctx.saved_tensors
    of_x = packed_gradient(gradient, number, ctx.n_in) if wanted_x else None
    return of_x, gradient.sum(0) if wanted_bias else None, None, None


packed_product.register_autograd(_differentiate, setup_context=_remember)

# Shape, dtype and rows of the products that this process has compared with torch's own, and whether
# they are the same: the packed ones are private to torch, which promises nothing about them.
_COMPARED: dict[tuple, bool] = {}
_APART = {torch.float32: 1e-5, torch.bfloat16: 2e-2}  # rounding makes 1e-6 and 4e-3


def _is_right(weight: Tensor, dtype: torch.dtype, tokens: int) -> bool:
    """Whether packed products with `weight` are right in both directions, on eight random rows."""
    key = (tuple(weight.shape), dtype, tokens)
    if key not in _COMPARED:
        packed, draws = Packed(weight, dtype, tokens), torch.Generator().manual_seed(0)
        _COMPARED[key] = all(
            _is_near(times, matrix, dtype, draws)
            for times, matrix in (
                (lambda x: packed.times(x, None), packed.weight),
                (packed.times_transposed, packed.weight.t()),
            )
        )
    return _COMPARED[key]


def _is_near(times, matrix: Tensor, dtype: torch.dtype, draws: torch.Generator) -> bool:
    x = torch.randn(8, len(matrix), generator=draws).to(dtype)
    with torch.no_grad():
        expected = x.float() @ matrix.float()
        try:
            found = times(x).float()
        except RuntimeError:  # no such kernel for this shape or processor
            return False
    return bool((found - expected).norm() <= _APART[dtype] * expected.norm())


class _Product(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, bias, packed):
        ctx.packed = packed
        return packed.times(x, bias)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous()
        wanted_x, wanted_bias, _ = ctx.needs_input_grad
        of_x = ctx.packed.times_transposed(gradient) if wanted_x else None
        of_bias = gradient.flatten(0, -2).sum(0) if wanted_bias else None
        return of_x, of_bias, None


def can_pack(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether this torch and this processor have packed products."""
    if device.type != "cpu" or not torch.backends.mkldnn.is_available():
        return False
    if not hasattr(torch.ops.mkldnn, "_reorder_linear_weight"):
        return False
    if dtype == torch.bfloat16:
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    return dtype == torch.float32


@contextmanager
def frozen_products(model: nn.Module, dtype: torch.dtype, tokens: int = 256) -> Iterator[None]:
    """Within: projections and the head multiply with packed copies of their weights in `dtype`.

    Only where the processor can, gives what torch's own products give (compared once for each
    shape), and the weight is frozen, or nothing is trained (torch.no_grad); those weights must not
    change meanwhile.
    tokens: how many rows the products usually have. The copies take as much memory as the weights
    (twice, above the first adapted block).
    """
    matrices = _frozen_matrices(model) if can_pack(model.device, dtype) else {}
    with torch.no_grad():
        wrong = [tuple(w.shape) for w in matrices.values() if not _is_right(w, dtype, tokens)]
    if wrong:
        warnings.warn(
            f"torch {torch.__version__} multiplies wrongly with packed weights of shape {wrong[0]} "
            f"in {dtype} on this processor; its usual products are taken, which are slower",
            RuntimeWarning,
            stacklevel=3,
        )
        matrices = {}
    for module, weight in matrices.items():
        module.forward = _product(Packed(weight, dtype, tokens), module)
    try:
        yield
    finally:
        for module in matrices:
            del module.forward


def _frozen_matrices(model: nn.Module) -> dict[nn.Module, Tensor]:
    """(n_in, n_out) of each projection, and of the head, that is frozen, or all in torch.no_grad"""
    kind = backbone_of(model.config).LINEAR
    linears = [module for module in model.modules() if type(module) is kind]
    return {
        module: matrix_of(module)
        for module in [*linears, head_of(model)]
        if not (torch.is_grad_enabled() and module.weight.requires_grad)
    }


@contextmanager
def cast_once(model: nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Within: projections and the head multiply with copies of their frozen weights in `dtype`.

    Under autocast the same products, bit for bit; but autocast casts a frozen weight anew in every
    step. Those weights must not change meanwhile; the copies take half as much memory in bf16.
    """
    matrices = _frozen_matrices(model) if dtype != torch.float32 else {}
    for module, weight in matrices.items():
        module.forward = _cast_product(weight.detach().to(dtype), module)
    try:
        yield
    finally:
        for module in matrices:
            del module.forward


def _cast_product(weight: Tensor, module: nn.Module):
    bias = None if module.bias is None or module.bias.requires_grad else module.bias.detach()
    fixed = None if bias is None else bias.to(weight.dtype)

    def forward(x: Tensor) -> Tensor:
        y = x.to(weight.dtype).flatten(0, -2)
        bias = module.bias.to(weight.dtype) if fixed is None and module.bias is not None else fixed
        y = y @ weight if bias is None else torch.addmm(bias, y, weight)
        return y.unflatten(0, x.shape[:-1])

    return forward


def _product(packed: Packed, module: nn.Module):
    def forward(x: Tensor) -> Tensor:
        shape, bias = x.shape[:-1], None if module.bias is None else module.bias.to(packed.dtype)
        # In two dimensions: in more, oneDNN answers with a view, which autograd lets nobody add to
        # in place, as some of peft's layers do.
        x = x.to(packed.dtype).flatten(0, -2)
        if torch.compiler.is_compiling():
            # That of a parameter, unlike other tensors' shapes, is a constant for a compiler.
            y = packed_product(x, bias, packed.number, matrix_of(module).shape[1])
        else:
            y = _Product.apply(x, bias, packed)
        return y.unflatten(0, shape)

    return forward
