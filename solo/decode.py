"""Beam search of LoRA's E2E recipe (microsoft/LoRA, examples/NLG/src/gpt2_beam.py), batched.

It is not the search of transformers' `generate()`:

1. The no-repeat rule sees the generated tokens only, never the prompt, and bans by setting logits
   to -inf before the softmax, so that the remaining tokens share the whole probability.
2. Each step keeps exactly `beam` candidates out of live beams x vocabulary. A candidate whose last
   token is an end token is scored and leaves; its place is refilled from the live ones.
3. After the last step the unfinished candidates are scored too.
4. score = sum of log p / length ** length_penalty; the length counts the end token. A later
   candidate wins only with a strictly higher score.
5. The first step takes the `beam` best tokens of the first distribution.

Deviations from the original, none of which can change which hypothesis wins: a context stops as
soon as no live beam can still win (the original always runs `max_new_tokens` steps); log p comes
from log_softmax (the original takes log(softmax(x)), which is -inf below 1e-45); among equal sums
the better-ranked parent beam, then the lower token id, comes first (unspecified there).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from transformers import GPT2LMHeadModel, PreTrainedTokenizerBase

NEVER = float("-inf")  # the sum of a beam that has left, and of one that never was


@dataclass(frozen=True)
class BeamConfig:
    """Settings of the search; the defaults are those of LoRA's E2E recipe.

    beam: candidates kept per context. length_penalty: exponent of the length, 0 for none.
    no_repeat_ngram: no n-gram of that many generated tokens occurs twice; 0 turns the rule off.
    max_new_tokens: longest output, end token included. batch_size: contexts decoded together; it
    changes speed and memory, not the output (but for rounding).

    Raises ValueError for a value outside its range.
    """

    beam: int = 10
    length_penalty: float = 0.8
    no_repeat_ngram: int = 4
    max_new_tokens: int = 64
    batch_size: int = 16

    def __post_init__(self):
        lowest = {"beam": 1, "no_repeat_ngram": 0, "max_new_tokens": 1, "batch_size": 1}
        for name, low in lowest.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(f"{name}={value!r}: give a whole number of at least {low}")
        penalty = self.length_penalty
        number = isinstance(penalty, (int, float)) and not isinstance(penalty, bool)
        # Below 0 the bound in _still_open would not hold, and longer outputs would be punished.
        if not number or not 0 <= penalty < math.inf:
            raise ValueError(
                f"length_penalty={penalty!r}: give a number of at least 0 (0 = no penalty)"
            )


def end_tokens(tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a hypothesis: end of text and, where it is one token, a blank line.

    (50256, 628) for GPT-2, as in the recipe. Raises ValueError if the tokenizer has no
    end-of-text token.
    """
    if tokenizer.eos_token_id is None:
        raise ValueError("the tokenizer has no end-of-text token: set its eos_token")
    ends = [tokenizer.eos_token_id]
    blank = tokenizer.encode("\n\n", add_special_tokens=False)
    # A tokenizer that does not know the newline may answer with its one unknown token.
    if len(blank) == 1 and blank[0] not in ends and _text(tokenizer, blank) == "\n\n":
        ends.append(blank[0])
    return tuple(ends)


