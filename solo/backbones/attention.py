"""Attention without a mask over a whole batch, under names that transformers' models know.

On a CPU all examples stand behind one another in one row, whose parts never meet: `attention` works
on each of them apart, where transformers would mask the row. `causal_attention` is for rows that
are padded on the right. Tests hold both to the plain path.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

# Names among transformers' attention implementations; it makes no mask for those it does not know.
BY_EXAMPLE, CAUSAL = "solo_by_example", "solo_causal"


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


@contextmanager
def attention_of(model: nn.Module, name: str) -> Iterator[None]:
    """Within: the model's attention is the one of that name, BY_EXAMPLE or CAUSAL."""
    transformers.AttentionInterface.register(BY_EXAMPLE, attention)
    transformers.AttentionInterface.register(CAUSAL, causal_attention)
    before = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = before
