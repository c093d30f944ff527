"""E2E rows -> examples -> batches, exactly as LoRA's E2E recipe encodes them (design: section 2).

An example is `context` BPE + [end of text] + BPE of (" " + completion) + [end of text]; the loss
looks only at the completion and its end token. Two sources give the same pairs: LoRA's linearised
files (`context||completion` lines; LoRA: examples/NLG/src/format_converting_e2e.py, gpt2_encode.py)
and the official CSVs (columns mr, ref), whose MRs are linearised alike.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import torch

from solo.files import config_hash, file_sha256

IGNORED = -100  # torch's cross_entropy leaves such labels out
SLOT = re.compile(r"\s*([^,\[\]]+)\[([^\[\]]*)\]\s*(?:,|$)")
SLOT_NAMES = {"eatType": "Type", "priceRange": "price", "familyFriendly": "family friendly"}


@dataclass(frozen=True)
class Example:
    """Token ids of one training example; `ids[:n_context]` carry no loss."""

    ids: list[int]
    n_context: int

    @property
    def n_targets(self) -> int:
        return len(self.ids) - self.n_context


def linearise(mr: str) -> str:
    """`name[X], eatType[pub]` -> `name : X | Type : pub`, as LoRA's files write it.

    Raises ValueError for text that is not a list of slot[value], or that has no name.
    """
    slots, end = [], 0
    for match in SLOT.finditer(mr):
        if match.start() != end:
            break
        slots.append((match[1].strip(), match[2].strip()))
        end = match.end()
    if not slots or end != len(mr):
        raise ValueError(f"cannot read the MR {mr!r}; write it as name[X], eatType[pub], ...")
    if not any(name == "name" and value for name, value in slots):
        raise ValueError(f"the MR {mr!r} has no name; every MR needs name[...]")
    parts = [f"{SLOT_NAMES.get(name, name)} : {_space_symbols(value)}" for name, value in slots]
    return " | ".join(parts)


def _space_symbols(value: str) -> str:
    """LoRA's files are tokenised: a pound sign stands apart from its number, and so on."""
    return re.sub(r"\s+", " ", re.sub(r"(£|-)", r" \1 ", value)).strip()


def read_pairs(path: Path) -> list[tuple[str, str]]:
    """(context, completion) pairs of a file: `.csv` is read as official, anything else as LoRA's.

    Raises FileNotFoundError for a missing file, ValueError (file and row) for one without rows, a
    row without `||`, an MR without a name, or a missing column.
    """
    return _pairs(Path(path), _columns(path), first_row=1)


def load_examples(path: Path, tokenizer, n_positions: int) -> list[Example]:
    """The encoded examples of a file, kept in the cache of `datasets` by content and tokenizer.

    Without that package (see _load) they are encoded each time: some seconds for E2E.

    Raises what read_pairs raises, and ValueError for an example that is longer than the backbone's
    `n_positions`.
    """

    def encode_rows(rows: dict, indices: list[int]) -> dict:
        pairs = _pairs(Path(path), rows, first_row=indices[0] + 1)
        examples = encode(pairs, tokenizer)
        return {"ids": [e.ids for e in examples], "n_context": [e.n_context for e in examples]}

    table = _load(path)
    plain = isinstance(table, dict)
    encoded = encode_rows(table, [0]) if plain else _cached(table, path, tokenizer, encode_rows)
    examples = [Example(*row) for row in zip(encoded["ids"], encoded["n_context"], strict=True)]
    for row, example in enumerate(examples, 1):
        if len(example.ids) > n_positions:
            raise ValueError(
                f"{path}, row {row} has {len(example.ids)} tokens, the backbone {n_positions} "
                "positions; use a backbone with more positions"
            )
    return examples


def _cached(table, path: Path, tokenizer, encode_rows) -> dict:
    key = [file_sha256(path), Path(path).suffix, tokenizer.backend_tokenizer.to_str(), "v1"]
    return table.map(
        encode_rows,
        batched=True,
        with_indices=True,
        remove_columns=table.column_names,
        new_fingerprint=config_hash(key),
    )[:]


def _columns(path: Path) -> dict[str, list[str]]:
    table = _load(path)
    return table if isinstance(table, dict) else table[:]


