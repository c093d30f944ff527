"""From examples to batches: the order, and three layouts that give the same loss.

B, E: examples; L: the longest one's tokens; K: runs that train side by side, each with a batch of
its own; T: tokens of the longest of those batches; N: target tokens of the batch that has most.
L, T and N may be rounded up.
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from solo.adapters.shared.dropout import example_key, token_keys
from solo.backbones import head_of, trunk_of
from solo.backbones.attention import BY_EXAMPLE, CAUSAL, attention_of
from solo.datasets.data import Example

IGNORED = -100  # torch's cross_entropy leaves such labels out


class PlainBatch(NamedTuple):
    """Every example in a row of its own, for the plain path through the model.

    Padding stands on the right, where causal attention never sees it, so no attention mask is
    needed.
    """

    input_ids: Tensor  # (B, L), zeros after an example's end
    keys: Tensor  # (B, L), by which each token's dropout is drawn
    labels: Tensor  # (B, L), label i is token i; IGNORED where there is no loss

    def target_logits(self, model) -> tuple[Tensor, Tensor]:
        """(logits, targets) where there is loss, (N, vocabulary) and (N,): the head runs there."""
        hidden = trunk_of(model)(self.input_ids, use_cache=False).last_hidden_state
        targets = self.labels[:, 1:]  # (B, L - 1): position i predicts token i + 1
        mask = targets != IGNORED
        return head_of(model)(hidden[:, :-1][mask]), targets[mask]


class PaddedBatch(NamedTuple):
    """Every example in a row of its own, in few shapes: what compiled code and GPUs like."""

    input_ids: Tensor  # (E, L), zeros after an example's end
    keys: Tensor  # (E, L), by which each token's dropout is drawn
    index: Tensor  # (K, N), places among the E * L tokens whose next token carries loss
    targets: Tensor  # (K, N), those next tokens; IGNORED where index is only filled up

    def target_logits(self, model) -> tuple[Tensor, Tensor]:
        """(logits, targets), (K * N, vocabulary) and (K * N,)."""
        with attention_of(model, CAUSAL):
            hidden = trunk_of(model)(self.input_ids, use_cache=False).last_hidden_state
        return _head(model, hidden, self.index), self.targets.flatten()


class PackedBatch(NamedTuple):
    """All examples of a run's batch behind one another in one row: hardly any padding, what a CPU
    likes.

    Attention is computed for each example apart (solo/backbones/attention.py).
    """

    input_ids: Tensor  # (K, T), zeros after a batch's end
    keys: Tensor  # (K, T), by which each token's dropout is drawn
    position_ids: Tensor  # (K, T), from 0 within each example
    places: Tensor  # (E, L), where among the K * T tokens an example's are; its end: the first's
    origin: Tensor  # (K * T,), where among the E * L places a token is
    index: Tensor  # (K, N), places among the K * T tokens whose next token carries loss
    targets: Tensor  # (K, N), those next tokens; IGNORED where index is only filled up

    def target_logits(self, model) -> tuple[Tensor, Tensor]:
        """(logits, targets), (K * N, vocabulary) and (K * N,)."""
        with attention_of(model, BY_EXAMPLE):
            hidden = trunk_of(model)(
                self.input_ids,
                use_cache=False,
                position_ids=self.position_ids,
                places=self.places,
                origin=self.origin,
            ).last_hidden_state
        return _head(model, hidden, self.index), self.targets.flatten()


Batch = PlainBatch | PaddedBatch | PackedBatch


def _head(model, hidden: Tensor, index: Tensor) -> Tensor:
    """The head's logits at the places `index` (K, N) of `hidden`: (K * N, vocabulary)."""
    return head_of(model)(hidden.flatten(0, 1).index_select(0, index.flatten()))


def to_device(batch: Batch, device: torch.device) -> Batch:
    """The same batch with its tensors on `device`."""
    if device.type == "cuda":  # a copy from pinned memory waits for nothing that the device does
        batch = type(batch)(*(tensor.pin_memory() for tensor in batch))
    return type(batch)(*(sent(tensor, device) for tensor in batch))


def sent(tensor: Tensor, device: torch.device) -> Tensor:
    """The same tensor on `device`; CUDA is not waited for. MPS is: it may read the original after
    that is gone."""
    return tensor.to(device, non_blocking=device.type == "cuda")


