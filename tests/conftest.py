"""Small things that many tests need: a tiny GPT-2, a tiny tokenizer, a checkpoint on disk."""

import functools
import gc
import os
import time
from pathlib import Path

import pytest
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from eval.metrics import meteor
from solo import files
from solo.cli.command import keep_freed_memory

END = "<|endoftext|>"
keep_freed_memory()  # as every command does


def pytest_collection_finish() -> None:
    """A million objects of libraries and tests stay: to look through them again and again for what
    can go takes a twentieth of the tests' time."""
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def make_model(n_layer: int = 6, seed: int = 0, vocab_size: int = 61) -> GPT2LMHeadModel:
    """A random GPT-2 of width 16 without dropout, in eval mode; biases and LayerNorms, too."""
    torch.manual_seed(seed)
    config = GPT2Config(
        n_layer=n_layer, n_embd=16, n_head=2, n_positions=400, vocab_size=vocab_size,
        resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, initializer_range=0.3,
        bos_token_id=0, eos_token_id=0,
    )  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():  # transformers starts them at zero and one, where an error would not show
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=draws))
    return model


@pytest.fixture(autouse=True, scope="session")
def notes_of_outputs(tmp_path_factory) -> None:
    """What the tests write is not noted in the checkout."""
    files.OUTPUTS = tmp_path_factory.mktemp("cache") / "outputs.txt"


@pytest.fixture(autouse=True, scope="session")
def one_table_of_paraphrases() -> None:
    """METEOR's table, which nothing changes, is unpacked once: for every score it is a second."""
    meteor.read_paraphrases = functools.cache(meteor.read_paraphrases)


@pytest.fixture
def model() -> GPT2LMHeadModel:
    return make_model()


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(0, 61, (3, 9), generator=torch.Generator().manual_seed(5))


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    bpe = ByteLevelBPETokenizer()
    text = ["name : The Mill | Type : pub", " The Mill is a pub near Old Bridge ."] * 50
    bpe.train_from_iterator(text, 300, special_tokens=[END], show_progress=False)
    return PreTrainedTokenizerFast(tokenizer_object=bpe._tokenizer, eos_token=END)


@pytest.fixture
def checkpoint_dir(tmp_path, tokenizer) -> Path:
    """A tiny GPT-2 checkpoint in the hub's format."""
    directory = tmp_path / "backbone"
    make_model(vocab_size=len(tokenizer)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


class Clock:
    """A clock that goes on only where it is told to. seconds: what it shows."""

    seconds = 0.0

    def taking(self, spent: float, function):
        """`function`, a call of which takes so long by this clock."""

        def timed(*args, **options):
            self.seconds += spent
            return function(*args, **options)

        return timed


@pytest.fixture
def clock(monkeypatch) -> Clock:
    """In place of time.monotonic."""
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", lambda: clock.seconds)
    return clock


@pytest.fixture
def real(request):
    """A function from an environment variable to the directory of real data that it names."""

    def find(variable: str) -> Path:
        if not os.environ.get(variable):
            pytest.skip(f"{variable} is not set: no real data at hand")
        return Path(os.environ[variable])

    return find
