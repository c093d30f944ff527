"""What a beam search that is under way has found, in a file: a kill takes no finished batch."""

import json
from collections.abc import Mapping
from pathlib import Path

Hypotheses = Mapping[int, list[int]]  # token ids by the place of their prompt


def read_found(path: Path, n_prompts: int) -> dict[int, list[int]]:
    """What earlier searches left, {} without a file. A line that a kill cut short, or that is no
    batch of this test file, is left out: its prompts are searched for again."""
    found: dict[int, list[int]] = {}
    if not Path(path).exists():
        return found
    for line in Path(path).read_bytes().splitlines():
        try:
            batch = {int(place): tokens for place, tokens in json.loads(line).items()}
        except (ValueError, AttributeError, RecursionError):
            continue
        if all(_fits(place, tokens, n_prompts) for place, tokens in batch.items()):
            found |= batch
    return found


def _fits(place: int, tokens: object, n_prompts: int) -> bool:
    whole = isinstance(tokens, list) and all(type(token) is int and token >= 0 for token in tokens)
    return whole and 0 <= place < n_prompts


def add_found(path: Path, batch: Hypotheses) -> None:
    """Append a batch, on a line of its own whatever the last writer left."""
    begun = path.exists() and not path.read_bytes().endswith(b"\n")
    with open(path, "a", encoding="utf-8") as file:
        file.write("\n" * begun + json.dumps(batch) + "\n")
