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
the better-ranked parent beam, then the lower token id, comes first (unspecified there). Only where
more candidates have the very same sum than there are places left, torch.topk chooses among them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import transformers

from solo.backbones import positions_of
from solo.decoding.found import Hypotheses
from solo.decoding.recipe import BeamConfig
from solo.decoding.search import search_batch


def end_tokens(tokenizer: transformers.PreTrainedTokenizerBase) -> tuple[int, ...]:
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


def prediction_text(tokenizer: transformers.PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    """The text of generated tokens: cut at end of text and at the first blank line, stripped.

    As gpt2_decode.py of the recipe does. A single line break inside the text stays.
    """
    text = _text(tokenizer, token_ids)
    for mark in (tokenizer.eos_token, "\n\n"):
        if mark:
            text = text.split(mark)[0]
    return text.strip()


def _text(tokenizer: transformers.PreTrainedTokenizerBase, token_ids: list[int]) -> str:
    # The clean-up that some tokenizers ask for turns " ." into "."; the recipe decodes plainly.
    return tokenizer.decode(
        token_ids, skip_special_tokens=False, clean_up_tokenization_spaces=False
    )


def beam_search(
    model: transformers.PreTrainedModel,
    prompts: list[list[int]],
    config: BeamConfig,
    end_ids: tuple[int, ...],
    on_progress: Callable[[int, int], None] = lambda done, total: None,
    known: Hypotheses | None = None,
    on_found: Callable[[Hypotheses], None] = lambda batch: None,
) -> list[list[int]]:
    """The best hypothesis for each prompt, as generated token ids with the end token included.

    prompts: token ids, the separator included; any mix of lengths. The answer is in their order.
    on_progress(done, total) is called after each batch of contexts, and on_found before it with the
    batch's hypotheses. A batch whose hypotheses are all `known` is not searched for.

    Raises ValueError, before any work, for an empty prompt, a prompt that leaves no room for
    `max_new_tokens`, an id outside the vocabulary, or a model in training mode; and, during it,
    where no hypothesis has a finite score.
    """
    model = without_peft(model)
    check_prompts(model, prompts, config)
    by_length = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))  # little padding
    found = dict(known or {})
    size = config.contexts(model.device)
    for start in range(0, len(prompts), size):
        chosen = by_length[start : start + size]
        if found.keys() >= set(chosen):
            continue
        answers = search_batch(model, [prompts[i] for i in chosen], end_ids, config)
        for i, tokens in zip(chosen, answers, strict=True):
            if tokens is None:
                raise ValueError(
                    f"no hypothesis with a finite score for prompt {i}: either the model's logits "
                    f"are not finite, or no_repeat_ngram={config.no_repeat_ngram} left no token "
                    f"to go on with in a vocabulary of {model.config.vocab_size}"
                )
            found[i] = tokens
        on_found({i: found[i] for i in chosen})
        on_progress(start + len(chosen), len(prompts))
    return [found[i] for i in range(len(prompts))]


def without_peft(model: transformers.PreTrainedModel) -> transformers.PreTrainedModel:
    """The model of transformers inside one of peft's, whose layers stay at work in it.

    Raises ValueError for a method of peft's that works outside of it.
    """
    if not hasattr(model, "get_base_model"):
        return model
    if model.active_peft_config.is_prompt_learning:
        raise ValueError(
            f"beam_search cannot see what peft's {model.active_peft_config.peft_type.value} puts "
            "before the input; use model.generate, or this project's method of that name"
        )
    return model.get_base_model()


def check_prompts(
    model: transformers.PreTrainedModel,
    prompts: list[list[int]],
    config: BeamConfig,
    names: Sequence[str] | None = None,
) -> None:
    """Raise ValueError, as beam_search does, for prompts that cannot be decoded.

    names: what to call each of them; by default by its number, from 0.
    """
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() before decoding")
    positions = positions_of(model)
    room = positions - config.max_new_tokens
    vocab = model.config.vocab_size
    names = [f"prompt {i}" for i in range(len(prompts))] if names is None else names
    for name, prompt in zip(names, prompts, strict=True):
        if not prompt:
            raise ValueError(f"{name} is empty: give at least the separator token")
        if len(prompt) > room:
            lower = "" if len(prompt) >= positions else " or lower decode.max_new_tokens"
            raise ValueError(
                f"{name} has {len(prompt)} tokens; with max_new_tokens="
                f"{config.max_new_tokens} the model's {positions} positions leave "
                f"room for {room}: shorten the prompt{lower}"
            )
        if not 0 <= min(prompt) <= max(prompt) < vocab:
            raise ValueError(
                f"{name} holds token ids from {min(prompt)} to {max(prompt)}, the model knows "
                f"0 to {vocab - 1}: use the tokenizer that belongs to the model"
            )
