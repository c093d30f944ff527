"""The search of solo/decoding/rules.py over one batch of contexts; its rules are told there.

What makes it fast, and why none of it changes a result:

- A context is one example of the model, its prompt run once. Its beams are neighbouring positions
  of that example: a mask says which of the earlier tokens each of them continues. So keys and
  values are written once and never copied for a beam, and reordering the beams reorders the mask.
- A beam that has ended, or that cannot win any more, gets no row in the output head, which is most
  of the work of a small model (see _may_win).
- The largest log-probabilities of a row are looked for in its best blocks only (see _largest).
"""

import torch
from torch import Tensor, nn
from transformers import Cache, DynamicCache, PreTrainedModel

from solo.backbones import backbone_of, window_of

NEVER = float("-inf")  # the sum of a beam that has left, and of one that never was
PRUNE_EVERY = 8  # steps between two clearances of the cache
HEAD_ENTRIES = 2**25  # logits held at a time, whatever the number of rows
BLOCK = 64  # tokens whose largest logit stands for them


@torch.no_grad()
def search_batch(
    model: PreTrainedModel,
    prompts: list[list[int]],
    end_ids: tuple[int, ...],
    *,
    beam: int,
    length_penalty: float,
    no_repeat_ngram: int,
    max_new_tokens: int,
) -> list[list[int] | None]:
    """The best hypothesis for each prompt; None where none got a finite score.

    N below is the number of contexts in the cache; those that are done leave at the next clearance.
    """
    backbone = backbone_of(model.config)
    trunk, head = backbone.trunk(model), backbone.head(model)
    hidden, cache, position = _prefill(model, prompts, beam)  # (N, beam, width), ..., (N, 1)
    ends = torch.tensor(end_ids, device=hidden.device, dtype=torch.long)
    precision = torch.promote_types(hidden.dtype, torch.float32)
    # One live beam per context at first: the first step then takes the top of one distribution.
    sums = torch.full((len(prompts), beam), NEVER, device=hidden.device, dtype=precision)
    sums[:, 0] = 0.0
    history = torch.empty(*sums.shape, 0, device=hidden.device, dtype=torch.long)
    best = _Best(len(prompts), max_new_tokens, length_penalty, like=sums)
    contexts = torch.arange(len(prompts), device=hidden.device)  # (N,), their places in the batch
    rows = _live_rows(sums)

    for length in range(1, max_new_tokens + 1):
        live = hidden.flatten(0, 1)[rows], history.flatten(0, 1)[rows]
        log_p, tokens = _top_log_p(head, *live, no_repeat_ngram, beam, precision)
        sums, parents, tokens = _best_candidates(sums, rows, log_p, tokens)  # (N, beam) each
        history = torch.cat([_follow(history, parents), tokens[:, :, None]], dim=2)
        ended = torch.isin(tokens, ends)  # (N, beam)
        best.offer(contexts, sums, history, ended)
        sums = sums.masked_fill(ended, NEVER)
        if length == max_new_tokens:
            best.offer(contexts, sums, history, ~ended)
            break
        bound = best.scores[contexts, None]
        sums = sums.masked_fill(~_may_win(sums, bound, max_new_tokens**length_penalty), NEVER)
        rows = _live_rows(sums)
        if len(rows) == 0:
            break
        cache.reorder(parents)
        if length % PRUNE_EVERY == 0:
            keep = (sums > NEVER).any(1).nonzero().flatten()
            contexts, sums, history, tokens, position = (
                x[keep] for x in (contexts, sums, history, tokens, position)
            )
            cache.prune(keep, sums > NEVER)
            rows = _live_rows(sums)
        hidden = trunk(
            tokens,
            attention_mask=cache.grow(position + length),
            position_ids=(position + length).expand_as(tokens),
            past_key_values=cache,
            use_cache=True,
        ).last_hidden_state  # (N, beam, width)
    return best.found()


def _live_rows(sums: Tensor) -> Tensor:
    """Which of the N*beam beams are live (R,), rising."""
    return (sums > NEVER).flatten().nonzero().flatten()


def _prefill(model: PreTrainedModel, prompts: list[list[int]], beam: int):
    """Run the prompts once, padded on the right, where no real token sees the padding.

    Returns the last token's hidden state for each beam (N, beam, width), the cache, and the last
    position used (N, 1).
    """
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    ids = torch.zeros(len(prompts), int(lengths.max()), dtype=torch.long)
    for row, prompt in enumerate(prompts):
        ids[row, : len(prompt)] = torch.tensor(prompt)
    ids, last = ids.to(model.device), (lengths - 1).to(model.device)[:, None]
    real = torch.arange(ids.shape[1], device=ids.device) <= last  # (N, L)
    # The mask is for models in which padding would count; attention is causal anyway.
    # The cache keeps every token, also for layers with a sliding window: padding follows the last.
    out = backbone_of(model.config).trunk(model)(
        ids, attention_mask=real.long(), past_key_values=DynamicCache(), use_cache=True
    )
    hidden = out.last_hidden_state.take_along_dim(last[:, :, None], dim=1)  # (N, 1, width)
    layers = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
    cache = TreeCache(layers, real, beam, window_of(model.config))
    return hidden.expand(-1, beam, -1), cache, last


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


