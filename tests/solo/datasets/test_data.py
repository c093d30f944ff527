"""Encoding, batching and the data's errors; on the real data, its published counts."""

import copy
import itertools
import json
import os
import re
from pathlib import Path

import pytest
import torch
import yaml

from eval.metrics import SETS
from solo.adapters.shared.dropout import example_key, token_keys
from solo.backbones.loading import load_tokenizer
from solo.datasets import DATASETS, data, source_of
from solo.datasets.base import Row, Source, read_text
from solo.datasets.data import Example
from solo.datasets.download import count_examples
from solo.datasets.e2e_raw import linearise
from solo.training.batches import batches_from, collate, epoch_batches, pack, pad

LINE = "name : The Mill | Type : pub||The Mill is a pub . "
MR = "name[The Mill], eatType[pub], priceRange[more than £30], familyFriendly[yes]"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_an_example_is_context_end_space_completion_end(tmp_path, tokenizer):
    path = write(tmp_path / "train.txt", LINE + "\n")
    [example] = data.load_examples(path, tokenizer, 192)
    end = tokenizer.eos_token_id
    context = tokenizer.encode("name : The Mill | Type : pub")
    completion = tokenizer.encode(" The Mill is a pub .")
    assert example.ids == [*context, end, *completion, end]
    assert example.n_context == len(context) + 1
    assert example.n_targets == len(completion) + 1


def test_linearise():
    assert linearise(MR) == (
        "name : The Mill | Type : pub | price : more than £ 30 | family friendly : yes"
    )


@pytest.mark.parametrize("source", ["trainset.csv", "devset.csv", "testset_w_refs.csv"])
def test_official_mrs_linearise_to_loras_contexts(real, source):
    root = real("E2E_DATA_DIR")
    lora = {"trainset.csv": "train", "devset.csv": "valid", "testset_w_refs.csv": "test"}[source]
    ours = dict.fromkeys(context for context, _ in data.read_pairs(root / source))
    theirs = data.read_pairs(root / "lora_format" / f"{lora}.txt")
    assert list(ours) == list(dict.fromkeys(context for context, _ in theirs))


@pytest.mark.parametrize(
    ("split", "rows", "mean", "longest"),
    [("train", 42_061, 53.3, 115), ("valid", 4_672, 59.2, 125), ("test", 4_693, 67.0, 133)],
)
def test_real_token_counts(real, split, rows, mean, longest):
    path = real("E2E_DATA_DIR") / "lora_format" / f"{split}.txt"
    examples = data.load_examples(path, load_tokenizer(real("GPT2_TOKENIZER_DIR")), 1024)
    lengths = [len(example.ids) for example in examples]
    assert (len(lengths), max(lengths)) == (rows, longest)
    assert round(sum(lengths) / rows, 1) == mean


def test_the_cleaned_test_set(real):
    path = real("E2E_CLEAN_DIR") / "test-fixed.csv"
    rows = data.read_rows(path, "e2e_clean")
    assert (len(rows), len(data.read_prompts(path, "e2e_clean"))) == (4693, 1847)
    assert rows[0] == Row(
        "name[Blue Spice], eatType[coffee shop], area[city centre]",
        "name : Blue Spice | Type : coffee shop | area : city centre",
        "A coffee shop in the city centre area called Blue Spice.",
    )


def test_prompts_are_distinct_and_in_order(tmp_path):
    lines = ["name : B||x", "name : A||y", "name : B||z"]
    path = write(tmp_path / "test.txt", "\n".join(lines))
    assert data.read_prompts(path) == [("name : B", "name : B"), ("name : A", "name : A")]
    path = write(tmp_path / "test.csv", 'mr,ref\nname[B],x\n"name[A], food[b]",y\nname[B],z\n')
    assert data.read_prompts(path) == [
        ("name[B]", "name : B"),
        ("name[A], food[b]", "name : A | food : b"),
    ]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", "mr,ref\nname[A],A\nname[B],\n"),
        ("a.txt", "name : A||A\nname : B||  \n"),
        ("a.tsv", "mr\tref\nname[A]\tA\nname[B]\t\n"),
    ],
)
def test_an_empty_text_is_nothing_to_train_on(name, text, tmp_path):
    """A test set may lack texts."""
    path = write(tmp_path / name, text)
    place = "line 3" if name != "a.txt" else "line 2"
    with pytest.raises(
        ValueError, match=f"{name}, {place}: the text is empty; write one, or leave"
    ):
        data.read_pairs(path)


