"""A run's name stays where nothing that decides its numbers changes, and only there."""

import hashlib
import json
import os
import shutil
import time
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import pytest

from solo import adapters, files
from solo.adapters import METHODS, make_config
from solo.backbones.loading import load_tokenizer
from solo.runs import identity
from solo.runs.config import DecodeConfig
from solo.runs.identity import decoding_identity, default_values, resolved, short_name
from solo.runs.run import make_run
from solo.training.recipe import TrainConfig
from tests.conftest import make_model
from tests.solo.runs.conftest import changed


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 2}, {"adapter": {"rank": 5}}, {"adapter": {"start": 3}}, {"train": {"lr": 1e-3}},
        {"train": {"max_steps": 2}}, {"train": {"precision": "bf16"}},
        {"train": {"packed": False}},
    ],
)  # fmt: skip
def test_what_decides_the_weights_names_another_directory(config, change):
    assert make_run(changed(config, **change)).directory != make_run(config).directory


def test_what_decides_nothing_keeps_the_directory(config):
    run = make_run(config)
    same = changed(
        config,
        adapter={"variant": "paper", "dropout": 0.1},  # the defaults, spelt out
        train={"log_every": 7, "save_every": 3, "valid_batch_size": 5, "compile": True},
        decode={"batch_size": 9, "output": "elsewhere.tsv"},
        row="table1/solo_s",
        together=False,
    )
    assert make_run(same).directory == run.directory
    assert make_run(same).decoding == run.decoding


def test_the_content_of_a_file_decides_within_a_process_too(tmp_path, monkeypatch):
    path, status = tmp_path / "a.txt", None
    for settled in (files.SETTLED_NS, 0):  # 0: as if the file had long been as it is
        monkeypatch.setattr(files, "SETTLED_NS", settled)
        for content in (b"old", b"new"):
            time.sleep(0.02)  # more than a tick of the file system's clock
            path.write_bytes(content)
            os.utime(path, (1, 1))
            status = status or path.stat()
            assert path.stat()[:7] == status[:7] and path.stat().st_mtime == status.st_mtime
            for _ in range(2):
                assert files.file_sha256(path) == hashlib.sha256(content).hexdigest()
    assert files.file_sha256.cache_info().hits >= 2


def test_a_file_that_changed_just_now_is_read_again_though_its_times_are_alike(
    tmp_path, monkeypatch
):
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")
    status = os.stat(path)
    with monkeypatch.context() as patched:  # a clock of the file system that stands still
        patched.setattr(files.os, "stat", lambda *args, **options: status)
        for content in (b"old", b"new"):
            path.write_bytes(content)
            assert files.file_sha256(path) == hashlib.sha256(content).hexdigest()


def test_one_rate_has_one_name_however_it_is_written(config):
    names = {make_run(changed(config, train={"lr": lr})).name for lr in (1, 1.0)}
    assert len(names) == 1


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_another_backbone_is_another_run(config, checkpoint_dir, tmp_path, name, tokenizer):
    """Other heads, another tokenizer, other weights: each alone."""
    run = make_run(config)
    other = shutil.copytree(checkpoint_dir, tmp_path / "other" / checkpoint_dir.name)
    moved = changed(config, model={"path": str(other)})
    assert make_run(moved).directory == run.directory  # the place does not matter
    if name == "config.json":
        shape = json.loads((other / name).read_text())
        (other / name).write_text(json.dumps(shape | {"transformers_version": "9.9.9"}))
        assert make_run(moved).directory == run.directory  # a label does not matter either
        (other / name).write_text(json.dumps(shape | {"n_head": 4}))
    elif name == "tokenizer.json":
        text = (other / name).read_text(encoding="utf-8")
        (other / name).write_text(text + " ", encoding="utf-8")
    else:
        make_model(seed=9, vocab_size=len(tokenizer)).save_pretrained(other)
    assert make_run(moved).directory != run.directory


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_backbone_of_the_same_weights_with_another_file_is_told(
    config, checkpoint_dir, tmp_path, name
):
    trained = make_run(config).identity["model"]
    other = shutil.copytree(checkpoint_dir, tmp_path / "other")
    identity.check_same_model(trained, str(other), None)
    text = (other / name).read_text(encoding="utf-8")
    text = text.replace('"n_head": 2', '"n_head": 4') if name == "config.json" else text + " "
    (other / name).write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match="has the weights of the backbone .* another config.json"):
        identity.check_same_model(trained, str(other), None)


def test_data_counts_by_content(config, tmp_path):
    run = make_run(config)
    path = Path(config.data.train_path)
    copy = tmp_path / "elsewhere.txt"
    shutil.copyfile(path, copy)
    assert make_run(changed(config, data={"train_path": str(copy)})).directory == run.directory
    copy.write_text(copy.read_text(encoding="utf-8") + "name : A||A .\n", encoding="utf-8")
    assert make_run(changed(config, data={"train_path": str(copy)})).directory != run.directory


def test_every_option_is_in_the_table_of_defaults():
    """A new option enters the table with the value that earlier runs had without knowing it."""
    for group, cls, free in (
        ("train", TrainConfig, identity.NO_EFFECT),
        ("decode", DecodeConfig, identity.NO_EFFECT_ON_OUTPUTS),
    ):
        options = {option.name for option in fields(cls)} - set(free)
        assert options == set(default_values(None)[group]), group
    for name in METHODS:
        options = asdict(resolved(make_config({"name": name})[1]))
        assert set(options) == set(default_values(name)["adapter"]), name