def epoch_batches(n_examples: int, batch_size: int, seed: int, epoch: int) -> list[list[int]]:
    """The batches of an epoch as lists of indices: a function of seed and epoch alone.

    Every example appears once; the last batch is shorter where the sizes do not divide (LoRA's
    recipe fills it with random repeats).
    """
    generator = torch.Generator().manual_seed(1_000_003 * seed + epoch)
    order = torch.randperm(n_examples, generator=generator).tolist()
    return [order[i : i + batch_size] for i in range(0, n_examples, batch_size)]


def batches_from(
    examples: list[Example], batch_size: int, seed: int, done: int, total: int
) -> Iterator[list[Example]]:
    """The batches of the steps done + 1 ... total of a run, with the keys of their dropout."""
    per_epoch = len(epoch_batches(len(examples), batch_size, seed, 0))
    for step in range(done, total):
        epoch, place = divmod(step, per_epoch)
        if place == 0 or step == done:
            order = epoch_batches(len(examples), batch_size, seed, epoch)
        yield [replace(examples[i], key=example_key(seed, epoch, i)) for i in order[place]]


def collate(batches: list[list[Example]]) -> PlainBatch:
    """The examples of all batches, each in a row, padded to the longest."""
    examples = [example for batch in batches for example in batch]
    longest = max(len(example.ids) for example in examples)
    input_ids = torch.zeros(len(examples), longest, dtype=torch.long)  # (B, L)
    labels = torch.full_like(input_ids, IGNORED)  # (B, L)
    for row, example in enumerate(examples):
        ids = torch.tensor(example.ids)
        input_ids[row, : len(ids)] = ids
        labels[row, example.n_context : len(ids)] = ids[example.n_context :]
    return PlainBatch(input_ids, _row_keys(examples, longest), labels)


def _row_keys(examples: list[Example], length: int) -> Tensor:
    """Where every example has a row: (E, length)."""
    return token_keys(torch.tensor([[e.key] for e in examples]), torch.arange(length))


def pad(batches: list[list[Example]], multiple: int, n_positions: int | None = None) -> PaddedBatch:
    """Batches of K runs, an example a row; L and N are rounded up to a multiple of `multiple`, L to
    no more than a backbone's `n_positions`."""
    examples = [example for batch in batches for example in batch]
    longest = _rounded(max(len(example.ids) for example in examples), multiple)
    ids = torch.zeros(len(examples), min(longest, n_positions or longest), dtype=torch.long)
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
    starts = [row * ids.shape[1] for row in range(len(examples))]
    return PaddedBatch(ids, _row_keys(examples, ids.shape[1]), *_targets(batches, starts, multiple))


def pack(batches: list[list[Example]], multiple: int = 1) -> PackedBatch:
    """Batches of K runs, each in one row; T, L and N are rounded up to a multiple of `multiple`.

    Sizes that come again spare an allocator and oneDNN much work (docs/speed_notes.md).
    """
    examples = [example for batch in batches for example in batch]
    most = max(sum(len(example.ids) for example in batch) for batch in batches)
    K, T = len(batches), _rounded(most, multiple)
    longest = _rounded(max(len(example.ids) for example in examples), multiple)
    ids, keys, positions, origin = (torch.zeros(K, T, dtype=torch.long) for _ in range(4))
    places, starts, number = torch.zeros(len(examples), longest, dtype=torch.long), [], 0
    for row, batch in enumerate(batches):
        start = 0
        for example in batch:
            length = len(example.ids)
            end, span = start + length, torch.arange(length)
            ids[row, start:end] = torch.tensor(example.ids)
            keys[row, start:end] = example.key
            positions[row, start:end] = span
            places[number] = row * T + start
            places[number, :length] += span
            origin[row, start:end] = number * longest + span
            starts.append(row * T + start)
            start, number = end, number + 1
    keys = token_keys(keys, positions)
    return PackedBatch(
        ids, keys, positions, places, origin.flatten(), *_targets(batches, starts, multiple)
    )


def _rounded(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple


def _targets(
    batches: list[list[Example]], starts: list[int], multiple: int
) -> tuple[Tensor, Tensor]:
    """`index` and `targets` of a batch, (K, N) each, N rounded up to a multiple of `multiple`.

    starts: the place of each example's first token.
    """
    most = max(sum(example.n_targets for example in batch) for batch in batches)
    index = torch.zeros(len(batches), _rounded(most, multiple), dtype=torch.long)
    targets = torch.full_like(index, IGNORED)
    beginnings = iter(starts)
    for row, batch in enumerate(batches):
        n = 0
        for example in batch:
            start, more = next(beginnings), n + example.n_targets
            index[row, n:more] = start + torch.arange(example.n_context, len(example.ids)) - 1
            targets[row, n:more] = torch.tensor(example.ids[example.n_context :])
            n = more
    return index, targets