def test_words_that_mean_nothing_to_other_readers_are_texts(tmp_path):
    path = write(tmp_path / "a.csv", "mr,ref\nname[B],nan\nname[NA],None\n")
    assert data.read_pairs(path) == [("name : B", "nan"), ("name : NA", "None")]


def test_the_end_of_text_written_out_is_refused(tokenizer, tmp_path):
    """The tokenizer would make the end token of it: an example with two ends."""
    end = tokenizer.eos_token
    for line in (f"name : A || B {end} C", f"name : {end} || B"):
        path = write(tmp_path / "a.txt", f"{LINE}\n{line}\n")
        with pytest.raises(
            ValueError, match="a.txt, line 2: '.*' has .* in it, which the tokenizer"
        ):
            data.load_examples(path, tokenizer, 128)
    with pytest.raises(ValueError, match="in it, which the tokenizer reads as the end of a text"):
        data.encode_prompts(["name : A", f"name : {end}"], tokenizer)


def test_order_is_a_function_of_seed_and_epoch():
    first = epoch_batches(10, 4, seed=1, epoch=0)
    torch.rand(3)  # the global generator plays no part
    assert first == epoch_batches(10, 4, seed=1, epoch=0)
    assert [len(batch) for batch in first] == [4, 4, 2]
    assert sorted(i for batch in first for i in batch) == list(range(10))
    assert first != epoch_batches(10, 4, seed=1, epoch=1)
    assert first != epoch_batches(10, 4, seed=2, epoch=0)
    orders = [epoch_batches(50, 4, seed, epoch) for seed in range(5) for epoch in range(5)]
    assert all(a != b for a, b in itertools.combinations(orders, 2))  # nor is one another's second


@pytest.mark.parametrize("batch_size", [3, 4])
@pytest.mark.parametrize("done", [0, 2])
def test_an_examples_dropout_is_its_own_in_every_epoch(batch_size, done):
    """Whatever batch it is in, and wherever a run goes on."""
    examples = [Example([number, 1, 2], 1) for number in range(10)]
    per_epoch = len(epoch_batches(10, batch_size, 5, 0))
    given = batches_from(examples, batch_size, 5, done, 2 * per_epoch)
    found = [
        (step // per_epoch, example.ids[0], example.key)
        for step, batch in enumerate(given, done)
        for example in batch
    ]
    assert all(key == example_key(5, epoch, number) for epoch, number, key in found)
    assert len({key for *_, key in found}) == len(found) > 10


def test_collate_pads_to_the_longest_and_marks_targets():
    batch = collate([[Example([5, 6, 7, 8], 2), Example([9, 10], 1)]])
    assert batch.input_ids.tolist() == [[5, 6, 7, 8], [9, 10, 0, 0]]
    assert batch.labels.tolist() == [[-100, -100, 7, 8], [-100, 10, -100, -100]]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", f"{LINE}\n\nname : X, no bars\n", r"a.txt, line 3: no '\|\|' between context"),
        ("a.txt", " ||A pub .\n", "a.txt, line 1: the MR is empty; write it as 'name : "),
        ("a.txt", "", "a.txt has no rows; fill it, or if it is a published one fetch it again"),
        ("a.csv", "mr;ref\nname[X];A .\n", "has the one column 'mr;ref'; separate columns by com"),
        ("a.csv", "mr;ref\nname[X];A, so .\n", "has the one column 'mr;ref'; separate columns by"),
        ("a.txt", "mr,ref\nname[X],A pub .\n", r"a.txt, line 1: no '\|\|' between .* in 'mr,ref'"),
        ("a.csv", "\n", "a.csv is empty"),
        ("a.csv", "mr,ref\n", "a.csv has no rows"),
        ("a.csv", "mr,ref\nname[X,A pub .\n", r"line 2: cannot read the MR 'name\[X'; write it as"),
        ("a.csv", "name,ref\nname[X],A .\n", r"has columns \['name', 'ref'\]; it needs one of MRs"),
        (
            "a.csv",
            "mr,ref 1,ref 2\nname[X],A .,B .\n",
            "the columns ref 1, ref 2 can all be that of the texts; call one of them ref, and the "
            "others otherwise; of several texts for an MR each has a row of its own",
        ),
        (
            "a.csv",
            "mr,ref\nname[X],A .,B .\n",
            "a.csv, line 2: 3 columns, but the first",
        ),
        # Read as the official script does, the quote would take the rest of the file for a text.
        (
            "a.tsv",
            'mr\tref\nname[X]\t"A .\nname[Y]\tB .\n',
            "line 2: unexpected end .* stray double",
        ),
        (
            "a.csv",
            'mr,ref\nname[X],"A .\nname[Y],"B .\n',
            "line 2: .* expected after .* stray doub",
        ),
    ],
)
def test_bad_files(tmp_path, tokenizer, name, text, message):
    path = write(tmp_path / name, text)
    with pytest.raises(ValueError, match=message):
        data.load_examples(path, tokenizer, 192)
    with pytest.raises(ValueError, match=message):
        data.read_prompts(path)


def test_a_semicolon_in_a_header_is_no_separator_where_there_is_another(tmp_path):
    path = write(tmp_path / "a.csv", 'mr,ref,"note; by whom"\nX,X .,me\n')
    assert data.read_pairs(path, "own") == [("X", "X .")]
    path = write(tmp_path / "b.csv", "mr;ref\nX;X .\n")
    with pytest.raises(ValueError, match="separate columns by commas or tabs"):
        data.read_pairs(path, "own")


def test_mrs_that_differ_in_spaces_alone_are_told(tmp_path):
    for other in ("X leads Y ", "X\tleads Y"):
        path = write(tmp_path / "a.csv", f'mr,ref\nX leads Y,A .\n"{other}",B .\n')
        message = f"MRs 'X leads Y' and {other!r}, which the model or the scorer reads alike"
        with pytest.raises(ValueError, match=re.escape(message)):
            data.read_prompts(path, "own")


def test_missing_file(tmp_path, tokenizer):
    with pytest.raises(
        FileNotFoundError, match="is missing; .python scripts/prepare_data.py e2e. downl"
    ):
        data.load_examples(tmp_path / "nowhere.txt", tokenizer, 192)


def test_not_utf8(tmp_path, tokenizer):
    path = tmp_path / "latin.txt"
    path.write_bytes("name : Café||Café .\n".encode("latin-1"))
    with pytest.raises(ValueError, match="latin.txt, line 1: byte 10 .0xe9. is not UTF-8; conv"):
        data.load_examples(path, tokenizer, 192)


def test_example_longer_than_the_backbone(tmp_path, tokenizer):
    path = write(tmp_path / "train.txt", LINE + "\n")
    with pytest.raises(ValueError, match="line 1 has .* tokens, the backbone 8 positions; use a"):
        data.load_examples(path, tokenizer, 8)
    [example] = data.load_examples(path, tokenizer, 192)
    assert data.load_examples(path, tokenizer, len(example.ids)) == [example]


def test_the_place_of_a_row_is_its_line(tmp_path, tokenizer):
    """A table's cell may hold several."""
    text = 'mr,ref\n"name[The Mill]","The Mill is\na pub ."\nname[The Wall],{}\n'
    for name, long, place in (
        ("a.csv", text.format("It . " * 200), "line 4"),
        ("b.txt", f"{LINE}\n\n{LINE}{' and' * 200}\n", "line 3"),
    ):
        with pytest.raises(ValueError, match=f"{name}, {place} has .* tokens"):
            data.load_examples(write(tmp_path / name, long), tokenizer, 192)


def test_what_follows_the_first_bars_is_the_text(tmp_path):
    path = write(tmp_path / "train.txt", "name : The Mill||The Mill || a pub .\n")
    assert data.read_pairs(path)[0][1].strip() == "The Mill || a pub ."


ONE, TWO, OTHER = (Example(ids, 1, key) for key, ids in enumerate(([5, 6, 7], [8, 9], [3, 4]), 1))


def keys_of(*tokens: tuple[int, int]) -> list[int]:
    """Of each token, by the key of its example and its position there."""
    return [token_keys(torch.tensor(key), torch.tensor(place)).item() for key, place in tokens]


def test_a_packed_batch_by_hand():
    packed = pack([[ONE, TWO], [OTHER]])
    assert {name: rows.tolist() for name, rows in packed._asdict().items()} == {
        "input_ids": [[5, 6, 7, 8, 9], [3, 4, 0, 0, 0]],
        "keys": [
            keys_of((1, 0), (1, 1), (1, 2), (2, 0), (2, 1)),
            keys_of((3, 0), (3, 1), (0, 0), (0, 0), (0, 0)),
        ],
        "position_ids": [[0, 1, 2, 0, 1], [0, 1, 0, 0, 0]],
        "places": [[0, 1, 2], [3, 4, 3], [5, 6, 5]],  # among 2 x 5 tokens
        "origin": [0, 1, 2, 3, 4, 6, 7, 0, 0, 0],  # among 3 x 3; what is filled up takes the first
        "index": [[0, 1, 3], [5, 0, 0]],  # among 2 x 5 tokens
        "targets": [[6, 7, 9], [4, -100, -100]],
    }


def test_a_packed_batch_in_sizes_that_come_again_by_hand():
    packed = pack([[ONE, TWO]], 4)
    assert {name: rows.tolist() for name, rows in packed._asdict().items()} == {
        "input_ids": [[5, 6, 7, 8, 9, 0, 0, 0]],
        "keys": [keys_of((1, 0), (1, 1), (1, 2), (2, 0), (2, 1), (0, 0), (0, 0), (0, 0))],
        "position_ids": [[0, 1, 2, 0, 1, 0, 0, 0]],
        "places": [[0, 1, 2, 0], [3, 4, 3, 3]],
        "origin": [0, 1, 2, 4, 5, 0, 0, 0],  # among 2 x 4
        "index": [[0, 1, 3, 0]],
        "targets": [[6, 7, 9, -100]],
    }


def test_a_padded_batch_by_hand():
    padded = pad([[ONE, TWO], [OTHER]], 4)
    assert {name: rows.tolist() for name, rows in padded._asdict().items()} == {
        "input_ids": [[5, 6, 7, 0], [8, 9, 0, 0], [3, 4, 0, 0]],
        "keys": [keys_of(*((key, place) for place in range(4))) for key in (1, 2, 3)],
        "index": [[0, 1, 4, 0], [8, 0, 0, 0]],
        "targets": [[6, 7, 9, -100], [4, -100, -100, -100]],
    }


def test_a_padded_row_is_no_longer_than_the_backbones_positions():
    longest = Example([7] * 9, 3)
    assert pad([[longest]], 4).input_ids.shape == (1, 12)
    padded = pad([[longest, TWO]], 4, n_positions=10)
    assert padded.input_ids.shape == (2, 10)
    assert padded.index[0, 5:7].tolist() == [7, 10]  # the last of both: places among 2 x 10


def replaced(path, text):
    """Another text in a file, of the same length and with the same time."""
    status = path.stat()
    write(path, text)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


@pytest.mark.parametrize("name", ["a.txt", "a.csv"])
def test_the_content_decides(tmp_path, tokenizer, name):
    text = LINE if name == "a.txt" else "mr,ref\nname[The Mill],The Mill is a pub .\n"
    path = write(tmp_path / name, text)
    mill = data.load_examples(path, tokenizer, 192)
    replaced(path, text.replace("Mill", "Wall"))
    assert data.read_pairs(path)[0][1] == "The Wall is a pub ."
    wall = data.load_examples(path, tokenizer, 192)
    assert wall == data.encode(data.read_pairs(path), tokenizer) != mill
    replaced(path, text)
    assert data.load_examples(path, tokenizer, 192) == mill


def test_the_same_rows_are_encoded_once(tmp_path, tokenizer, monkeypatch):
    paths = [write(tmp_path / name, LINE) for name in ("a.txt", "b.txt")]
    first = data.load_examples(paths[0], tokenizer, 192)
    with monkeypatch.context() as patch:
        patch.setattr(data, "encode", None)
        assert data.load_examples(paths[1], tokenizer, 192) == first
        first.append(None)
        assert len(data.load_examples(paths[1], tokenizer, 192)) == 1
        with pytest.raises(ValueError, match="line 1 has .* tokens, the backbone 8 positions"):
            data.load_examples(paths[1], tokenizer, 8)
    changed = copy.deepcopy(tokenizer)
    changed.add_tokens(["Mill is"])
    assert data.load_examples(paths[0], changed, 192) != first[:1]


def test_an_mr_needs_no_name(tmp_path):
    path = write(tmp_path / "a.csv", 'mr,ref\n"eatType[pub], area[city]",A pub .\n')
    assert data.read_pairs(path) == [("Type : pub | area : city", "A pub .")]
    path = write(tmp_path / "a.txt", "Type : pub||A pub .\nname : ||A pub .\n")
    assert data.read_prompts(path) == [("Type : pub", "Type : pub"), ("name : ", "name : ")]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a.csv", 'MR\n"name[A], food[B]"\nname[C]\n'),
        ("a.tsv", "MR\nname[A], food[B]\nname[C]\n"),
        ("a.txt", "name : A | food : B\nname : C\n"),
    ],
)
def test_a_test_set_without_texts_is_decoded_alone(tmp_path, tokenizer, name, text):
    path = write(tmp_path / name, text)
    assert [context for _, context in data.read_prompts(path)] == [
        "name : A | food : B",
        "name : C",
    ]
    with pytest.raises(ValueError, match=f"{name} has MRs but no texts; a file to train on needs"):
        data.load_examples(path, tokenizer, 192)


