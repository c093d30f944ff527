"""Each architecture from a checkpoint on disk to outputs, by the scripts, in miniature."""

import json
import math
from pathlib import Path

import pytest

from solo.files import read_json
from solo.standin.demo_data import write_demo_data
from tests.architectures import OTHERS, byte_level_tokenizer, llama_tokenizer, make_backbone

METHODS = ("solo", "lora", "lor2c", "full")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    write_demo_data(folder, train_rows=8, valid_rows=2, test_mrs=2)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A function from an architecture to the folder of a tiny checkpoint of it."""
    tokenizers = {"llama": llama_tokenizer()}
    byte_level = byte_level_tokenizer()

    def make(architecture: str):
        folder = tmp_path_factory.mktemp(architecture)
        tokenizer = tokenizers.get(architecture, byte_level)
        sizes = {"vocab_size": len(tokenizer), "max_position_embeddings": 512}
        make_backbone(architecture, **sizes).save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        return folder

    return make


def settings(folder, data, tmp_path) -> list[str]:
    return [
        f"model.path={folder}", "data=demo", f"data.dir={data}", f"runs_dir={tmp_path}/runs",
        "train.max_steps=2", "train.log_every=1", "decode.max_new_tokens=4", "decode.beam=2",
    ]  # fmt: skip


@pytest.mark.parametrize("architecture", OTHERS)
def test_train_and_decode(run_script, checkpoint, data, tmp_path, architecture):
    """Solo, LoRA, LoR2C and full fine-tuning, as a sweep over adapters.

    Decoded are Solo's and one of the others; what follows reads text alone.
    """
    arguments = settings(checkpoint(architecture), data, tmp_path)
    result = run_script("scripts/train.py", "-m", f"adapter={','.join(METHODS)}", *arguments)
    assert result.code == 0, result.err
    runs = [Path(line) for line in result.out.splitlines()]
    assert sorted(run.name.split("-")[0] for run in runs) == sorted(METHODS)
    for run in runs:
        lines = [json.loads(line) for line in (run / "train_log.jsonl").read_text().splitlines()]
        losses = [line["loss"] for line in lines if "loss" in line]
        assert len(losses) == 2 and all(map(math.isfinite, losses))
        backbone = read_json(run / "environment.json")["train"]["backbone"]
        assert backbone["model_type"] == architecture
    other = METHODS[1 + OTHERS.index(architecture) % 3]
    for run in runs:
        if run.name.startswith(("solo-", f"{other}-")):
            result = run_script("scripts/decode.py", f"run={run}")
            assert result.code == 0, result.err
            assert len(Path(result.out.strip()).read_text().splitlines()) == 1 + 2


def test_a_method_of_gpt2_is_refused_before_anything_is_loaded(
    run_script, checkpoint, data, tmp_path
):
    folder = checkpoint("llama")
    (folder / "model.safetensors").write_bytes(b"no weights")
    arguments = settings(folder, data, tmp_path)
    result = run_script("scripts/train.py", "adapter=prefix", *arguments)
    assert result.code == 1
    [line] = result.err.strip().splitlines()
    assert "adapter prefix does not work on a backbone of type llama: " in line
    assert "; these do: none, full, solo, lora, lor2c, " in line
