"""A GPT-2 that copies from its first step: chosen starting weights for its first two blocks.

What GPT-2 has learnt from billions of tokens, and a small model does not learn from a few million,
is to find where the present token stood before and to repeat what followed it (induction heads:
Olsson et al. 2022, arXiv 2209.11895). Here the two attention layers that do it are written down
instead of waited for. The architecture is GPT-2's; training changes every weight afterwards.

The residual stream (width d, heads of width w = d / n_head) is parted in three:

    [0, w)      where the token stands: sines and cosines of w / 2 frequencies
    [w, 2w)     which token stands before it, as a random projection of its embedding
    [2w, d)     the token's embedding

Block 1, head 1 looks one position back and writes the projection of what stands there into
[w, 2w). Block 2 compares the projection of the present token with those entries: all its heads
find the positions behind earlier occurrences, and add the embedding of what stands there, which
the tied output head reads.
"""

from __future__ import annotations

import math

import torch
import transformers

TOKEN_STD, POSITION_SCALE = 0.08, 0.15  # of the embeddings' entries at the start
LONGEST = 200.0  # how many times slower the slowest position frequency is than the fastest
PREVIOUS_SHARPNESS, PREVIOUS_SCALE = 12.0, 0.6  # block 1: of its attention, of what it writes
MATCH_SHARPNESS = 6.0  # block 2: factor of query and of key
QUIET = 0.3  # what all other output projections start with, relative to GPT-2's own start


@torch.no_grad()
def plant(model: transformers.GPT2LMHeadModel, seed: int) -> None:
    """Overwrite the start of `model` in place; a function of `seed` and of the model's own start.

    Raises ValueError for fewer than two blocks or four heads.
    """
    config, trunk = model.config, model.transformer
    d, w = config.n_embd, config.n_embd // config.n_head
    if config.n_layer < 2 or config.n_head < 4:
        raise ValueError(
            f"n_layer is {config.n_layer} and n_head {config.n_head}; planting needs at least two "
            "blocks, and four heads so that position and previous token leave room for the token"
        )
    generator = torch.Generator().manual_seed(seed)
    here, before, token = slice(0, w), slice(w, 2 * w), slice(2 * w, d)
    frequencies = torch.exp(-math.log(LONGEST) * torch.arange(w // 2) / (w // 2))  # (w / 2,)

    trunk.wte.weight.normal_(std=TOKEN_STD, generator=generator)
    trunk.wte.weight[:, : 2 * w] = 0
    angles = torch.arange(config.n_positions)[:, None] * frequencies  # (positions, w / 2)
    trunk.wpe.weight.zero_()
    trunk.wpe.weight[:, 0:w:2] = POSITION_SCALE * angles.sin()
    trunk.wpe.weight[:, 1:w:2] = POSITION_SCALE * angles.cos()
    for block in trunk.h:
        block.attn.c_proj.weight *= QUIET
        block.mlp.c_proj.weight *= QUIET

    projection = torch.randn(d - 2 * w, w, generator=generator) / math.sqrt(d - 2 * w)
    identity = torch.eye(w)
    query, key, value = (slice(i * d, i * d + w) for i in range(3))  # of head 1, in c_attn
    first, second = trunk.h[0].attn, trunk.h[1].attn

    weight = first.c_attn.weight  # (d, 3 d): x @ weight
    weight[:, query], weight[:, key], weight[:, value] = 0, 0, 0
    weight[here, query] = PREVIOUS_SHARPNESS * _one_position_back(frequencies)
    weight[here, key] = identity
    weight[token, value] = projection
    first.c_proj.weight[:w] = 0
    first.c_proj.weight[:w, before] = PREVIOUS_SCALE * identity

    weight = second.c_attn.weight
    weight.zero_()
    for head in range(config.n_head):
        start = head * w
        weight[token, start : start + w] = MATCH_SHARPNESS * projection
        weight[before, d + start : d + start + w] = MATCH_SHARPNESS * identity
    weight[token, 2 * d :][:, token] = torch.eye(d - 2 * w)
    second.c_proj.weight.copy_(torch.eye(d))


def _one_position_back(frequencies: torch.Tensor) -> torch.Tensor:
    """(w, w): turns the entries (sin f i, cos f i) of position i into those of position i - 1."""
    w = 2 * len(frequencies)
    turn = torch.zeros(w, w)
    cos, sin = frequencies.cos(), frequencies.sin()
    even, odd = torch.arange(0, w, 2), torch.arange(1, w, 2)
    turn[even, even], turn[odd, even] = cos, -sin
    turn[even, odd], turn[odd, odd] = sin, cos
    return turn


def slow_parameters(model: transformers.GPT2LMHeadModel) -> list[torch.nn.Parameter]:
    """What was planted and is lost at a full learning rate: positions, attention of blocks 1, 2."""
    trunk = model.transformer
    return [trunk.wpe.weight, *trunk.h[0].attn.parameters(), *trunk.h[1].attn.parameters()]