def prediction_text(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    """The text of generated tokens: cut at end of text and at the first blank line, stripped.

    As gpt2_decode.py of the recipe does. A single line break inside the text stays.
    """
    text = _text(tokenizer, token_ids)
    for mark in (tokenizer.eos_token, "\n\n"):
        if mark:
            text = text.split(mark)[0]
    return text.strip()


def _text(tokenizer: PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    # The clean-up that some tokenizers ask for turns " ." into "."; the recipe decodes plainly.
    return tokenizer.decode(
        token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )


@torch.no_grad()
def beam_search(
    model: GPT2LMHeadModel,
    prompts: list[list[int]],
    config: BeamConfig,
    end_ids: tuple[int, ...],
    on_progress: Callable[[int, int], None] | None = None,
) -> list[list[int]]:
    """The best hypothesis for each prompt, as generated token ids with the end token included.

    prompts: token ids, the separator included; any mix of lengths. The answer is in their order.
    on_progress(done, total) is called after each batch of contexts.

    Raises ValueError, before any work, for an empty prompt, a prompt that leaves no room for
    `max_new_tokens`, an id outside the vocabulary, or a model in training mode; and, during it,
    where no hypothesis has a finite score.
    """
    _check(model, prompts, config)
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    found: list[list[int]] = [[] for _ in prompts]
    for start in range(0, len(prompts), config.batch_size):
        chosen = by_length[start : start + config.batch_size]
        answers = _search_batch(model, [prompts[i] for i in chosen], config, end_ids)
        for i, tokens in zip(chosen, answers, strict=True):
            if tokens is None:
                raise ValueError(
                    f"no hypothesis with a finite score for prompt {i}: either the model's logits "
                    f"are not finite, or no_repeat_ngram={config.no_repeat_ngram} left no token "
                    f"to go on with in a vocabulary of {model.config.vocab_size}"
                )
            found[i] = tokens
        if on_progress is not None:
            on_progress(start + len(chosen), len(prompts))
    return found


def _check(model: GPT2LMHeadModel, prompts: list[list[int]], config: BeamConfig) -> None:
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() before decoding")
    room = model.config.n_positions - config.max_new_tokens
    vocab = model.config.vocab_size
    for i, prompt in enumerate(prompts):
        if not prompt:
            raise ValueError(f"prompt {i} is empty: give at least the separator token")
        if len(prompt) > room:
            raise ValueError(
                f"prompt {i} has {len(prompt)} tokens; with max_new_tokens="
                f"{config.max_new_tokens} the model's {model.config.n_positions} positions leave "
                f"room for {room}: shorten the prompt or lower max_new_tokens"
            )
        if not 0 <= min(prompt) <= max(prompt) < vocab:
            raise ValueError(
                f"prompt {i} holds token ids from {min(prompt)} to {max(prompt)}, the model knows "
                f"0 to {vocab - 1}: use the tokenizer that belongs to the model"
            )


def _search_batch(
    model: GPT2LMHeadModel, prompts: list[list[int]], config: BeamConfig, end_ids: tuple[int, ...]
) -> list[list[int] | None]:
    """The search over a batch of contexts; None where no hypothesis got a finite score.

    N is the number of contexts still open; beams of one context are neighbouring rows.
    """
    beam, longest = config.beam, config.max_new_tokens
    logits, cache, mask, position = _prefill(model, prompts, beam)  # (N*beam, V), ...
    ends = torch.tensor(end_ids, device=logits.device, dtype=torch.long)
    precision = torch.promote_types(logits.dtype, torch.float32)
    # One live beam per context at first: the first step then takes the top of one distribution.
    sums = torch.full((len(prompts), beam), NEVER, device=logits.device, dtype=precision)
    sums[:, 0] = 0.0
    history = torch.empty(len(prompts) * beam, 0, device=logits.device, dtype=torch.long)
    best = _Best(len(prompts), config.length_penalty, like=sums)
    contexts = torch.arange(len(prompts), device=logits.device)  # (N,), the open ones

    for length in range(1, longest + 1):
        _ban_repeats(logits, history, config.no_repeat_ngram)
        log_p = torch.log_softmax(logits, dim=-1, dtype=precision)  # (N*beam, V)
        sums, rows, tokens = _best_candidates(sums, log_p)  # (N, beam) each
        history = torch.cat([history[rows.flatten()], tokens.view(-1, 1)], dim=1)
        ended = torch.isin(tokens, ends)  # (N, beam)
        best.offer(contexts, sums, history, ended)
        sums = sums.masked_fill(ended, NEVER)
        if length == longest:
            best.offer(contexts, sums, history, ~ended)
            break
        keep = _still_open(sums, best.scores[contexts], longest**config.length_penalty)
        if keep.numel() == 0:
            break
        contexts, sums, rows, tokens = contexts[keep], sums[keep], rows[keep], tokens[keep]
        history = history.view(-1, beam, length)[keep].view(-1, length)
        rows = rows.flatten()
        cache.batch_select_indices(rows)
        mask = torch.cat([mask[rows], mask.new_ones(len(rows), 1)], dim=1)
        position = position[rows] + 1
        logits = model(
            tokens.view(-1, 1),
            attention_mask=mask,
            position_ids=position,
            past_key_values=cache,
            use_cache=True,
        ).logits[:, -1]  # (N*beam, V)
    return best.tokens


def _prefill(model: GPT2LMHeadModel, prompts: list[list[int]], beam: int):
    """Run the prompts once, padded on the left, and repeat the state for each beam.

    Returns the next token's logits (N*beam, V), the cache, the mask of real tokens (N*beam, length)
    and the last position used (N*beam, 1).
    """
    longest = max(len(prompt) for prompt in prompts)
    ids = torch.zeros(len(prompts), longest, dtype=torch.long)
    mask = torch.zeros_like(ids)
    for row, prompt in enumerate(prompts):
        ids[row, longest - len(prompt) :] = torch.tensor(prompt)
        mask[row, longest - len(prompt) :] = 1
    ids, mask = ids.to(model.device), mask.to(model.device)
    position = (mask.cumsum(1) - 1).clamp(min=0)
    out = model(ids, attention_mask=mask, position_ids=position, use_cache=True, logits_to_keep=1)
    cache = out.past_key_values
    cache.batch_repeat_interleave(beam)
    logits, mask, last = (
        x.repeat_interleave(beam, dim=0) for x in (out.logits[:, -1], mask, position[:, -1:])
    )
    return logits, cache, mask, last


def _ban_repeats(logits: torch.Tensor, history: torch.Tensor, n: int) -> None:
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


def _best_candidates(sums: torch.Tensor, log_p: torch.Tensor):
    """The `beam` best of live beams x vocabulary for each context, best first.

    sums (N, beam), log_p (N*beam, V). Returns the new sums, the row of log_p that each comes from
    and its token, all (N, beam). At most `beam` of the winners come from one row, so the best of
    each row are taken first and the few that are left are sorted.
    """
    contexts, beam = sums.shape
    top = min(beam, log_p.shape[1])
    value, token = log_p.topk(top, dim=1, sorted=False)  # (N*beam, top)
    token, order = token.sort(dim=1)
    value = value.gather(1, order).view(contexts, beam, top)
    # A row of NaN is one in which every token is banned, or not finite: it cannot go on.
    total = (sums[:, :, None] + value).nan_to_num(nan=NEVER, posinf=NEVER, neginf=NEVER)
    total, order = total.view(contexts, -1).sort(dim=1, descending=True, stable=True)
    order = order[:, :beam]
    first_row = torch.arange(contexts, device=sums.device)[:, None] * beam
    token = token.view(contexts, -1).gather(1, order)
    return total[:, :beam], first_row + order // top, token


def _still_open(sums: torch.Tensor, best: torch.Tensor, longest_weight: float) -> torch.Tensor:
    """Indices of the contexts in which a live beam can still beat the best score so far.

    sums (N, beam) of the live beams, best (N,), longest_weight = max_new_tokens ** penalty.

    Why no winner is lost: log p <= 0, so every later sum T of a beam with sum S obeys T <= S <= 0.
    As penalty >= 0, the largest weight gives the largest score of a sum that is not positive:
    T / length**penalty <= T / max_new_tokens**penalty <= S / max_new_tokens**penalty. Where this
    bound does not exceed the best score, nothing that follows is strictly better. Rounding keeps
    the order: addition and division are monotone. Without live beams the bound is -inf.
    """
    return (sums.amax(1) / longest_weight > best).nonzero().flatten()


class _Best:
    """The best hypothesis so far of each context of a batch."""

    def __init__(self, contexts: int, length_penalty: float, like: torch.Tensor):
        self.penalty = length_penalty
        self.scores = like.new_full((contexts,), NEVER)
        self.tokens: list[list[int] | None] = [None] * contexts

    def offer(self, contexts, sums, history, which) -> None:
        """Let the candidates marked in `which` (N, beam) compete, the first of equals winning.

        contexts (N,) holds their places in the batch; sums (N, beam); history (N*beam, length).
        """
        length = history.shape[1]
        scores = sums.masked_fill(~which, NEVER) / length**self.penalty
        place = scores.argmax(1)  # (N,)
        score = scores.gather(1, place[:, None]).squeeze(1)
        better = (score > self.scores[contexts]).nonzero().flatten()
        self.scores[contexts[better]] = score[better]
        winners = history.view(*sums.shape, length)[better, place[better]]
        for context, tokens in zip(contexts[better].tolist(), winners.tolist(), strict=True):
            self.tokens[context] = tokens
