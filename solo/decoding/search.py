"""The search of solo/decoding/rules.py over one batch of contexts; its rules are told there.

What makes it fast, and why none of it changes a result:

- A context is one example of the model, its prompt run once. Its beams are neighbouring positions
  of that example: a mask says which of the earlier tokens each of them continues. So keys and
  values are written once and never copied for a beam, and reordering the beams reorders the mask.
- A beam that has ended, or that cannot win any more, gets no row in the output head, which is most
  of the work of a small model (see _may_win).
- The largest log-probabilities of a row are looked for in its best blocks only (see _largest).
"""

from __future__ import annotations

import torch
import transformers
from torch import Tensor, nn

from solo.backbones import head_of, trunk_of, window_of
from solo.decoding.cache import PRUNE_EVERY, TreeCache
from solo.decoding.recipe import BeamConfig

NEVER = float("-inf")  # the sum of a beam that has left, and of one that never was
HEAD_ENTRIES = 2**25  # logits held at a time, whatever the number of rows
BLOCK = 64  # tokens whose largest logit stands for them


@torch.no_grad()
def search_batch(
    model: transformers.PreTrainedModel,
    prompts: list[list[int]],
    end_ids: tuple[int, ...],
    config: BeamConfig,
) -> list[list[int] | None]:
    """The best hypothesis for each prompt; None where none got a finite score.

    N below is the number of contexts in the cache; those that are done leave it every PRUNE_EVERY
    steps.
    """
    trunk, head = trunk_of(model), head_of(model)
    beam, longest = config.beam, config.max_new_tokens
    hidden, cache, position = _prefill(model, prompts, beam)  # (N, beam, width), ..., (N, 1)
    ends = torch.tensor(end_ids, device=hidden.device, dtype=torch.long)
    precision = torch.promote_types(hidden.dtype, torch.float32)
    # One live beam per context at first: the first step then takes the top of one distribution.
    sums = torch.full((len(prompts), beam), NEVER, device=hidden.device, dtype=precision)
    sums[:, 0] = 0.0
    history = torch.empty(*sums.shape, 0, device=hidden.device, dtype=torch.long)
    best = _Best(len(prompts), longest, config.length_penalty, like=sums)
    contexts = torch.arange(len(prompts), device=hidden.device)  # (N,), their places in the batch
    rows = _live_rows(sums)
    at_once = max(1, HEAD_ENTRIES // model.config.vocab_size)  # peft's own heads tell no size

    for length in range(1, longest + 1):
        live = hidden.flatten(0, 1)[rows], history.flatten(0, 1)[rows]
        log_p, tokens = _top_log_p(head, *live, at_once, config.no_repeat_ngram, beam, precision)
        sums, parents, tokens = _best_candidates(sums, rows, log_p, tokens)  # (N, beam) each
        history = torch.cat([_follow(history, parents), tokens[:, :, None]], dim=2)
        ended = torch.isin(tokens, ends)  # (N, beam)
        best.offer(contexts, sums, history, ended)
        sums = sums.masked_fill(ended, NEVER)
        if length == longest:
            best.offer(contexts, sums, history, ~ended)
            break
        bound = best.scores[contexts, None]
        sums = sums.masked_fill(~_may_win(sums, bound, longest**config.length_penalty), NEVER)
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


def _prefill(model: transformers.PreTrainedModel, prompts: list[list[int]], beam: int):
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
    out = trunk_of(model)(
        ids, attention_mask=real.long(), past_key_values=transformers.DynamicCache(), use_cache=True
    )
    hidden = out.last_hidden_state.take_along_dim(last[:, :, None], dim=1)  # (N, 1, width)
    layers = [(layer.keys, layer.values) for layer in out.past_key_values.layers]
    cache = TreeCache(layers, real, beam, window_of(model.config))
    return hidden.expand(-1, beam, -1), cache, last


def _top_log_p(
    head: nn.Module, hidden: Tensor, history: Tensor, at_once: int, n: int, beam: int, dtype
):
    """The `beam` largest log-probabilities of each row (all, of a smaller vocabulary), by token.

    hidden (R, width), history (R, length); the logits of `at_once` rows are held at a time. Returns
    values and tokens, (R, top) each, tokens rising.
    """
    values, tokens = [], []
    for some, past in zip(hidden.split(at_once), history.split(at_once), strict=True):
        logits = head(some)  # (at_once, V)
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
