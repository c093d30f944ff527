"""The cache of the beam search (solo/decoding/search.py): a tree of tokens for each context."""

import torch
from torch import Tensor, nn
from transformers import Cache

PRUNE_EVERY = 8  # steps between two clearances of the cache


class TreeCache(Cache):
    """Keys and values of N prompts and of all that grew from them, stored once.

    The columns of a context are its prompt's tokens and then, for each step, one token of every
    beam. `sees` (N, 1, beam, columns) is added to attention: 0 for the columns that a beam
    continues, the lowest number for all others.

    layers: the prompts' (keys, values) of each layer, (N, heads, L, head width); real (N, L): which
    of the L are no padding. window: how many tokens, itself included, a token sees in the layers
    with a sliding window; None: there are none.
    """

    def __init__(
        self,
        layers: list[tuple[Tensor, Tensor]],
        real: Tensor,
        beam: int,
        window: int | None = None,
    ):
        super().__init__(layers=[])
        self.beam, self.window = beam, window
        # (N, columns): the position of the token in each column; only a window asks for it.
        self.positions = torch.arange(real.shape[1], device=real.device).expand_as(real)
        dtype = layers[0][0].dtype
        self.hidden = torch.finfo(dtype).min  # not -inf: a row of nothing else would be NaN
        sees = torch.zeros(real.shape, dtype=dtype, device=real.device)
        sees = sees.masked_fill(~real, self.hidden)[:, None, None].expand(-1, 1, beam, -1)
        self.columns, self.room = real.shape[1], 0
        self.sees = sees.contiguous()
        # Stored as (N, columns, heads, head width), in which a step's columns are one stretch.
        self.stored = [[x.transpose(1, 2) for x in layer] for layer in layers]
        own = torch.full((beam, beam), self.hidden, dtype=dtype, device=real.device)
        self.own = own.fill_diagonal_(0.0)  # each beam sees its own new token

    def reorder(self, parents: Tensor) -> None:
        """Let beam b of a context continue what beam parents[:, b] did."""
        self.sees = torch.take_along_dim(self.sees, parents[:, None, :, None], dim=2)

    def prune(self, keep: Tensor, live: Tensor) -> None:
        """Keep the contexts `keep`, and of their columns those that a live beam continues.

        live (len(keep), beam).
        """
        sees = self.sees[keep]  # (N, 1, beam, columns)
        needed = ((sees[:, 0] == 0) & live[:, :, None]).any(1)  # (N, columns)
        self.columns = int(needed.sum(1).max())
        # The needed ones in their order, then whatever fills up the narrower contexts.
        order = needed.byte().argsort(dim=1, descending=True, stable=True)[:, : self.columns]
        self.sees = torch.take_along_dim(sees, order[:, None, None], dim=3)
        self.positions = torch.take_along_dim(self.positions[keep], order, dim=1)
        self._store([[x[keep[:, None], order] for x in layer] for layer in self.stored])

    def grow(self, position: Tensor) -> Tensor | dict[str, Tensor]:
        """Make place for a token of every beam, at `position` (N, 1).

        Returns the mask (N, 1, beam, columns); where there is a sliding window, those of both kinds
        of layer, by their names in transformers.
        """
        if self.room == 0:
            self._store([[x[:, : self.columns] for x in layer] for layer in self.stored])
        self.room -= 1
        self.columns += self.beam
        own = self.own.expand(len(self.sees), 1, -1, -1)
        self.sees = torch.cat([self.sees, own], dim=3)
        if self.window is None:
            return self.sees
        self.positions = torch.cat([self.positions, position.expand(-1, self.beam)], dim=1)
        left = (self.positions <= position - self.window)[:, None, None]
        sliding = self.sees.masked_fill(left, self.hidden)
        return {"full_attention": self.sees, "sliding_attention": sliding}

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args, **kwargs):
        """What the model calls in each layer with (N, heads, beam, head width)."""
        found = []
        for stored, new in zip(self.stored[layer_idx], (key_states, value_states), strict=True):
            stored[:, self.columns - self.beam : self.columns] = new.transpose(1, 2)
            found.append(stored[:, : self.columns].transpose(1, 2))
        return tuple(found)

    def _store(self, layers: list[list[Tensor]]) -> None:
        """Take over the columns of `layers`, with room for the steps until the next clearance."""
        self.room = PRUNE_EVERY
        beyond = (0, 0, 0, 0, 0, self.room * self.beam)
        self.stored = [[nn.functional.pad(x, beyond) for x in layer] for layer in layers]