def test_a_new_option_at_its_default_leaves_every_finished_run(config, monkeypatch):
    finished = {name: make_run(changed(config, seed=seed)).name for name, seed in (("a", 1),)}
    table = files.read_json(identity.DEFAULTS)
    table["train"]["clip"] = None
    table["adapter"]["solo"]["tilt"] = 0.0

    @dataclass(frozen=True)
    class NewSolo(METHODS["solo"].Config):
        tilt: float = 0.0

    monkeypatch.setattr(identity, "_table", lambda: table)
    monkeypatch.setattr(METHODS["solo"], "Config", NewSolo)
    new = changed(config)
    _, adapter = make_config({"name": "solo", "rank": 4, "sparsity": 0.4})
    new = changed(config, adapter=adapter)
    assert {"a": make_run(new).name} == finished
    _, adapter = make_config({"name": "solo", "rank": 4, "sparsity": 0.4, "tilt": 0.5})
    assert make_run(changed(config, adapter=adapter)).name != finished["a"]


def test_a_changed_default_moves_the_runs_that_get_it(config):
    """The table, not the code, says what a short name leaves out."""
    identity_now = make_run(config).identity
    other = identity_now | {"train": identity_now["train"] | {"eps": 1e-8}}
    assert short_name(other) != short_name(identity_now)


def test_the_registry_has_no_method_outside_the_table():
    assert set(files.read_json(identity.DEFAULTS)["adapter"]) == set(adapters.METHODS)


def test_as_which_data_set_a_file_is_read_counts(config, tmp_path):
    """The same bytes, read otherwise, are other rows; a suffix may say more than the name does."""
    copies = {}
    for split in ("train", "valid", "test"):
        copies[f"{split}_path"] = str(tmp_path / split)  # without a suffix: the name decides
        shutil.copyfile(getattr(config.data, f"{split}_path"), tmp_path / split)
    run = make_run(changed(config, data=copies))
    raw = make_run(changed(config, data=copies | {"name": "e2e_raw"}))
    assert raw.identity["data"]["train_kind"] == "e2e_raw"
    assert raw.directory != run.directory and raw.decoding.name != run.decoding.name
    by_suffix = changed(config, data={"name": "e2e_raw"})  # .txt
    assert make_run(by_suffix).decoding == make_run(config).decoding == run.decoding


def test_runs_from_before_data_sets_counted_keep_their_names(config):
    training, decoding = make_run(config).identity, decoding_identity(config)
    sums = {split: training["data"][split] for split in ("train", "valid")}
    assert short_name(training | {"data": sums}) == short_name(training)
    earlier = {"decode": decoding["decode"], "test": decoding["test"]}
    assert short_name(earlier) == short_name(decoding) and earlier != decoding


def test_tokens_that_only_the_files_beside_a_tokenizers_own_name_count(config, checkpoint_dir):
    """They are taken out of a text before anything else, so that the same text has other ids."""
    run, file = make_run(config), checkpoint_dir / "tokenizer_config.json"
    before, text = json.loads(file.read_text()), "The Mill is a pub ."
    ids = load_tokenizer(checkpoint_dir).encode(text)
    for change in (
        {"extra_special_tokens": ["Mill"]}, {"pad_token": "Mill"},
        {"extra_special_tokens": {"mill": "Mill"}}, {"unk_token": "Mill"},
    ):  # fmt: skip
        file.write_text(json.dumps(before | change))
        assert load_tokenizer(checkpoint_dir).encode(text) != ids
        assert make_run(config).identity["model"]["tokenizer_tokens"] == ["Mill"]
    file.write_text(json.dumps(before | {"pad_token": "<|endoftext|>"}))
    assert make_run(config).directory == run.directory


def test_an_end_of_text_that_only_the_tokenizers_config_names_counts(config, checkpoint_dir):
    """As the older checkpoints have it; that of GPT-2 leaves earlier names where they are."""
    run, file = make_run(config), checkpoint_dir / "tokenizer_config.json"
    assert "end_token" not in run.identity["model"]
    values = json.loads(file.read_text())
    for token, moved in (({"content": "<|endoftext|>"}, False), ("</s>", True), (None, False)):
        file.write_text(json.dumps(values | {"eos_token": token}))
        assert (make_run(config).directory != run.directory) == moved
    own = checkpoint_dir / "tokenizer.json"
    tokenizer = json.loads(own.read_text())
    for kind, dropped in (("ByteLevel", False), ("TemplateProcessing", True)):
        # A token before every text, or none: then what the file itself would add is dropped, too.
        own.write_text(json.dumps(tokenizer | {"post_processor": {"type": kind}}))
        file.write_text(json.dumps(values))
        run = make_run(config)
        for value, moved in ((False, dropped), (True, True)):
            file.write_text(json.dumps(values | {"add_bos_token": value}))
            assert (make_run(config).directory != run.directory) == moved
        assert make_run(config).identity["model"]["tokenizer_adds"] == ["add_bos_token"]
