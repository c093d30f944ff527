"""A backbone that copies: what is planted, what it reads, and that training goes on to the bit."""

import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from filelock import FileLock, Timeout
from transformers import GPT2Config, GPT2LMHeadModel

from solo import files
from solo.backbones.loading import fingerprint, load_tokenizer
from solo.run_files import STATE
from solo.standin import corpus, measures, mixture, names, pretrain, training
from solo.standin.grown import grow
from solo.standin.mixture import Mixture
from solo.standin.names import Line, parse, with_made_up_values
from solo.standin.planted import plant
from solo.standin.recipe import Recipe
from solo.training.batches import IGNORED

LINE = "name : The Mill | area : by the river | rooms : 12 || The Mill has 12 rooms by the river ."
WORDS = ["copper", "lantern", "garden"]


def random_gpt2(planted: bool, vocab_size: int = 600) -> GPT2LMHeadModel:
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=3, n_embd=192, n_head=6, n_positions=160, vocab_size=vocab_size, resid_pdrop=0.0,
        embd_pdrop=0.0, attn_pdrop=0.0, bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    if planted:
        plant(model, seed=1)
    return model


@pytest.mark.parametrize("length", [8, 64])
def test_what_is_planted_copies_before_any_training(length):
    assert measures.repeated_tokens(random_gpt2(planted=False), length) < 0.05
    assert measures.repeated_tokens(random_gpt2(planted=True), length) > 0.4


def test_the_first_head_looks_one_position_back():
    model = random_gpt2(planted=True)
    model.set_attn_implementation("eager")
    ids = torch.randint(600, (2, 50), generator=torch.Generator().manual_seed(3))
    first = model(ids, output_attentions=True).attentions[0][:, 0]  # (B, T, T) of head 1
    looked_back = (first.argmax(-1)[:, 1:] == torch.arange(49)).float().mean()
    assert looked_back > 0.6  # by chance 0.09


def test_too_small_a_model_is_refused():
    with pytest.raises(ValueError, match="n_layer is 1 and n_head 2; planting needs at least two"):
        plant(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=16, n_head=2, vocab_size=9)), 1)


def test_lines_of_the_corpus():
    assert parse(LINE) == Line(*LINE.split(" || "))
    for other in ("no separator", "a : b : c || triples", "a : b || "):
        assert parse(other) is None


def test_made_up_values_stand_in_both_parts_and_nowhere_else():
    line = parse(LINE)
    for seed in range(20):
        made = with_made_up_values(line, random.Random(seed), WORDS, 1.0)
        name, area, rooms = (slot.split(" : ")[1] for slot in made.data.split(" | "))
        assert made.text == f"{name} has {rooms} rooms {area} ."
        assert [slot.split(" : ")[0] for slot in made.data.split(" | ")] == [
            "name",
            "area",
            "rooms",
        ]
        assert rooms.isdigit() and len(rooms) == 2 and area.islower()
        assert made.names == [name, area] and set(made.replaced) == {name, area, rooms}
    assert with_made_up_values(line, random.Random(0), WORDS, 0.0) == line
    seeds = {with_made_up_values(line, random.Random(s), WORDS, 1.0).data for s in range(20)}
    assert len(seeds) > 15  # others every time


@pytest.fixture
def reading(tokenizer) -> Mixture:
    stream = np.arange(5000, dtype=np.uint16) % len(tokenizer)
    return Mixture([parse(LINE)], stream, tokenizer, WORDS)


def test_a_batch_is_a_function_of_seed_and_step(reading):
    shares = {"data": 1, "lists": 1, "text": 1}
    first, again, other = (reading.batch(shares, 6, 40, 1, step) for step in (3, 3, 4))
    for a, b in zip(first, again, strict=True):
        assert a.shape == (6, 40) and torch.equal(a, b)
    assert not torch.equal(first[0], other[0])


def test_targets_follow_their_tokens_and_what_is_random_carries_none(reading):
    for kind in mixture.KINDS:
        shares = dict.fromkeys(mixture.KINDS, 0) | {kind: 1}
        ids, targets = reading.batch(shares, 32, 100, 1, 0)
        known = targets != IGNORED
        following = known[:, :-1]
        assert torch.equal(targets[:, :-1][following], ids[:, 1:][following])
        assert known.all() if kind != "lists" else 0.2 < known.float().mean() < 0.95


def test_random_tokens_carry_loss_only_when_they_come_again(reading, monkeypatch):
    monkeypatch.setattr(random.Random, "random", lambda self: 0.0)  # always random tokens
    ids, targets = reading.batch({"data": 0, "lists": 1, "text": 0}, 8, 120, 1, 0)
    for row, wanted in zip(ids.tolist(), targets.tolist(), strict=True):
        for place, target in enumerate(wanted):
            if target != IGNORED:  # what leads to it and it itself stood there before
                pair = (row[place], target)
                assert pair in set(zip(row[:place], row[1 : place + 1], strict=True))


class Echo:
    """A model whose greedy text is always the same. text: its tokens."""

    device = torch.device("cpu")

    def __init__(self, text: list[int]):
        self.text = text

    def generate(self, input_ids, attention_mask, **options):
        return torch.cat([input_ids, torch.tensor([self.text] * len(input_ids))], 1)


def test_measures_of_a_model_that_copies_by_hand(tokenizer):
    """Greedy copying counts a line only if every made-up name is there whole; a name by itself."""
    lines = [Line("name : The Mill", "x", ("The Mill",)), Line("name : Zo", "x", ("Zo", "12"))]
    lines.append(Line("name : The Mill | by : Zo", "x", ("The Mill", "Zo")))
    copied = measures.names_copied(Echo(tokenizer(" a The Mill b")["input_ids"]), tokenizer, lines)
    assert copied == {"names_copied": 1 / 3, "names_whole": 2 / 4}


def test_measuring_leaves_the_training_rows_as_they_are(reading):
    """Padding, once asked for, stays turned on in a tokenizer: lines of a row would be padded."""
    lines = [Line("name : Mill", "x", ("Mill",)), Line("name : The Mill of Zo", "x", ("Zo",))]
    shares = {"data": 1, "lists": 0, "text": 0}
    before = reading.batch(shares, 4, 200, 1, 0)
    measures.names_copied(Echo([0]), reading.tokenizer, lines)
    for a, b in zip(before, reading.batch(shares, 4, 200, 1, 0), strict=True):
        assert torch.equal(a, b)


def test_a_name_is_whole_only_if_all_of_its_later_tokens_are_foretold(tokenizer):
    """A model that foretells every token but the last of the name."""
    line = Line("name : Zolombavre", "Zolombavre is here .", ("Zolombavre",))
    encoding = tokenizer(line.data + names.SEPARATOR + line.text, return_offsets_mapping=True)
    end = len(line.data + names.SEPARATOR) + len("Zolombavre")
    last = max(i for i, (start, _) in enumerate(encoding["offset_mapping"]) if start < end)

    class Foretells:
        device = torch.device("cpu")
        wrong: tuple[int, ...] = ()

        def __call__(self, ids):
            following = ids.roll(-1, 1)
            for place in self.wrong:
                following[0, place - 1] = (following[0, place - 1] + 1) % len(tokenizer)
            one_hot = torch.nn.functional.one_hot(following, len(tokenizer))
            return type("Output", (), {"logits": one_hot.float()})

    model = Foretells()
    right = measures.lines_read(model, tokenizer, [line])
    assert (right["name_later"], right["name_rest"]) == (1, 1)
    model.wrong = (last,)
    missed = measures.lines_read(model, tokenizer, [line])
    assert 0 < missed["name_later"] < 1 and missed["name_rest"] == 0 and missed["name_first"] == 1


RECIPE = {
    "stand_in": "test", "shape": {"n_layer": 2, "n_embd": 32, "n_head": 4, "n_positions": 160},
    "vocab_size": 300, "data_files": ["data.txt"], "text_files": ["text.txt"],
    "valid_files": ["valid.txt"], "planted": True, "steps": 8, "lr": 1e-2,
    "planted_lr_scale": 0.1, "warmup_steps": 2, "decay": 0.5, "weight_decay": 0.1,
    "precision": "fp32", "compile": False, "log_every": 2, "measure_every": 4,
    "save_seconds": 0.001, "seed": 1,
    "phases": [
        {"until": 0.5, "batch_size": 4, "context": 32, "data": 0.5, "lists": 0.3, "text": 0.2},
        {"until": 1, "batch_size": 2, "context": 64, "data": 0.5, "lists": 0.3, "text": 0.2},
    ],
}  # fmt: skip


