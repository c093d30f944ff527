"""What a step of training costs, cut down without changing what it computes.

Two parts of the plain path (transformers' GPT-2) do more than they need to on a CPU, in torch 2.13:
products with weights that never change pack those weights anew every time, and attention with a
mask works on a whole row of examples, whose parts never meet. `frozen_products` and `attention` do
the same for less; training/loss.py has a third, the loss. Tests hold each to the plain path.
"""

import itertools
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from weakref import WeakValueDictionary

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AttentionInterface

from solo.backbones import backbone_of, head_of, matrix_of

# Names among transformers' attention implementations; it makes no mask for those it does not know.
BY_EXAMPLE, CAUSAL = "solo_by_example", "solo_causal"


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


def attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    sliding_window=None,
    places=None,
    origin=None,
    **rest,
) -> tuple[Tensor, None]:
    """Causal attention of every example apart; query (K, H, T, D), key and value (K, G, T, D).

    G divides H: neighbouring query heads share a key head. sliding_window: how many tokens, itself
    included, a token sees; None: all before it. places (E, L): where in the flattened K * T tokens
    each example's are, its end filled up with any; origin (K * T,): where in the flattened E * L
    the answer for each token is. `batches.pack` gives both. Returns (K, T, H, D), as transformers
    wants it.
    """
    _check_known(rest)
    K, H, T, D = query.shape
    examples, longest = places.shape
    q, k, v = (
        x.transpose(1, 2)
        .reshape(K * T, -1)
        .index_select(0, places.flatten())
        .view(examples, longest, -1, D)
        .transpose(1, 2)
        for x in (query, key, value)
    )
    if key.shape[1] < H:
        k, v = (x.repeat_interleave(H // key.shape[1], dim=1) for x in (k, v))
    q, k, v = (x.reshape(examples * H, longest, D) for x in (q, k, v))
    hidden = q.new_full((longest, longest), float("-inf"))
    bias = hidden.triu(1)  # added as the product is made, where a mask would take passes of its own
    if sliding_window is not None:
        bias = bias + hidden.tril(-sliding_window)
    scale = D**-0.5 if scaling is None else scaling
    scores = torch.baddbmm(bias, q, k.transpose(1, 2), alpha=scale)  # (E * H, L, L)
    out = torch.bmm(scores.float().softmax(-1).to(v.dtype), v)
    out = out.view(examples, H, longest, D).transpose(1, 2).reshape(examples * longest, H * D)
    out = out.index_select(0, origin)
    return out.view(K, T, H, D), None


def causal_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    scaling=None,
    sliding_window=None,
    **rest,
) -> tuple[Tensor, None]:
    """Causal attention within rows that are padded on the right, as transformers' `sdpa` has it.

    Shapes as in `attention`. Without a mask, which transformers would make in every step, asking
    the device whether rows hold several examples: that waits for it, and no CUDA graph can.
    """
    _check_known(rest)
    mask, length = None, query.shape[2]
    if sliding_window is not None and sliding_window < length:
        every = torch.ones(length, length, dtype=torch.bool, device=query.device)
        mask = every.tril().triu(1 - sliding_window)
    out = F.scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        is_causal=mask is None,
        scale=scaling,
        enable_gqa=key.shape[1] < query.shape[1],
    )
    return out.transpose(1, 2), None


def _check_known(rest: dict) -> None:
    """ValueError for what would change the attention of an architecture that asks for it."""
    for name in ("softcap", "s_aux"):
        if rest.get(name) is not None:
            raise ValueError(f"attention with {name} is none that is computed here")


AttentionInterface.register(BY_EXAMPLE, attention)
AttentionInterface.register(CAUSAL, causal_attention)


@contextmanager
def attention_of(model: nn.Module, name: str) -> Iterator[None]:
    """Within: the model's attention is the one of that name."""
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before
