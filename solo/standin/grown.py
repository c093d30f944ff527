"""A deeper GPT-2 out of a trained one: after each of its blocks come new ones that add nothing yet.

The deeper model computes what the other did, so that a short training suffices to put the new
blocks to use (the identity blocks of Chen et al. 2016, Net2Net, arXiv 1511.05641). Each new block
starts as the architecture does, but for its two output projections, which start at zero.
"""

from __future__ import annotations

import torch
import transformers

from solo.options import check

ALIKE = ("n_embd", "n_head", "n_positions", "vocab_size")


@torch.no_grad()
def grow(model: transformers.GPT2LMHeadModel, source: transformers.GPT2LMHeadModel) -> None:
    """Give `model` the weights of `source` in place; k times as many blocks, k - 1 new after each.

    Raises ValueError for shapes that do not fit.
    """
    for name in ALIKE:
        wanted, given = getattr(source.config, name), getattr(model.config, name)
        check(given == wanted, f"{name} is {given}; that of pretrain.grown_from is {wanted}")
    times, rest = divmod(model.config.n_layer, source.config.n_layer)
    check(
        times > 1 and not rest,
        f"n_layer is {model.config.n_layer}; it must be a multiple of pretrain.grown_from's "
        f"{source.config.n_layer}",
    )
    old, new = source.transformer, model.transformer
    for name in ("wte", "wpe", "ln_f"):
        getattr(new, name).load_state_dict(getattr(old, name).state_dict())
    for index, block in enumerate(new.h):
        if index % times == 0:
            block.load_state_dict(old.h[index // times].state_dict())
        else:
            for projection in (block.attn.c_proj, block.mlp.c_proj):
                projection.weight.zero_()
                projection.bias.zero_()