@pytest.fixture
def recipe(tmp_path):
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "data.txt").write_text(f"{LINE}\n" * 40)
    prose = "There was a mill by the river, and nobody went there in winter. " * 5
    (folder / "text.txt").write_text(f"{prose}\n<|endoftext|>\n" * 20)
    talk = "User: Is there a mill?\nAssistant: There is. It stands by the river.\n" * 20
    whole = f"{talk}<|endoftext|>\n{prose * 4}\n<|endoftext|>\n{LINE}\n"
    (folder / "valid.txt").write_text(whole)
    return lambda name, **options: Recipe(
        **RECIPE | {"output_dir": str(tmp_path / name), "corpus_dir": str(folder)} | options
    )


def weights(directory):
    return (directory / "model.safetensors").read_bytes()


def test_a_killed_pretraining_ends_with_the_same_weights(recipe, tmp_path):
    def kill(done, total, info):
        if done == 6:
            raise KeyboardInterrupt

    quiet = lambda *progress: None  # noqa: E731
    summary = pretrain.make_backbone(recipe("whole"), tmp_path / "cache", quiet)
    assert summary["steps"] == 8 and summary["tokens_seen"] == 8 * 128
    with pytest.raises(KeyboardInterrupt):
        pretrain.make_backbone(recipe("killed"), tmp_path / "cache", kill)
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    pretrain.make_backbone(recipe("killed"), tmp_path / "cache", quiet)
    assert weights(tmp_path / "killed") == weights(tmp_path / "whole")
    assert {"names_copied", "repeated_16", "data_loss"} <= set(summary["measures"])
    measured = [
        line["step"]
        for line in files.read_json_lines(tmp_path / "killed" / pretrain.LOG)
        if "data_loss" in line
    ]
    assert measured == [0, 4, 8]
    lines = files.read_json_lines(tmp_path / "killed" / pretrain.LOG)
    assert [line["step"] for line in lines if "loss" in line] == [2, 4, 6, 8]
    seconds = [line["seconds"] for line in lines]
    assert seconds == sorted(seconds)  # those of the killed one included
    model = GPT2LMHeadModel.from_pretrained(tmp_path / "whole")
    assert model.dtype == torch.float16 and model.config.stand_in == "test"
    assert summary["sha256"] == fingerprint(model.float())


def test_the_speed_is_that_of_steps(recipe, tmp_path, monkeypatch, clock):
    """Of one second each; to save a state and to measure take hundreds, by this clock."""
    monkeypatch.setattr(
        training, "make_step", lambda *args, made=training.make_step: clock.taking(1, made(*args))
    )
    saved = clock.taking(100, training.training_state.save_state)
    monkeypatch.setattr(training.training_state, "save_state", saved)
    monkeypatch.setattr(pretrain.measures, "lines_read", clock.taking(300, measures.lines_read))
    once = recipe("one", log_every=3, measure_every=4, save_seconds=5.0)
    pretrain.make_backbone(once, tmp_path / "cache", lambda *progress: None)
    lines = files.read_json_lines(tmp_path / "one" / pretrain.LOG)
    assert [line["tokens_per_s"] for line in lines if "tokens_per_s" in line] == [128, 128, 128]
    assert clock.seconds > 1000


def test_a_finished_backbone_is_left_alone_and_another_recipe_refused(recipe, tmp_path):
    quiet = lambda *progress: None  # noqa: E731
    pretrain.make_backbone(recipe("one", steps=2), tmp_path / "cache", quiet)
    before = weights(tmp_path / "one")
    pretrain.make_backbone(recipe("one", steps=2, log_every=1), tmp_path / "cache", quiet)
    assert weights(tmp_path / "one") == before
    with pytest.raises(ValueError, match="one holds a backbone of another recipe; set pretrain"):
        pretrain.make_backbone(recipe("one", steps=4), tmp_path / "cache", quiet)
    (tmp_path / "corpus" / "text.txt").write_text("Another text. " * 500)
    with pytest.raises(ValueError, match="one holds a backbone of another corpus than"):
        pretrain.make_backbone(recipe("one", steps=2), tmp_path / "cache", quiet)
    shutil.rmtree(tmp_path / "corpus")  # who has the backbone need not have that
    pretrain.make_backbone(recipe("one", steps=2), tmp_path / "cache", quiet)


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("data.txt", "no line of data", "data_files hold no line of the form 'name : The Mill"),
        ("text.txt", "Short.", r"text_files hold \d tokens; a context of \d+ needs more"),
    ],
)
def test_a_corpus_that_is_too_small_is_refused(recipe, tmp_path, name, text, words):
    (tmp_path / "corpus" / name).write_text(text)
    with pytest.raises(ValueError, match=f"pretrain.{words}"):
        pretrain.make_backbone(recipe("one"), tmp_path / "cache", lambda *progress: None)


