"""Encoding by other tokenizers than GPT-2's: their own ends, and what they put before a text."""

import os

import pytest
from tokenizers import processors
from transformers import AutoTokenizer

from solo.datasets.data import encode, encode_prompts
from solo.decoding.rules import end_tokens, prediction_text
from tests.architectures import byte_level_tokenizer, llama_tokenizer

PAIRS = [("name : The Mill | Type : pub", "The Mill is a pub .")]


def test_a_byte_level_tokenizer_with_an_end_of_its_own():
    tokenizer = byte_level_tokenizer()
    [example] = encode(PAIRS, tokenizer)
    end = tokenizer.convert_tokens_to_ids("<|end|>")
    context = tokenizer.encode("name : The Mill | Type : pub")
    completion = tokenizer.encode(" The Mill is a pub .")
    assert example.ids == [*context, end, *completion, end]
    assert example.n_context == len(context) + 1 and example.ids.count(end) == 2
    assert end_tokens(tokenizer) == (end,)
    assert prediction_text(tokenizer, [*completion, end, *context]) == "The Mill is a pub ."


def test_llamas_tokenizer_begins_with_its_own_token_and_its_own_space():
    """<s> before the context only; one space, not two, before the completion."""
    tokenizer = llama_tokenizer()
    [example] = encode(PAIRS, tokenizer)
    tokens = tokenizer.convert_ids_to_tokens(example.ids)
    assert tokens[0] == "<s>" and tokens.count("<s>") == 1
    assert tokens[example.n_context - 1] == tokens[-1] == "</s>" and tokens.count("</s>") == 2
    completion = tokens[example.n_context : -1]
    assert completion[:3] == ["▁The", "▁M", "i"] and "".join(completion) == "▁The▁Mill▁is▁a▁pub▁."
    assert end_tokens(tokenizer) == (tokenizer.convert_tokens_to_ids("</s>"),)
    assert prediction_text(tokenizer, example.ids[example.n_context :]) == "The Mill is a pub ."


def test_a_prompt_is_the_beginning_of_its_example():
    for tokenizer in (byte_level_tokenizer(), llama_tokenizer()):
        [example], [prompt] = encode(PAIRS, tokenizer), encode_prompts([PAIRS[0][0]], tokenizer)
        assert example.ids[: example.n_context] == prompt


def test_a_tokenizer_that_begins_with_its_end_as_opts_does():
    tokenizer = byte_level_tokenizer()
    end = tokenizer.eos_token_id
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|end|> $A", special_tokens=[("<|end|>", end)]
    )
    [prompt] = encode_prompts(["The Mill"], tokenizer)
    assert prompt == [end, *tokenizer.encode("The Mill", add_special_tokens=False), end]


@pytest.mark.skipif("GPT2_TOKENIZER_DIR" not in os.environ, reason="GPT2_TOKENIZER_DIR is not set")
def test_gpt2s_examples_are_as_ever():
    tokenizer = AutoTokenizer.from_pretrained(os.environ["GPT2_TOKENIZER_DIR"])
    [example] = encode(PAIRS, tokenizer)
    assert example.ids[example.n_context - 1] == example.ids[-1] == 50256
    assert example.ids[example.n_context] == tokenizer.encode(" The")[0]
    assert tokenizer.decode(example.ids[: example.n_context - 1]) == PAIRS[0][0]
