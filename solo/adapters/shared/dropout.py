"""Dropout that draws the same however a batch is laid out, and whatever is computed beside it.

What is dropped of a token's hidden state is a function of four things: the token's key, which comes
from the run's seed, the epoch, the example and the token's position in it; the place of the dropout
within the method; the feature; and the rate. So a run draws the same on any device, packed or
padded, alone or together with others, in one process or several, and a run that goes on after a
kill needs no state of a generator.

A draw is a hash of 32 bits: the finalizer of MurmurHash3 (Austin Appleby, public domain) but for
its last step, which the high bits that decide do not need, and with shifts that keep the sign as
torch's do. On a CPU that takes half the time of torch's generator.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import torch
from torch import Tensor, nn

# Odd factors of 32 bits, signed: of positions and features (2^32 by the golden ratio), of places,
# and the finalizer's two.
STEP, PLACE, FIRST, SECOND = -1640531535, 668265263, -2048144789, -1028477387
KIND = 2**16  # places of one rate and width that a method may have
CACHED = ("cpu",)  # devices whose masks are made one by one


class Dropout(nn.Dropout):
    """Torch's dropout of (B, L, width), which `drawn_from` gives its draws.

    A module stands for one place in the model: called twice in a pass it drops the same features
    twice. mask: what the draws make of ones, (B, L, width); None: torch draws.
    """

    mask: Tensor | None = None

    def __init__(self, rate: float, width: int):
        super().__init__(rate)
        self.width = width

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None or not self.training:
            return super().forward(x)
        return x * self.mask.to(x.dtype)


def mixed(numbers: Tensor) -> Tensor:
    """The hash of each number, of int32, in place; its high bits depend on all of the number's."""
    numbers.bitwise_xor_(numbers >> 16).mul_(FIRST)
    return numbers.bitwise_xor_(numbers >> 13).mul_(SECOND)


def example_key(seed: int, epoch: int, index: int) -> int:
    """The key of an example of the training set in an epoch, a signed number of 32 bits."""
    text = f"{seed} {epoch} {index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little", signed=True)


def token_keys(keys: Tensor, positions: Tensor) -> Tensor:
    """The keys of tokens: those of their examples and their positions there, which broadcast."""
    return mixed(keys.int() + positions.int() * STEP)


@contextmanager
def drawn_from(modules: Sequence[nn.Module | None], keys: Tensor) -> Iterator[None]:
    """Within: each `Dropout` in the modules of K methods draws by its share of `keys` (B, L), the
    k-th of K equal parts of B, and by its place in its module. keys: of int32."""
    shares = keys.chunk(len(modules))
    places = [[m for m in _parts(module) if isinstance(m, Dropout)] for module in modules]
    try:
        for members, share in zip(places, shares, strict=True):
            _draw(members, share)
        yield
    finally:
        for place in chain.from_iterable(places):
            place.mask = None


def _parts(module: nn.Module | None) -> Iterable[nn.Module]:
    return () if module is None else module.modules()


def _draw(places: Sequence[Dropout], keys: Tensor) -> None:
    """Give the places of a method their masks: those of one rate and width at once, where every
    operation has to be launched (on a GPU), or one by one, so that each stays in the cache."""
    alike: dict[tuple[float, int], list[Dropout]] = {}
    for place in places:
        alike.setdefault((place.p, place.width), []).append(place)
    for kind, ((rate, width), members) in enumerate(alike.items()):
        size = 1 if keys.device.type in CACHED else len(members)
        for start in range(0, len(members) if rate > 0 else 0, size):
            some, first = members[start : start + size], KIND * kind + start + 1
            numbers = torch.arange(
                first, first + len(some), dtype=torch.int32, device=keys.device
            )  # made there: what is recorded copies nothing from Python
            masks = _masks(mixed(keys + (numbers * PLACE)[:, None, None]), width, rate)
            for place, mask in zip(some, masks, strict=True):
                # A copy: a compiler makes code anew for a tensor that lies elsewhere in memory.
                place.mask = mask.clone() if size > 1 else mask


def _masks(keys: Tensor, width: int, rate: float) -> Tensor:
    """(P, B, L) of int32 -> (P, B, L, width): 0 where it is dropped, elsewhere 1 / (1 - rate)."""
    features = torch.arange(width, dtype=torch.int32, device=keys.device) * STEP
    draws = mixed(keys[..., None] + features)
    return (draws >= round(rate * 2**32) - 2**31).float().mul_(1 / (1 - rate))