def test_a_backbone_is_made_by_one_process_and_in_a_place_of_its_own(recipe, tmp_path):
    def again(done, total, info):
        lock = FileLock(tmp_path / ".one.lock", timeout=0)  # as another process would take it
        with pytest.raises(Timeout):
            lock.acquire()

    pretrain.make_backbone(recipe("one", steps=2), tmp_path / "cache", again)
    (tmp_path / "one" / STATE).write_bytes(b"killed between the summary and the removal")
    pretrain.make_backbone(recipe("one", steps=2), tmp_path / "cache", None)
    assert not (tmp_path / "one" / STATE).exists()
    (tmp_path / "gpt2").mkdir()
    (tmp_path / "gpt2" / "model.safetensors").write_text("precious")
    (tmp_path / "gpt2" / ".tmp.notes").write_text("a user's")
    with pytest.raises(ValueError, match="gpt2 holds files of something else; set pretrain.out"):
        pretrain.make_backbone(recipe("gpt2", steps=2), tmp_path / "cache", None)
    assert (tmp_path / "gpt2" / "model.safetensors").read_text() == "precious"
    assert (tmp_path / "gpt2" / ".tmp.notes").exists() and not (tmp_path / ".gpt2.lock").exists()


def test_a_grown_backbone_computes_what_the_other_did_and_learns_in_every_block(recipe, tmp_path):
    quiet = lambda *progress: None  # noqa: E731
    pretrain.make_backbone(recipe("small"), tmp_path / "cache", quiet)
    source = GPT2LMHeadModel.from_pretrained(tmp_path / "small").float().eval()
    tokenizer = load_tokenizer(tmp_path / "small")
    model = pretrain.new_model(RECIPE["shape"] | {"n_layer": 6}, tokenizer, 1, "test").eval()
    grow(model, source)
    ids = torch.randint(len(tokenizer), (2, 40))
    logits = model(ids).logits
    assert torch.equal(logits, source(ids).logits)
    logits.square().sum().backward()
    assert all(block.mlp.c_proj.weight.grad.abs().sum() > 0 for block in model.transformer.h)

    deep = {"planted": False, "shape": RECIPE["shape"] | {"n_layer": 4}, "steps": 2, "lr": 1e-9}
    deep["grown_from"] = str(tmp_path / "small")
    pretrain.make_backbone(recipe("deep", **deep), tmp_path / "cache", quiet)
    found = GPT2LMHeadModel.from_pretrained(tmp_path / "deep").float().eval()
    assert found.config.n_layer == 4
    torch.testing.assert_close(found(ids).logits, source(ids).logits, rtol=1e-4, atol=1e-4)
    tokenizers = [(tmp_path / name / "tokenizer.json").read_bytes() for name in ("small", "deep")]
    assert tokenizers[0] == tokenizers[1]
    other = recipe("other", **deep | {"shape": RECIPE["shape"] | {"n_layer": 3}})
    with pytest.raises(ValueError, match="n_layer is 3; it must be a multiple of .*grown_from's 2"):
        pretrain.make_backbone(other, tmp_path / "cache", quiet)
    wide = recipe("wide", **deep | {"shape": RECIPE["shape"] | {"n_layer": 4, "n_embd": 64}})
    with pytest.raises(ValueError, match="n_embd is 64; that of pretrain.grown_from is 32"):
        pretrain.make_backbone(wide, tmp_path / "cache", quiet)


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"grown_from": "x", "planted": False}, "grown_from is x, which has no model.safetensors;"),
        ({"grown_from": "x"}, "planted and pretrain.grown_from are two ways to start; leave one"),
        ({"steps": 0}, "pretrain.steps is 0; it must be above 0"),
        ({"seed": -1}, "pretrain.seed is -1; at least 0"),
        (
            {"phases": [{"until": 1}]},
            "phases has one of until; each needs: until, batch_size",
        ),
        (
            {"phases": [RECIPE["phases"][-1] | {"batch_size": 0}]},
            "batch_size and context are ",
        ),
        (
            {"phases": [RECIPE["phases"][-1] | {"data": 0, "lists": 0, "text": 0}]},
            "of data, lists and text one is above 0",
        ),
        ({"decay": 0}, "pretrain.decay is 0; above 0 and at most 1"),
        ({"precision": "fp8"}, "pretrain.precision is 'fp8'; known: fp32, bf16"),
        ({"phases": RECIPE["phases"][:1]}, "phases end at .0.5.; the ends must grow, and the last"),
        ({"shape": RECIPE["shape"] | {"n_positions": 48}}, "a context of 64; the shape has 48 pos"),
        ({"shape": RECIPE["shape"] | {"n_positions": 127}}, "n_positions=127; it needs 128, on wh"),
    ],
)
def test_bad_recipes(recipe, options, line):
    with pytest.raises(ValueError, match=line):
        recipe("bad", **options)