def _load(path: Path):
    """One local file as a `datasets` table, through its text or csv builder and its cache.

    On a machine without `datasets` (a lent GPU, say) a text file's column as that table has it.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"data file {path} not found; run `make data`, or set E2E_DATA_DIR to its folder"
        )
    empty = ValueError(f"{path} has no rows; fetch it again with `make data`")
    if path.stat().st_size == 0:
        raise empty
    kind = "csv" if path.suffix == ".csv" else "text"
    try:
        import datasets  # here, so that encoding and batching import without it
    except ImportError as error:
        if kind == "csv":
            raise ValueError(
                f"{path} needs the package datasets (python -m pip install datasets); "
                "without it use LoRA's text files (data=e2e)"
            ) from error
        with open(path, encoding="utf-8") as file:  # universal line ends, split at them alone
            return {"text": [line.rstrip("\n") for line in file]}
    datasets.disable_progress_bars()
    # an empty reference is an empty text, not a missing value
    options = {"keep_default_na": False, "na_filter": False} if kind == "csv" else {}
    try:
        table = datasets.load_dataset(kind, data_files=str(path), split="train", **options)
    except Exception as error:
        cause = error.__cause__ or error
        raise ValueError(f"{path} cannot be read as UTF-8 {kind} ({cause})") from error
    if kind == "csv" and not {"mr", "ref"} <= set(table.column_names):
        raise ValueError(f"{path} has columns {table.column_names}; it needs mr and ref")
    if len(table) == 0:
        raise empty
    return table


def _pairs(path: Path, rows: dict, first_row: int) -> list[tuple[str, str]]:
    """Pairs of a slice of a table; an error names the file and the row (a text file's line)."""
    if path.suffix == ".csv":
        lines = zip(rows["mr"], rows["ref"], strict=True)
    else:
        lines = ((line, None) for line in rows["text"])
    pairs = []
    for row, (text, reference) in enumerate(lines, first_row):
        try:
            pairs.append(_split_line(text) if reference is None else (linearise(text), reference))
        except ValueError as error:
            raise ValueError(f"{path}, row {row}: {error}") from None
    return pairs


def _split_line(line: str) -> tuple[str, str]:
    context, separator, completion = line.strip().partition("||")
    if not separator:
        raise ValueError(f"no '||' between context and completion in {line[:60]!r}")
    slots = dict(part.split(" : ", 1) for part in context.split(" | ") if " : " in part)
    if not slots.get("name", "").strip():
        raise ValueError(f"the MR {context[:60]!r} has no name; it needs 'name : ...'")
    return context, completion


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


def read_prompts(path: Path) -> list[tuple[str, str]]:
    """(MR as read, linearised context) of a test file: each distinct MR once, in file order.

    In LoRA's files both are the same text; in the official CSVs the MR is name[X], eatType[Y], ...
    Raises what read_pairs raises.
    """
    rows = _columns(path)
    contexts = [context for context, _ in _pairs(Path(path), rows, first_row=1)]
    return list(dict(zip(rows.get("mr", contexts), contexts, strict=True)).items())


def epoch_batches(n_examples: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch as lists of indices: a function of seed and epoch alone.

    Every example appears once; the last batch is shorter where the sizes do not divide (LoRA's
    recipe fills it with random repeats).
    """
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(n_examples, generator=generator).tolist()
    return [order[i : i + batch_size] for i in range(0, n_examples, batch_size)]


def collate(examples: list[Example]) -> dict[str, torch.Tensor]:
    """Pad to the longest: `input_ids` and `labels`, both (B, L), labels IGNORED off target.

    Labels are aligned with input_ids (label i is token i; the loss shifts them). Padding stands on
    the right, where causal attention never sees it, so no attention mask is needed.
    """
    longest = max(len(example.ids) for example in examples)
    input_ids = torch.zeros(len(examples), longest, dtype=torch.long)  # (B, L)
    labels = torch.full_like(input_ids, IGNORED)  # (B, L)
    for row, example in enumerate(examples):
        ids = torch.tensor(example.ids)
        input_ids[row, : len(ids)] = ids
        labels[row, example.n_context : len(ids)] = ids[example.n_context :]
    return {"input_ids": input_ids, "labels": labels}


def pack(batches: list[list[Example]]) -> dict[str, torch.Tensor]:
    """Batches without padding, each the examples of one batch in one row: K batches, K rows.

    `input_ids`, `position_ids` (K, T): shorter rows are filled up with zeros. `places` (E, L):
    where in the flattened K * T tokens each of the E examples is, the place of its first token
    repeated up to the longest one's length; `origin` (K * T,): where in the flattened E * L each
    token is.
    `index`, `targets`: see _targets.
    """
    examples = [example for batch in batches for example in batch]
    K, T = len(batches), max(sum(len(example.ids) for example in batch) for batch in batches)
    longest = max(len(example.ids) for example in examples)
    ids, positions, origin = (torch.zeros(K, T, dtype=torch.long) for _ in range(3))
    places, starts, number = torch.zeros(len(examples), longest, dtype=torch.long), [], 0
    for row, batch in enumerate(batches):
        start = 0
        for example in batch:
            length = len(example.ids)
            end, span = start + length, torch.arange(length)
            ids[row, start:end] = torch.tensor(example.ids)
            positions[row, start:end] = span
            places[number] = row * T + start
            places[number, :length] += span
            origin[row, start:end] = number * longest + span
            starts.append(row * T + start)
            start, number = end, number + 1
    packed = {"input_ids": ids, "position_ids": positions, "places": places}
    return packed | {"origin": origin.flatten()} | _targets(batches, starts)


def pad(batches: list[list[Example]], multiple: int) -> dict[str, torch.Tensor]:
    """Batches with every example in a row of its own, in few shapes: what compiled code likes.

    `input_ids` (E, L), the examples of all batches, filled up with zeros on the right to a multiple
    of `multiple`; `index`, `targets`: see _targets.
    """
    examples = [example for batch in batches for example in batch]
    longest = max(len(example.ids) for example in examples)
    ids = torch.zeros(len(examples), -(-longest // multiple) * multiple, dtype=torch.long)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
    starts = [row * ids.shape[1] for row in range(len(examples))]
    return {"input_ids": ids} | _targets(batches, starts, multiple)


def _targets(batches: list[list[Example]], starts: list[int], multiple: int = 1) -> dict:
    """`index` (K, N): the places, among the flattened tokens, whose next token carries loss;
    `targets` (K, N): those tokens. N is the most that a batch has, rounded up to `multiple`; the
    rest is filled up, targets with IGNORED. starts: the place of each example's first token.
    """
    most = max(sum(example.n_targets for example in batch) for batch in batches)
    index = torch.zeros(len(batches), -(-most // multiple) * multiple, dtype=torch.long)
    targets = torch.full_like(index, IGNORED)
    beginnings = iter(starts)
    for row, batch in enumerate(batches):
        n = 0
        for example in batch:
            start, more = next(beginnings), n + example.n_targets
            index[row, n:more] = start + torch.arange(example.n_context, len(example.ids)) - 1
            targets[row, n:more] = torch.tensor(example.ids[example.n_context :])
            n = more
    return {"index": index, "targets": targets}
