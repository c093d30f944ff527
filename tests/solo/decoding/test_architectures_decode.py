"""The beam search on every architecture: the slow reference, and the search of transformers."""

import pytest
import torch
from peft import LoraConfig, PromptTuningConfig, get_peft_model

from solo.adapters import make_config
from solo.decoding.recipe import BeamConfig
from solo.decoding.rules import beam_search
from solo.peft import SoloConfig
from tests.architectures import ARCHITECTURES, make_backbone
from tests.solo.decoding.reference_beam import reference_beam_search
from tests.solo.decoding.test_decode import random_prompts

VOCAB = 31
every_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


def tiny(architecture: str, seed: int):
    """In float64, so that ties do not depend on rounding."""
    return make_backbone(architecture, seed, torch.float64, vocab_size=VOCAB)


@every_architecture
def test_a_model_wrapped_by_peft_is_searched_as_the_one_inside(architecture):
    model = tiny(architecture, 5)
    model = get_peft_model(model, SoloConfig(r=4, lambda_init=0.5)).eval()
    prompts, config = random_prompts(1, VOCAB, count=3), BeamConfig(3, max_new_tokens=6)
    assert beam_search(model, prompts, config, ()) == [
        reference_beam_search(model, p, 3, 0.8, 4, 6, ()) for p in prompts
    ]


@pytest.mark.parametrize("tied", [True, False])
def test_a_model_with_tokens_of_its_own_is_searched_as_by_generate(tied):
    """peft puts a layer of its own around embeddings and, where it is tied, the head."""
    model = tiny("gpt2", 5) if tied else tiny("llama", 5)
    assert model.config.tie_word_embeddings == tied
    config = LoraConfig(r=2, trainable_token_indices=[3, 5, 8], task_type="CAUSAL_LM")
    before = model(torch.arange(VOCAB)[None]).logits
    model = get_peft_model(model, config).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "trainable_tokens" in name:
                parameter += 1.0
    assert not torch.allclose(model(torch.arange(VOCAB)[None]).logits, before)
    prompts = random_prompts(5, VOCAB, count=4)
    for ours, prompt in zip(
        beam_search(model, prompts, BeamConfig(1, 0.8, 0, 14), (0, 7)), prompts, strict=True
    ):
        ids = torch.tensor([prompt])
        options = {"do_sample": False, "max_new_tokens": 14, "pad_token_id": 0}
        theirs = model.generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), eos_token_id=[0, 7], **options
        )
        assert ours == theirs[0, len(prompt) :].tolist()


def test_what_peft_puts_before_the_input_is_refused():
    config = PromptTuningConfig(num_virtual_tokens=2, task_type="CAUSAL_LM")
    model = get_peft_model(tiny("gpt2", 5), config).eval()
    with pytest.raises(ValueError, match="peft's PROMPT_TUNING puts before the input; use model"):
        beam_search(model, [[3]], BeamConfig(3, max_new_tokens=6), ())


@every_architecture
@pytest.mark.parametrize("method", [None, "solo"])
def test_equals_the_slow_reference(architecture, method):
    """With Solo no token ends an output, so that all are longer than a window of 4 and than the
    steps between two clearances of the cache."""
    model, ends, seed = tiny(architecture, 5), (0, 1), list(ARCHITECTURES).index(architecture)
    if method is not None:
        of_method, config = make_config({"name": method, "rank": 4, "lambda_init": 0.5})
        of_method.attach(model, config, 1)
        model.double().eval()
        ends = ()
    prompts = random_prompts(seed, VOCAB, count=3)
    beam, penalty, no_repeat, longest = 3, 0.8, 3, 10
    config = BeamConfig(beam, penalty, no_repeat, longest, batch_size=3)
    expected = [
        reference_beam_search(model, p, beam, penalty, no_repeat, longest, ends) for p in prompts
    ]
    assert beam_search(model, prompts, config, ends) == expected
    assert method is None or all(len(tokens) == longest for tokens in expected)


@every_architecture
def test_beam_1_without_bans_is_the_greedy_search_of_transformers(architecture):
    model, ends, lengths = tiny(architecture, 3), (0, 7), []
    prompts = random_prompts(5, VOCAB, count=4)
    for ours, prompt in zip(
        beam_search(model, prompts, BeamConfig(1, 0.8, 0, 14), ends), prompts, strict=True
    ):
        ids = torch.tensor([prompt])
        theirs = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=14,
            eos_token_id=list(ends),
            pad_token_id=0,
        )
        assert ours == theirs[0, len(prompt) :].tolist()
        lengths.append(len(ours))
    assert max(lengths) > 4
