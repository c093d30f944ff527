"""Rows of a data file -> encoded examples, exactly as LoRA's E2E recipe encodes them.

An example is `context` BPE + [end of text] + BPE of (" " + completion) + [end of text]; the loss
looks only at the completion and its end token (microsoft/LoRA: examples/NLG/src/gpt2_encode.py).
What a row holds is each data set's to say (solo/datasets/base.py); every function here takes the
data set's `name` as configs/data gives it, or guesses it from the file's suffix.
"""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from solo.datasets import source_of
from solo.datasets.base import Row, Source
from solo.files import config_hash, file_sha256


@dataclass(frozen=True)
class Example:
    """Token ids of one training example; `ids[:n_context]` carry no loss."""

    ids: list[int]
    n_context: int

    @property
    def n_targets(self) -> int:
        return len(self.ids) - self.n_context


def read_rows(path: Path, name: str | None = None) -> list[Row]:
    """The rows of a file, in order.

    Raises FileNotFoundError for a missing file, ValueError (file and row) for one without rows, of
    another kind, or with a row that cannot be parsed.
    """
    source = source_of(path, name)
    table = source.read(path)
    return _parse(path, source, table if isinstance(table, dict) else table[:], first_row=1)


def read_pairs(path: Path, name: str | None = None) -> list[tuple[str, str]]:
    """(context, completion) of every row; raises what read_rows raises."""
    return [(row.context, row.completion) for row in read_rows(path, name)]


def read_prompts(path: Path, name: str | None = None) -> list[tuple[str, str]]:
    """(MR as read, context) of a test file: each distinct MR once, in file order.

    Raises what read_rows raises.
    """
    return list({row.mr: row.context for row in read_rows(path, name)}.items())


def load_examples(
    path: Path, tokenizer, n_positions: int, name: str | None = None
) -> list[Example]:
    """The encoded examples of a file, kept in the cache of `datasets` by content and tokenizer.

    Without that package they are encoded each time: some seconds for E2E.

    Raises what read_rows raises, and ValueError for an example that is longer than the backbone's
    `n_positions`.
    """
    source = source_of(path, name)

    def encode_rows(columns: Mapping[str, Sequence], indices: list[int]) -> dict:
        rows = _parse(path, source, columns, first_row=indices[0] + 1)
        examples = encode([(row.context, row.completion) for row in rows], tokenizer)
        return {"ids": [e.ids for e in examples], "n_context": [e.n_context for e in examples]}

    table = source.read(path)
    if isinstance(table, dict):
        encoded = encode_rows(table, [0])
    else:
        code = file_sha256(inspect.getfile(source.parse))  # another parser, another result
        key = [file_sha256(path), code, tokenizer.backend_tokenizer.to_str(), "v1"]
        encoded = table.map(
            encode_rows,
            batched=True,
            with_indices=True,
            remove_columns=table.column_names,
            new_fingerprint=config_hash(key),
        )[:]
    examples = [Example(*row) for row in zip(encoded["ids"], encoded["n_context"], strict=True)]
    for row, example in enumerate(examples, 1):
        if len(example.ids) > n_positions:
            raise ValueError(
                f"{path}, row {row} has {len(example.ids)} tokens, the backbone {n_positions} "
                "positions; use a backbone with more positions"
            )
    return examples


def _parse(
    path: Path, source: Source, columns: Mapping[str, Sequence], first_row: int
) -> list[Row]:
    """The rows of a slice of a table; an error names the file and the row (a text file's line)."""
    rows = []
    for number, values in enumerate(zip(*columns.values(), strict=True), first_row):
        try:
            rows.append(source.parse(dict(zip(columns, values, strict=True))))
        except ValueError as error:
            raise ValueError(f"{path}, row {number}: {error}") from None
    return rows


def encode(pairs: list[tuple[str, str]], tokenizer) -> list[Example]:
    """Encode (context, completion) pairs."""
    prompts = encode_prompts([context for context, _ in pairs], tokenizer)
    completions = _token_ids([" " + completion for _, completion in pairs], tokenizer)
    end = tokenizer.eos_token_id
    return [
        Example([*prompt, *completion, end], len(prompt))
        for prompt, completion in zip(prompts, completions, strict=True)
    ]


def encode_prompts(contexts: list[str], tokenizer) -> list[list[int]]:
    """What a decoder starts from: the context's tokens and the separator."""
    return [[*ids, tokenizer.eos_token_id] for ids in _token_ids(contexts, tokenizer)]


def _token_ids(texts: list[str], tokenizer) -> list[list[int]]:
    return tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []
