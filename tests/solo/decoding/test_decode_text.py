"""End tokens and the text of a prediction, with tokenizers made here and with GPT-2's own."""

import os

import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from solo.decoding.rules import end_tokens, prediction_text


def small_bpe(blank_line_is_a_token, **options):
    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = [("\u010a", "\u010a")] if blank_line_is_a_token else []  # two line feeds
    vocab = {s: i for i, s in enumerate(symbols + ["".join(m) for m in merges])}
    tokenizer = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<end>", **options)


def test_end_tokens_of_small_tokenizers():
    with_blank, without = small_bpe(True), small_bpe(False)
    assert end_tokens(without) == (256,) == (without.eos_token_id,)
    assert end_tokens(with_blank) == (257, 256)
    assert with_blank.decode([256]) == "\n\n"


def test_an_unknown_token_is_no_blank_line():
    words = Tokenizer(models.WordLevel({"<unk>": 0, "<end>": 1, "a": 2}, unk_token="<unk>"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>")
    assert tokenizer.encode("\n\n", add_special_tokens=False) == [0]
    assert end_tokens(tokenizer) == (1,)


def test_a_tokenizer_without_end_of_text_is_refused():
    words = Tokenizer(models.WordLevel({"a": 0}, unk_token="a"))
    with pytest.raises(ValueError, match="no end-of-text token"):
        end_tokens(PreTrainedTokenizerFast(tokenizer_object=words))


TEXTS = [
    (" A pub , by the river .{end}", "A pub , by the river ."),  # spaces before . and , stay
    (" A pub .{end} and more{end}", "A pub ."),
    (" A pub .\n\nMore", "A pub ."),
    (" A\npub . \n", "A\npub ."),
    ("\n\nLate", ""),
    ("{end}", ""),
    ("", ""),
]


@pytest.mark.parametrize("raw, text", TEXTS)
def test_prediction_text_of_a_small_tokenizer(raw, text):
    clean_up = {
        "clean_up_tokenization_spaces": True,
        "clean_up_tokenization_spaces_for_bpe_even_though_it_will_corrupt_output": True,
    }
    tokenizer = small_bpe(True, **clean_up)  # turns " ." into "." unless told otherwise
    ids = tokenizer.encode(raw.format(end="<end>"), add_special_tokens=False)
    assert prediction_text(tokenizer, ids) == text


@pytest.mark.skipif("GPT2_TOKENIZER_DIR" not in os.environ, reason="GPT2_TOKENIZER_DIR is not set")
def test_gpt2_tokenizer():
    tokenizer = AutoTokenizer.from_pretrained(os.environ["GPT2_TOKENIZER_DIR"])
    assert end_tokens(tokenizer) == (50256, 628)
    for raw, text in TEXTS:
        assert prediction_text(tokenizer, tokenizer.encode(raw.format(end="<|endoftext|>"))) == text
    pub = tokenizer.encode(" Café Brazil .")
    assert prediction_text(tokenizer, [*pub, 628, 383]) == "Café Brazil ."
    assert prediction_text(tokenizer, [*pub, 50256, 383]) == "Café Brazil ."