def _top_log_p(head: nn.Module, hidden: Tensor, history: Tensor, n: int, beam: int, dtype):
    """The `beam` largest log-probabilities of each row (all, of a smaller vocabulary), by token.

    hidden (R, width), history (R, length). Returns values and tokens, (R, top) each, tokens rising.
    """
    rows = max(1, HEAD_ENTRIES // head.out_features)
    values, tokens = [], []
    for some, past in zip(hidden.split(rows), history.split(rows), strict=True):
        logits = head(some)  # (rows, V)
        _ban_repeats(logits, past, n)
        value, token = _largest(torch.log_softmax(logits, dim=-1, dtype=dtype), beam)
        values.append(value)
        tokens.append(token)
    tokens, order = torch.cat(tokens).sort(dim=1)
    return torch.cat(values).gather(1, order), tokens


def _largest(values: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """The `top` largest of each row of `values` (R, V) and their places, in no order.

    They lie in the `top` blocks with the largest maxima: were one of them in another block, each of
    these would hold a value at least as large, which already makes `top`.
    """
    vocab = values.shape[1]
    top, blocks = min(top, vocab), vocab // BLOCK
    if blocks <= top:
        return values.topk(top, dim=1, sorted=False)
    highest = values[:, : blocks * BLOCK].unflatten(1, (blocks, BLOCK)).amax(2)  # (R, blocks)
    chosen = highest.topk(top, dim=1, sorted=False).indices  # (R, top)
    inside = torch.arange(BLOCK, device=values.device)
    rest = torch.arange(blocks * BLOCK, vocab, device=values.device).expand(len(values), -1)
    places = torch.cat([(chosen[:, :, None] * BLOCK + inside).flatten(1), rest], dim=1)
    value, order = values.gather(1, places).topk(top, dim=1, sorted=False)
    return value, places.gather(1, order)


def _ban_repeats(logits: Tensor, history: Tensor, n: int) -> None:
    """Set to -inf, in place, each token that would complete an n-gram its row already holds.

    logits (rows, V); history (rows, L), the generated tokens.
    """
    length = history.shape[1]
    if n == 0 or length < n:
        return
    ngrams = history.unfold(1, n, 1)  # (rows, L-n+1, n)
    tail = history[:, None, length - n + 1 :]  # (rows, 1, n-1)
    row, place = (ngrams[..., :-1] == tail).all(-1).nonzero(as_tuple=True)
    logits[row, ngrams[row, place, -1]] = NEVER


def _best_candidates(sums: Tensor, rows: Tensor, log_p: Tensor, tokens: Tensor):
    """The `beam` best of live beams x vocabulary for each context, best first.

    sums (N, beam); rows (R,): which of the N*beam the log_p and tokens (R, top) belong to. At most
    `beam` winners come from one row, so the best of each row are enough. Returns the new sums, the
    beam that each comes from and its token, all (N, beam).
    """
    contexts, beam = sums.shape
    top = log_p.shape[1]
    # A row of NaN is one in which every token is banned, or not finite: it cannot go on.
    total = (sums.flatten()[rows, None] + log_p).nan_to_num(NEVER, posinf=NEVER, neginf=NEVER)
    total = sums.new_full((contexts * beam, top), NEVER).index_copy(0, rows, total)
    token = tokens.new_zeros(contexts * beam, top).index_copy(0, rows, tokens)
    total, order = total.view(contexts, -1).sort(dim=1, descending=True, stable=True)
    order = order[:, :beam]
    return total[:, :beam], order // top, token.view(contexts, -1).gather(1, order)


def _follow(history: Tensor, parents: Tensor) -> Tensor:
    """history (N, beam, length) of the beams that `parents` (N, beam) names."""
    return torch.take_along_dim(history, parents[:, :, None], dim=1)


def _may_win(sums: Tensor, best: Tensor, longest_weight: float) -> Tensor:
    """Which of the live beams may still lead to a better score than the best so far.

    sums (N, beam), best (N, 1), longest_weight = max_new_tokens ** penalty.

    Why no winner is lost: log p <= 0, so every later sum T of a beam with sum S obeys T <= S <= 0.
    As penalty >= 0, the largest weight gives the largest score of a sum that is not positive:
    T / length**penalty <= T / max_new_tokens**penalty <= S / max_new_tokens**penalty. Where this
    bound does not exceed the best score, nothing that follows is strictly better. Nor does it
    matter to the other beams that it is gone: the candidates that now take the places of its own
    have sums no larger than those, so the same bound holds for them. Rounding keeps the order:
    addition and division are monotone. A beam that is not live has -inf as its bound.
    """
    return sums / longest_weight > best


class _Best:
    """The best hypothesis so far of each context of a batch, kept on the device."""

    def __init__(self, contexts: int, longest: int, length_penalty: float, like: Tensor):
        self.penalty = length_penalty
        self.scores = like.new_full((contexts,), NEVER)
        self.lengths = torch.zeros(contexts, dtype=torch.long, device=like.device)
        self.tokens = torch.zeros(contexts, longest, dtype=torch.long, device=like.device)

    def offer(self, contexts: Tensor, sums: Tensor, history: Tensor, which: Tensor) -> None:
        """Let the candidates marked in `which` (N, beam) compete, the first of equals winning.

        contexts (N,) holds their places in the batch; sums (N, beam); history (N, beam, length).
        """
        length = history.shape[2]
        scores = sums.masked_fill(~which, NEVER) / length**self.penalty
        place = scores.argmax(1, keepdim=True)  # (N, 1)
        score = scores.gather(1, place).squeeze(1)
        better = score > self.scores[contexts]
        self.scores[contexts] = torch.where(better, score, self.scores[contexts])
        self.lengths[contexts] = torch.where(better, length, self.lengths[contexts])
        old = self.tokens[contexts, :length]
        new = _follow(history, place).squeeze(1)  # (N, length)
        self.tokens[contexts, :length] = torch.where(better[:, None], new, old)

    def found(self) -> list[list[int] | None]:
        """The winners, None where there is none."""
        pairs = zip(self.tokens.tolist(), self.lengths.tolist(), strict=True)
        return [tokens[:length] if length else None for tokens, length in pairs]
