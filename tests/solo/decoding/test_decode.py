"""Beam search against a slow reference, against all sequences there are, and against generate()."""

import itertools
import math
import random

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel

from solo.adapters import make_config
from solo.decoding.recipe import BeamConfig
from solo.decoding.rules import beam_search
from tests.solo.decoding.reference_beam import reference_beam_search


def tiny_gpt2(seed, vocab=30, width=16, std=0.5, dtype=torch.float64):
    """A random GPT-2 with peaked distributions; float64, so that ties do not depend on rounding."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=vocab,
        n_positions=64,
        n_embd=width,
        n_layer=2,
        n_head=2,
        initializer_range=std,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    return GPT2LMHeadModel(config).to(dtype).eval()


def random_prompts(seed, vocab, count=3, longest=9):
    rng = random.Random(seed)
    return [[rng.randrange(vocab) for _ in range(rng.randint(1, longest))] for _ in range(count)]


class MarkovModel(torch.nn.Module):
    """Stands in for GPT-2 in cases built by hand: the last token alone decides what follows.

    rows: {token: {next token: probability}}; what a row leaves out is shared by the other tokens,
    and a token without a row is followed by all tokens alike.
    """

    def __init__(self, vocab, rows):
        super().__init__()
        table = torch.full((vocab, vocab), 1 / vocab, dtype=torch.float64)
        for token, following in rows.items():
            others = vocab - len(following)
            table[token] = (1 - sum(following.values())) / others if others else 0.0
            for after, probability in following.items():
                table[token, after] = probability
        gpt2 = tiny_gpt2(0, vocab)
        self.config, self.device = gpt2.config, gpt2.device
        self.config.n_embd = vocab  # a hidden state is the last token, one-hot
        self.transformer = gpt2.transformer  # keeps the cache as the real model does
        self.transformer.register_forward_hook(self.only_the_last_token, with_kwargs=True)
        self.lm_head = torch.nn.Linear(vocab, vocab, bias=False, dtype=torch.float64)
        self.lm_head.weight = torch.nn.Parameter(table.clamp(min=1e-300).log().T.contiguous())
        self.calls = 0
        self.eval()

    def only_the_last_token(self, module, args, kwargs, output):
        self.calls += 1
        vocab = self.config.vocab_size
        output.last_hidden_state = torch.nn.functional.one_hot(args[0], vocab).double()


# ---------------------------------------------------------------- the search as a whole

SETTINGS = list(itertools.product((1, 2, 4, 10), (0, 0.8, 1), (0, 2, 4)))


@pytest.mark.parametrize("case", range(len(SETTINGS)))
def test_equals_the_slow_reference(case):
    beam, penalty, no_repeat = SETTINGS[case]
    vocab, max_new = (20, 33, 60)[case % 3], (12, 7, 9, 10)[case % 4]
    model = tiny_gpt2(case, vocab, width=(16, 32)[case % 2], std=(0.2, 0.3, 0.5)[case // 3 % 3])
    prompts = random_prompts(case, vocab)
    ends = (0, 1, 2)[: 1 + case % 3]
    expected = [
        reference_beam_search(model, p, beam, penalty, no_repeat, max_new, ends) for p in prompts
    ]
    for batch_size in (1, 2, 3):
        config = BeamConfig(beam, penalty, no_repeat, max_new, batch_size)
        assert beam_search(model, prompts, config, ends) == expected


@pytest.mark.parametrize("penalty", [0, 0.8, 1, 2])
@pytest.mark.parametrize("seed", range(4))
def test_a_beam_that_holds_everything_finds_the_best_of_all_sequences(seed, penalty):
    vocab, max_new, ends = 4, 4, (0,)
    model, prompt = tiny_gpt2(seed, vocab, std=0.3), [1, 3, 2]
    sequences = list(itertools.product(range(vocab), repeat=max_new))
    with torch.no_grad():
        logits = model(torch.tensor([prompt + list(tokens) for tokens in sequences])).logits
    log_p = logits.log_softmax(-1)[:, len(prompt) - 1 :].numpy()
    scores = {}
    for row, tokens in enumerate(sequences):
        cut = next((i + 1 for i, t in enumerate(tokens) if t in ends), max_new)
        scores[tokens[:cut]] = sum(log_p[row, i, tokens[i]] for i in range(cut)) / cut**penalty
    config = BeamConfig(vocab**max_new, penalty, no_repeat_ngram=0, max_new_tokens=max_new)
    assert beam_search(model, [prompt], config, ends) == [list(max(scores, key=scores.get))]


def test_beam_1_without_bans_is_the_greedy_search_of_transformers():
    lengths, ends = set(), (0, 7)
    for seed, prompt in enumerate(random_prompts(5, 25, count=12)):
        model = tiny_gpt2(seed, vocab=25, std=0.3)
        [ours] = beam_search(model, [prompt], BeamConfig(1, 0.8, 0, 20), ends)
        ids = torch.tensor([prompt])
        theirs = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=20,
            eos_token_id=list(ends),
            pad_token_id=0,
        )
        assert ours == theirs[0, len(prompt) :].tolist()
        lengths.add(len(ours))
    assert 20 in lengths and len(lengths) > 3  # some ended, some did not


# ---------------------------------------------------------------- its rules, one by one

END, SEP = 0, 9  # in the cases below; every prompt ends with SEP


def search(model, prompt=(SEP,), **settings):
    defaults = {"beam": 2, "length_penalty": 1.0, "no_repeat_ngram": 0, "max_new_tokens": 8}
    [tokens] = beam_search(model, [list(prompt)], BeamConfig(**defaults | settings), (END,))
    return tokens


@pytest.mark.parametrize("n", [2, 4])
def test_no_repeat_rule_does_not_see_the_prompt(n):
    copy = {SEP: {1: 0.9}, 1: {2: 0.9}, 2: {3: 0.9}, 3: {4: 0.9}, 4: {5: 0.9}, 5: {END: 0.9}}
    model = MarkovModel(10, copy)
    assert search(model, [1, 2, 3, 4, 5, SEP], no_repeat_ngram=n) == [1, 2, 3, 4, 5, END]


@pytest.mark.parametrize(
    "n, expected",
    [
        (0, [1, 2, 1, 2, 1, 2, 1, 2]),
        (1, [1, 2, 3, END]),
        (2, [1, 2, 1, 3, END]),
        (3, [1, 2, 1, 2, 3, END]),
        (4, [1, 2, 1, 2, 1, 3, END]),
    ],
)
def test_no_repeat_rule_bans_what_was_generated(n, expected):
    model = MarkovModel(
        10, {SEP: {1: 0.9}, 1: {2: 0.9, 3: 0.09}, 2: {1: 0.9, 3: 0.09}, 3: {END: 0.9}}
    )
    assert search(model, beam=1, no_repeat_ngram=n) == expected


def test_bans_come_before_the_softmax():
    # After [1, 1] the repetition is banned and 2 gets all of the probability, not 0.1 of it.
    model = MarkovModel(10, {SEP: {1: 0.5, END: 0.4}, 1: {1: 0.9, 2: 0.1}, 2: {END: 1.0}})
    settings = {"no_repeat_ngram": 2, "max_new_tokens": 4}
    # log(0.5 * 0.9) / 4 = -0.20 against log(0.4) = -0.92; without it log(0.045) / 4 = -0.78
    assert search(model, **settings) == [1, 1, 2, END]
    # at penalty 0.1: -0.70 against -0.92; without it -2.70
    assert search(model, length_penalty=0.1, **settings) == [1, 1, 2, END]


def test_first_step_takes_the_top_of_one_distribution():
    # Both first tokens must live: the best one leads nowhere, the second one to the winner.
    model = MarkovModel(10, {SEP: {1: 0.6, 2: 0.4}, 2: {END: 1.0}})
    assert search(model, beam=2) == [2, END]


def test_an_ended_candidate_fills_a_place_in_its_step():
    # Beam 2 keeps END and 1; the third token, 2, is lost though it would win.
    model = MarkovModel(10, {SEP: {END: 0.5, 1: 0.3, 2: 0.2}, 2: {END: 1.0}})
    settings = {"length_penalty": 2.0, "max_new_tokens": 2}
    # [2, END]: log(0.2) / 4 = -0.40; [END]: log(0.5) = -0.69; [1, any]: log(0.03) / 4 = -0.88
    assert search(model, beam=2, **settings) == [END]
    assert search(model, beam=3, **settings) == [2, END]


def test_the_place_of_an_ended_candidate_is_refilled_by_the_live_ones():
    # END leaves after step 1; both 3 and 4 then follow from 1, and the second one wins.
    model = MarkovModel(10, {SEP: {END: 0.5, 1: 0.5}, 1: {3: 0.6, 4: 0.4}, 4: {END: 1.0}})
    # [1, 4, END]: log(0.2) / 3 = -0.54; [END]: -0.69; [1, 3, any]: log(0.03) / 3 = -1.17
    assert search(model, max_new_tokens=3) == [1, 4, END]


def test_an_ended_candidate_does_not_go_on():
    model = MarkovModel(10, {SEP: {END: 0.9}, END: {END: 1.0}})
    assert search(model, length_penalty=2.0) == [END]


def test_length_counts_the_end_token():
    # log(0.6) / 2 = -0.26 against log(0.4) / 3 = -0.31; without END -0.51 against -0.46
    model = MarkovModel(10, {SEP: {1: 0.6, 2: 0.4}, 1: {END: 1.0}, 2: {3: 1.0}, 3: {END: 1.0}})
    assert search(model) == [1, END]


def test_unfinished_candidates_compete_at_the_end():
    model = MarkovModel(10, {SEP: {1: 0.6, END: 0.4}, 1: {1: 1.0}})
    assert search(model, length_penalty=0.0, max_new_tokens=3) == [1, 1, 1]


def test_of_equal_scores_the_first_wins():
    model = MarkovModel(10, {SEP: {END: 0.5, 1: 0.5}, 1: {END: 1.0}})
    assert search(model, length_penalty=0.0) == [END]


def test_a_context_stops_when_nothing_can_win_any_more():
    model = MarkovModel(10, {SEP: {END: 0.99}})
    assert search(model, max_new_tokens=50) == [END]
    assert model.calls == 1


def test_a_hypothesis_without_any_token_left_disappears():
    model, ends = tiny_gpt2(3, vocab=4), (0,)
    config = BeamConfig(beam=3, length_penalty=1.0, no_repeat_ngram=1, max_new_tokens=9)
    prompts = [[1], [2, 3], [0, 1, 2]]
    expected = [reference_beam_search(model, p, 3, 1.0, 1, 9, ends) for p in prompts]
    assert beam_search(model, prompts, config, ends) == expected
    with pytest.raises(ValueError, match="prompt 0: .*no_repeat_ngram=1 left no token"):
        beam_search(model, prompts, config, ())


# ---------------------------------------------------------------- what surrounds it


def test_progress_and_no_prompts():
    model, seen = tiny_gpt2(0), []
    config = BeamConfig(2, 0.8, 4, 3, batch_size=2)
    answers = beam_search(
        model, [[1]] * 5, config, (0,), on_progress=lambda done, total: seen.append((done, total))
    )
    assert len(answers) == 5 and seen == [(2, 5), (4, 5), (5, 5)]
    assert beam_search(model, [], config, (0,)) == []


@pytest.mark.parametrize(
    "prompts, text",
    [
        ([[1], []], "prompt 1 is empty"),
        ([[1] * 60, [1] * 61], r"prompt 1 has 61 tokens.* 64 positions leave room for 60"),
        ([[1, 30]], "prompt 0 holds token ids from 1 to 30, the model knows 0 to 29"),
        ([[-1]], "prompt 0 holds token ids from -1"),
    ],
)
def test_bad_prompts_are_refused_before_any_work(prompts, text):
    model = tiny_gpt2(0)
    model.register_forward_pre_hook(lambda *_: pytest.fail("the model was run"))
    with pytest.raises(ValueError, match=text):
        beam_search(model, prompts, BeamConfig(max_new_tokens=4), (0,))


def test_longest_prompt_that_fits_is_decoded():
    config = BeamConfig(2, 0.8, 4, max_new_tokens=4)
    assert beam_search(tiny_gpt2(0), [[1] * 60], config, ())[0][:-1]


def test_a_prefix_takes_positions_of_the_input():
    """The longest prompt behind it is decoded, and one more token refused; it leaves all again."""
    model, config = tiny_gpt2(0), BeamConfig(2, 0.8, 4, max_new_tokens=4)
    method, options = make_config({"name": "prefix", "length": 5})
    attached = method.attach(model, options, 1)
    assert beam_search(model, [[1] * 55], config, ())[0][:-1]
    with pytest.raises(ValueError, match="59 positions leave room for 55"):
        beam_search(model, [[1] * 56], config, ())
    attached.detach()
    assert beam_search(model, [[1] * 60], config, ())[0][:-1]


def test_a_model_in_training_or_with_nan_is_refused():
    model = tiny_gpt2(0)
    with pytest.raises(ValueError, match="training mode"):
        beam_search(model.train(), [[1]], BeamConfig(), (0,))
    torch.nn.init.constant_(model.transformer.wte.weight, math.nan)
    with pytest.raises(ValueError, match="prompt 0: .*logits are not finite"):
        beam_search(model.eval(), [[1]], BeamConfig(max_new_tokens=4), (0,))


@pytest.mark.parametrize(
    "setting, text",
    [
        ({"beam": 0}, "beam=0: give a whole number of at least 1"),
        ({"beam": 2.5}, "beam=2.5"),
        ({"beam": True}, "beam=True"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram=-1: give a whole number of at least 0"),
        ({"max_new_tokens": 0}, "max_new_tokens=0"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"length_penalty": -0.1}, "length_penalty=-0.1: give a number from 0"),
        ({"length_penalty": math.nan}, "length_penalty=nan"),
        ({"length_penalty": math.inf}, "length_penalty=inf"),
        ({"length_penalty": 171}, "length_penalty=171"),
        ({"length_penalty": "0.8"}, "length_penalty='0.8'"),
    ],
)
def test_settings_are_checked(setting, text):
    with pytest.raises(ValueError, match=text):
        BeamConfig(**setting)