def test_a_state_of_another_recipe_and_a_loss_that_is_not_finite_stop_it(recipe, tmp_path):
    def kill(done, total, info):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        pretrain.make_backbone(recipe("a"), tmp_path / "cache", kill)
    with pytest.raises(ValueError, match="the state of another recipe; delete it, or set pretrain"):
        pretrain.make_backbone(recipe("a", lr=2e-2), tmp_path / "cache", kill)
    other = shutil.copytree(recipe("a").corpus_dir, tmp_path / "other")
    with open(sorted(other.iterdir())[0], "a") as file:
        file.write("one more line .\n")
    with pytest.raises(ValueError, match="a was begun with another corpus than .*other holds now"):
        pretrain.make_backbone(recipe("a", corpus_dir=str(other)), tmp_path / "cache", kill)
    with pytest.raises(FloatingPointError, match="lower pretrain.lr"):
        options = {"lr": 1e30, "warmup_steps": 0, "planted_lr_scale": 1.0}
        pretrain.make_backbone(recipe("b", **options), tmp_path / "cache", lambda *progress: None)


@pytest.mark.parametrize("lost", ["prose", "dialogue", "data"])
def test_texts_that_cannot_be_measured_are_refused_before_training(recipe, tmp_path, lost):
    made = recipe("c")
    path = tmp_path / "corpus" / "valid.txt"
    talk, prose, line = path.read_text().split("<|endoftext|>\n")
    kept = {"dialogue": talk, "prose": prose, "data": line}
    path.write_text("<|endoftext|>\n".join(text for kind, text in kept.items() if kind != lost))
    with pytest.raises(ValueError, match=f"valid_files hold too little {lost} to measure"):
        pretrain.make_backbone(made, tmp_path / "cache", lambda *progress: None)


def test_a_token_stream_is_every_documents_tokens(tokenizer, tmp_path, monkeypatch):
    texts = [f"name : Mill {i} | Type : pub\nIt is near Old Bridge {i}.\n" for i in range(25)]
    (tmp_path / "a.txt").write_text("<|endoftext|>\n".join([*texts, ""]))
    monkeypatch.setattr(corpus, "CHARACTERS_AT_ONCE", 100)  # many batches
    stream = corpus.token_stream([tmp_path / "a.txt"], tokenizer, tmp_path)
    by_hand = [i for text in texts for i in (*tokenizer.encode(text), tokenizer.eos_token_id)]
    assert stream.tolist() == by_hand
    other = corpus.train_tokenizer([tmp_path / "a.txt"], 300)  # it has a stream of its own
    first = other.encode(texts[0])
    stream = corpus.token_stream([tmp_path / "a.txt"], other, tmp_path)
    assert stream[: len(first)].tolist() == first != by_hand[: len(first)]


def test_the_loss_of_a_step_is_that_of_transformers(recipe, reading):
    """Before the update, on the targets that carry loss."""
    made = recipe("step", lr=1e-9)
    model = random_gpt2(planted=True, vocab_size=len(reading.tokenizer))
    ids, targets = reading.batch({"data": 1, "lists": 1, "text": 1}, 4, 60, 1, 0)
    with torch.no_grad():
        logits = model(ids).logits.flatten(0, 1)
    expected = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORED)
    advance = training.make_step(model, training._optimizer(model, made), made)
    assert advance(ids, targets, 1e-9).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_first_step_by_hand(recipe, reading):
    """AdamW's: the rate, whatever the gradient, and the decay of matrices; a tenth of the rate for
    what was planted."""
    made = recipe("step", lr=1e-3)
    model = random_gpt2(planted=True, vocab_size=len(reading.tokenizer))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    advance = training.make_step(model, training._optimizer(model, made), made)
    advance(*reading.batch({"data": 1, "lists": 1, "text": 1}, 4, 60, 1, 0), 1e-3)
    for name, parameter in model.named_parameters():
        planted = "wpe" in name or "h.0.attn" in name or "h.1.attn" in name
        rate = 1e-3 * (0.1 if planted else 1)
        decayed = before[name] * (1 - rate * (0.1 if parameter.dim() == 2 else 0))
        assert (parameter.detach() - decayed).abs().max() / rate == pytest.approx(1, rel=0.01), name


def test_the_learning_rate_by_hand(recipe):
    rates = [recipe("r").learning_rate(step) for step in range(8)]
    by_hand = [0.5, 1, 1, 1, 1, 0.75, 0.5, 0.25]
    assert rates == pytest.approx([1e-2 * share for share in by_hand])
    assert names.SEPARATOR == " || "


@pytest.mark.parametrize("steps", [2, 9])
def test_rows_that_are_made_ahead_are_the_same(reading, recipe, steps):
    made = recipe("any", steps=steps)
    here = list(training._batches(reading, made, 1, torch.device("cpu")))
    there = list(training._batches(reading, made, 1, torch.device("meta")))
    assert len(here) == made.steps - 1
    for mine, theirs in zip(here, there, strict=True):
        assert all(map(torch.equal, mine, theirs))


def test_text_loss_is_a_mean_over_rows_however_many_there_are(tokenizer):
    torch.manual_seed(0)
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 8, "n_positions": 16}
    model = pretrain.new_model(shape, tokenizer, 1, "x").eval()
    rows = torch.randint(len(tokenizer), (9, 9))  # more than go through at a time
    alone = [measures.text_loss(model, row[None]) for row in rows]
    assert measures.text_loss(model, rows) == pytest.approx(sum(alone) / 9, rel=1e-5)


def test_random_tokens_are_any_but_the_end(reading):
    drawn = set(reading._random_tokens(random.Random(1), 20_000))
    assert drawn == set(range(len(reading.tokenizer))) - {reading.tokenizer.eos_token_id}


def test_a_value_that_is_part_of_a_new_one_is_left_alone(monkeypatch):
    """Replaced in the text it would cut the name there, and not in the data."""
    news = {"Mill": "The Copper", "Copper": "Zinc"}
    monkeypatch.setattr(names, "another_value", lambda value, rng, words: news[value])
    line = parse("name : Mill | by : Copper || Mill is by Copper .")
    made = with_made_up_values(line, random.Random(1), WORDS, 1.0)
    assert made.replaced == ("The Copper",) and made.text == "The Copper is by Copper ."


def test_a_phase_ends_before_the_step_of_its_share(recipe):
    assert [recipe("r").phase(step).context for step in range(8)] == [32] * 4 + [64] * 4


@pytest.mark.parametrize("key", ["log_every", "measure_every", "save_seconds"])
def test_what_is_only_told_makes_no_other_backbone(recipe, key):
    assert recipe("r", **{key: 7}).identity == recipe("r").identity != recipe("r", seed=7).identity


def test_a_finished_backbone_that_lost_its_summary_is_not_begun_again(recipe, tmp_path):
    """A partial copy of one, say."""
    out = Path(recipe("r").output_dir)
    out.mkdir(parents=True)
    for name in (pretrain.LOG, pretrain.MODEL):
        (out / name).write_text("precious")
    with pytest.raises(ValueError, match="holds files of something else; set pretrain.output_dir"):
        pretrain._check_place(out)
    (out / pretrain.SUMS).write_text("{}")  # that one was begun here
    pretrain._check_place(out)
