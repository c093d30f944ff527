"""Plain text for pretraining: documents -> tokens.

Documents are separated by a line `<|endoftext|>`; a file may be compressed (.xz).
"""

from __future__ import annotations

import lzma
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import transformers
from tokenizers import ByteLevelBPETokenizer

from solo.files import atomic, config_hash, file_sha256

END_OF_TEXT = "<|endoftext|>"
CHARACTERS_AT_ONCE = 2**24  # enough documents for every core; their encodings take about 1 GB


def find_files(root: Path, patterns: list[str]) -> list[Path]:
    """The files under `root` that match, in order. FileNotFoundError: a pattern has none."""
    files = []
    for pattern in patterns:
        found = sorted(Path(root).glob(pattern))
        if not found:
            raise FileNotFoundError(f"no file matches {pattern!r} in {root}")
        files += found
    return files


def documents(files: list[Path]) -> Iterator[str]:
    """The documents of UTF-8 text files (.xz or plain), one string each."""
    for path in files:
        opener = lzma.open if path.suffix == ".xz" else open
        lines: list[str] = []
        with opener(path, "rt", encoding="utf-8") as file:
            for line in file:
                if line.strip() == END_OF_TEXT:
                    yield "".join(lines)
                    lines = []
                else:
                    lines.append(line)
        if lines:
            yield "".join(lines)


def lines(files: list[Path]) -> Iterator[str]:
    """The lines of all documents."""
    return (line for document in documents(files) for line in document.splitlines())


def train_tokenizer(files: list[Path], vocab_size: int) -> transformers.PreTrainedTokenizerFast:
    """A byte-level BPE of GPT-2's kind, trained on `files` with `vocab_size` entries."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(
        documents(files), vocab_size, special_tokens=[END_OF_TEXT], show_progress=False
    )
    return transformers.PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, eos_token=END_OF_TEXT, bos_token=END_OF_TEXT
    )


def token_stream(files: list[Path], tokenizer, cache_dir: Path) -> np.ndarray:
    """All documents as one array of token ids (uint16 or uint32), each ended by the end token.

    The documents of a batch are encoded in parallel, on all cores. Cached under `cache_dir` by the
    content of the files and of the tokenizer, and read back as a memory map; the first call holds
    all tokens in memory, twice.
    """
    key = [file_sha256(path) for path in files] + [tokenizer.backend_tokenizer.to_str()]
    path = Path(cache_dir) / f"tokens-{config_hash(key)}.npy"
    if not path.exists():
        dtype = np.uint16 if len(tokenizer) < 2**16 else np.uint32
        parts = [_encode(batch, tokenizer, dtype) for batch in _batches(documents(files))]
        with atomic(path) as temporary, open(temporary, "wb") as file:
            np.save(file, np.concatenate(parts))
    return np.load(path, mmap_mode="r")


def _batches(texts: Iterable[str]) -> Iterator[list[str]]:
    batch, size = [], 0
    for text in texts:
        batch.append(text)
        size += len(text)
        if size >= CHARACTERS_AT_ONCE:
            yield batch
            batch, size = [], 0
    yield batch


def _encode(texts: list[str], tokenizer, dtype) -> np.ndarray:
    encoded = tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
    end = [tokenizer.eos_token_id]
    parts = [np.array(ids + end, dtype=dtype) for ids in (e.ids for e in encoded)]
    return np.concatenate([np.empty(0, dtype), *parts])
