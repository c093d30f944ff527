"""What a stand-in backbone reads: a mixture of three kinds of rows, made on the fly from a seed.

- `data`: data-to-text lines whose recurring values are replaced by made-up ones, others each time;
- `lists`: random tokens, or words and names, given twice or three times;
- `text`: prose and dialogue as they are.

Every row is of one kind; a step's rows are a function of (seed, step) alone.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from solo.standin.names import SEPARATOR, Line, made_up_name, with_made_up_values
from solo.training.batches import IGNORED

KINDS = ("data", "lists", "text")
REPLACED = 0.6  # odds that a value which recurs in its text is replaced
LIST_SEPARATORS = (", ", " ", " | ", "\n")
BETWEEN = ("", "\n", SEPARATOR, None)  # between a list and its repetition; None: the end token


@dataclass(frozen=True)
class Mixture:
    """The sources of the three kinds. words: real words for made-up names."""

    lines: Sequence[Line]
    stream: np.ndarray  # tokens of prose and dialogue
    tokenizer: object
    words: list[str]

    def batch(
        self, shares: dict[str, float], size: int, context: int, seed: int, step: int
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(ids, targets), both (size, context): targets[i] follows ids[i], IGNORED where random.

        shares: how much of each kind; they need not sum to 1.
        """
        rng = random.Random(f"{seed} {step}")
        kinds = rng.choices(KINDS, [shares[kind] for kind in KINDS], k=size)
        make = {"data": self._data, "lists": self._lists, "text": self._text}
        rows = [make[kind](rng, context + 1) for kind in kinds]
        ids = torch.tensor([row for row, _ in rows])
        known = torch.tensor([row for _, row in rows])
        return ids[:, :-1], ids[:, 1:].where(known[:, 1:], IGNORED)

    def _encode(self, texts: list[str]) -> list[list[int]]:
        encoded = self.tokenizer.backend_tokenizer.encode_batch_fast(
            texts, add_special_tokens=False
        )
        return [encoding.ids for encoding in encoded]

    def _data(self, rng: random.Random, length: int) -> tuple[list[int], list[bool]]:
        row: list[int] = []
        while len(row) < length:
            some = [
                with_made_up_values(rng.choice(self.lines), rng, self.words, REPLACED)
                for _ in range(1 + (length - len(row)) // 50)
            ]
            for ids in self._encode([line.data + SEPARATOR + line.text for line in some]):
                row += [*ids, self.tokenizer.eos_token_id]
        return row[:length], [True] * length

    def _lists(self, rng: random.Random, length: int) -> tuple[list[int], list[bool]]:
        row: list[int] = []
        known: list[bool] = []
        end = self.tokenizer.eos_token_id
        while len(row) < length:
            if rng.random() < 0.5:
                ids, foretold = self._random_tokens(rng, rng.randint(4, 72)), False
            else:
                ids, foretold = self._word_list(rng), True
            between = rng.choice(BETWEEN)
            separator = [end] if between is None else self._encode([between])[0]
            row += ids
            known += [foretold] * len(ids)
            for _ in range(rng.choice((1, 1, 2))):
                row += separator + ids
                # The first token of a repetition shows that there is one.
                known += [foretold] * (len(separator) + 1) + [True] * (len(ids) - 1)
            row.append(end)
            known.append(foretold)
        return row[:length], known[:length]

    def _random_tokens(self, rng: random.Random, count: int) -> list[int]:
        end, size = self.tokenizer.eos_token_id, len(self.tokenizer)
        return [i + (i >= end) for i in (rng.randrange(size - 1) for _ in range(count))]

    def _word_list(self, rng: random.Random) -> list[int]:
        real = rng.random() < 0.3
        items = [
            rng.choice(self.words) if real else made_up_name(rng, self.words)
            for _ in range(rng.randint(1, 8))
        ]
        return self._encode([rng.choice(LIST_SEPARATORS).join(items)])[0]

    def _text(self, rng: random.Random, length: int) -> tuple[list[int], list[bool]]:
        start = rng.randrange(len(self.stream) - length)
        return self.stream[start : start + length].tolist(), [True] * length


def real_words(tokenizer) -> list[str]:
    """The whole words of a byte-level BPE: its entries of four and more letters after a space."""
    entries = (token[1:] for token in tokenizer.get_vocab() if token.startswith("Ġ"))
    return sorted(word for word in entries if len(word) >= 4 and word.isascii() and word.isalpha())
