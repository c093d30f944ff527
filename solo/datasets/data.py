"""Rows of a data file -> encoded examples, exactly as LoRA's E2E recipe encodes them.

An example is `context` BPE + [end of text] + BPE of (" " + completion) + [end of text]; the loss
looks only at the completion and its end token (microsoft/LoRA: examples/NLG/src/gpt2_encode.py).
With another tokenizer than GPT-2's the end of text is its own, and what it puts before a text (the
beginning token of Llama's and OPT's, say) stands before the context.
What a row holds is each data set's to say (solo/datasets/base.py); every function here takes the
data set's `name` as configs/data gives it, or guesses it from the file's suffix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from solo.datasets import source_of
from solo.datasets.base import Row
from solo.options import check

_encoded: dict[tuple, list] = {}  # by rows and tokenizer: the examples of a run's two files


@dataclass(frozen=True)
class Example:
    """Token ids of one training example; `ids[:n_context]` carry no loss.

    key: what its dropout is drawn by, in the epoch at hand (solo/adapters/shared/dropout.py).
    """

    ids: list[int]
    n_context: int
    key: int = 0

    @property
    def n_targets(self) -> int:
        return len(self.ids) - self.n_context


def read_rows(path: Path, name: str | None = None) -> list[Row]:
    """The rows of a file, in order.

    Raises FileNotFoundError for a missing file, ValueError (file and line) for one without rows, of
    another kind, or with a row that cannot be parsed.
    """
    source = source_of(path, name)
    try:
        columns = source.read(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; {source.remedy}") from None
    rows = []
    for i, values in enumerate(zip(*columns.values(), strict=True)):
        try:
            rows.append(source.parse(dict(zip(columns, values, strict=True))))
        except ValueError as error:
            raise ValueError(f"{path}, {_place(columns, i)}: {error}") from None
    return rows


def _place(columns: Mapping[str, Sequence], i: int) -> str:
    """Where row i (from 0) stands, in words."""
    return f"line {columns['line'][i]}" if "line" in columns else f"row {i + 1}"


def read_pairs(path: Path, name: str | None = None) -> list[tuple[str, str]]:
    """(context, completion) of every row.

    Raises what read_rows raises, and ValueError for a file of MRs alone or with an empty text.
    """
    pairs = [(row.context, row.completion) for row in read_rows(path, name)]
    if any(completion is None for _, completion in pairs):
        raise ValueError(
            f"{path} has MRs but no texts; a file to train on needs both (columns mr, ref)"
        )
    for i, (_, completion) in enumerate(pairs):
        if not completion.strip():
            place = _place(source_of(path, name).read(path), i)
            raise ValueError(f"{path}, {place}: the text is empty; write one, or leave the row out")
    return pairs


def read_prompts(path: Path, name: str | None = None) -> list[tuple[str, str]]:
    """(MR as read, context) of a test file: each distinct MR once, in file order.

    Raises what read_rows raises, and ValueError for two MRs that differ in their spaces alone, or
    by a tab, for which a file of predictions has a space.
    """
    prompts = list({row.mr: row.context for row in read_rows(path, name)}.items())
    first: dict[str, str] = {}
    for mr, context in prompts:
        other = first.setdefault(context.replace("\t", " "), mr)
        if other != mr:
            raise ValueError(
                f"{path} has the MRs {other!r} and {mr!r}, which the model or the scorer "
                "reads alike; write them alike, so that they count as one"
            )
    return prompts


def load_examples(
    path: Path, tokenizer, n_positions: int, name: str | None = None, vocab_size: int | None = None
) -> list[Example]:
    """The encoded examples of a file.

    The file is read on every call. Its encoding, which takes ten times as long (two seconds for
    E2E's training file), is kept for this process's next run on the same rows.

    Raises what read_pairs raises, and ValueError for an example that is longer than the backbone's
    `n_positions`, or has a token that is not among its `vocab_size`.
    """
    pairs = tuple(read_pairs(path, name))
    for i, texts in enumerate(pairs):
        if words := next(filter(None, (_unreadable(text, tokenizer) for text in texts)), None):
            place = _place(source_of(path, name).read(path), i)
            raise ValueError(f"{path}, {place}: {words}, or leave the row out")
    key = (pairs, tokenizer.backend_tokenizer.to_str(), tokenizer.eos_token_id)
    if key not in _encoded:
        while len(_encoded) > 1:
            del _encoded[next(iter(_encoded))]
        _encoded[key] = encode(pairs, tokenizer)
    for i, example in enumerate(_encoded[key]):
        if words := _unfit(example, n_positions, vocab_size):
            place = _place(source_of(path, name).read(path), i)
            raise ValueError(f"{path}, {place} {words}")
    return list(_encoded[key])


def _unfit(example: Example, n_positions: int, vocab_size: int | None) -> str | None:
    """Why a backbone cannot take an example, in words."""
    if len(example.ids) > n_positions:
        return (
            f"has {len(example.ids)} tokens, the backbone {n_positions} positions; use a backbone "
            "with more positions, or leave it out"
        )
    if vocab_size is not None and max(example.ids) >= vocab_size:
        return (
            f"holds token id {max(example.ids)}, the model knows 0 to {vocab_size - 1}: use the "
            "tokenizer that belongs to the model"
        )
    return None


def encode(pairs: Sequence[tuple[str, str]], tokenizer) -> list[Example]:
    """Encode (context, completion) pairs."""
    contexts = list(dict.fromkeys(context for context, _ in pairs))  # E2E repeats each nine times
    prompts = dict(zip(contexts, encode_prompts(contexts, tokenizer), strict=True))
    space = _space(tokenizer)
    completions = _token_ids([space + completion for _, completion in pairs], tokenizer)
    end = tokenizer.eos_token_id
    return [
        Example([*prompts[context], *completion, end], len(prompts[context]))
        for (context, _), completion in zip(pairs, completions, strict=True)
    ]


def encode_prompts(contexts: list[str], tokenizer) -> list[list[int]]:
    """What a decoder starts from: the context's tokens and the separator."""
    start, end = _beginning(tokenizer), tokenizer.eos_token_id
    return [[*start, *ids, end] for ids in _token_ids(contexts, tokenizer)]


def _beginning(tokenizer) -> list[int]:
    """What the tokenizer itself puts before a text: nothing in GPT-2, a token in Llama and OPT."""
    whole, [bare] = tokenizer("a")["input_ids"], _token_ids(["a"], tokenizer)
    starts = range(len(whole) - len(bare) + 1)
    return whole[: next((i for i in starts if whole[i : i + len(bare)] == bare), 0)]


def _space(tokenizer) -> str:
    """What makes a text go on after another: a space, unless the tokenizer puts one there itself.

    Llama's first ones do, before every text; a second space would be a token of its own.
    """
    both, first, alone = _token_ids(["a b", "a", "b"], tokenizer)
    return "" if both == [*first, *alone] else " "


def _unreadable(text: str, tokenizer) -> str | None:
    """Why a tokenizer would read a text otherwise than it is written, in words."""
    end = tokenizer.eos_token
    if end and end in text:
        return (
            f"{text[:60]!r} has {end!r} in it, which the tokenizer reads as the end of a text; "
            "write it otherwise"
        )
    return None


def _token_ids(texts: list[str], tokenizer) -> list[list[int]]:
    if not texts:
        return []
    for text in texts:
        words = _unreadable(text, tokenizer)
        check(not words, words)
    return tokenizer(texts, add_special_tokens=False, return_attention_mask=False)["input_ids"]