def test_a_tokenizer_of_another_model(tmp_path, tokenizer):
    path = write(tmp_path / "train.txt", LINE)
    [example] = data.load_examples(path, tokenizer, 192, vocab_size=len(tokenizer))
    largest = max(example.ids)
    text = f"line 1 holds token id {largest}, the model knows 0 to {largest - 1}: use the tokenizer"
    with pytest.raises(ValueError, match=text):
        data.load_examples(path, tokenizer, 192, vocab_size=largest)


def parse_triple(row: dict) -> Row:
    """`The Mill | food | Thai => The Mill serves Thai .`"""
    triple, separator, text = row["text"].partition(" => ")
    if not separator:
        raise ValueError(f"no ' => ' in {row['text']!r}")
    return Row(triple, triple.replace(" | ", " : "), text)


def lines_of(records: list[dict]) -> list[str]:
    return [f"{' | '.join(record['triple'])} => {record['text']}" for record in records]


def read_json(path):
    """One JSON list of records, which no reader of base.py knows."""
    records = json.loads(Path(path).read_text())
    return {"text": lines_of(records)}


@pytest.mark.parametrize("read", [read_text, read_json])
def test_another_data_set_is_a_source_and_a_line(tmp_path, tokenizer, monkeypatch, read):
    source = Source(read, parse_triple, suffixes=(".nt",), metrics=("BLEU",))
    monkeypatch.setitem(DATASETS, "triples", source)
    records = [{"triple": ["The Mill", "food", food], "text": f"{food} ."} for food in "ABA"]
    text = json.dumps(records) if read is read_json else "\n".join(lines_of(records))
    path = write(tmp_path / "train.nt", text)
    a, b = "The Mill | food | A", "The Mill | food | B"
    contexts = ["The Mill : food : A", "The Mill : food : B"]
    for name in ("triples", None):  # named, or guessed from the suffix
        assert data.read_prompts(path, name) == list(zip((a, b), contexts, strict=True))
    assert count_examples(path, "triples") == (3, 2)
    pairs = [(contexts[0], "A ."), (contexts[1], "B ."), (contexts[0], "A .")]
    assert data.load_examples(path, tokenizer, 192, "triples") == data.encode(pairs, tokenizer)
    if read is read_text:
        write(path, f"{text}\nno arrow\n")
        with pytest.raises(ValueError, match="train.nt, line 4: no ' => ' in 'no arrow'"):
            data.load_examples(path, tokenizer, 192, "triples")


def test_a_files_suffix_decides_where_it_is_another_data_sets(monkeypatch):
    e2e, raw = DATASETS["e2e"], DATASETS["e2e_raw"]
    assert [source_of(f"x{suffix}") for suffix in (".txt", ".csv", ".dat")] == [e2e, raw, e2e]
    assert source_of("x.csv", "e2e") is raw and source_of("x.txt", "e2e_raw") is e2e
    assert source_of("x.dat", "e2e_raw") is raw
    mine = Source(read_text, parse_triple, suffixes=(".csv",))
    monkeypatch.setitem(DATASETS, "mine", mine)
    assert source_of("x.csv", "mine") is mine and source_of("x.csv") is raw
    with pytest.raises(ValueError, match="data.name is 'e2f'; known: e2e, e2e_raw, .*, mine$"):
        source_of("x.txt", "e2f")


def test_configs_say_what_the_data_sets_say():
    folder = Path(__file__).resolve().parents[3] / "configs" / "data"
    paths = sorted(folder.glob("*.yaml"))
    assert {path.stem for path in paths} == {"demo", *DATASETS}
    for path in paths:
        options = yaml.safe_load(path.read_text())
        source = DATASETS[options["name"]]
        assert source.metrics in SETS
        for split, file in source.splits.items():
            assert options[f"{split}_path"] == f"${{data.dir}}/{file.name}"
            if path.stem != "demo":  # made, not fetched
                assert options["sha256"][split] == file.sha256
        if source.splits:  # of data of one's own any file that the scorer reads may be it
            assert options["references_path"] == "${data.test_path}"
