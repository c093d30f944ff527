"""Dropout that draws the same however a batch is laid out, and whatever is computed beside it.

What is dropped of a token's hidden state is a function of four things: the token's key, which comes
from the run's seed, the epoch, the example and the token's position in it; the place of the dropout
within the method; the feature; and the rate. So a run draws the same on any device, packed or
padded, alone or together with others, in one process or several, and a run that goes on after a
kill needs no state of a generator.

A draw is a hash of 32 bits: the finalizer of MurmurHash3 (Austin Appleby, public domain) but for
its last step, which the high bits that decide do not need. On a CPU that takes less time than
torch's generator (docs/speed_notes.md).
"""

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Odd factors of 32 bits, signed: of positions and features (2^32 by the golden ratio), of places,
# and the finalizer's two.
STEP, PLACE, FIRST, SECOND = -1640531535, 668265263, -2048144789, -1028477387
KIND = 2**16  # places of one rate and width that a method may have
CACHED = ("cpu",)  # devices whose masks are made one by one


class Dropout(nn.Dropout):
    """Torch's dropout of (B, L, width), or (B * L, width), which `draw` gives its draws.

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
        return x * self.mask.to(x.dtype).view_as(x)


def mixed(numbers: Tensor) -> Tensor:
    """The hash of each number, of int32, in place: another one for every number, whose high bits
    depend on all of the number's. Torch's shifts keep the sign, which is cut off."""
    numbers.bitwise_xor_((numbers >> 16).bitwise_and_(0xFFFF)).mul_(FIRST)
    return numbers.bitwise_xor_((numbers >> 13).bitwise_and_(0x7FFFF)).mul_(SECOND)


def example_key(seed: int, epoch: int, index: int) -> int:
    """The key of an example of the training set in an epoch, a signed number of 32 bits."""
    text = f"{seed} {epoch} {index}".encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=4).digest(), "little", signed=True)


def token_keys(keys: Tensor, positions: Tensor) -> Tensor:
    """The keys of tokens: those of their examples and their positions there, which broadcast."""
    return mixed(keys.int() + positions.int() * STEP)


def draw(modules: Sequence[nn.Module | None], keys: Tensor) -> None:
    """From now on each `Dropout` in the modules of K methods draws by its share of `keys` (B, L),
    the k-th of K equal parts of B, and by its place in its module. keys: of int32.

    A backward pass that computes parts anew needs the same draws, so they stay until the next ones,
    or `draw_no_more`.
    """
    for module, share in zip(modules, keys.chunk(len(modules)), strict=True):
        _draw(_places(module), share)


def draw_no_more(modules: Sequence[nn.Module | None]) -> None:
    """Torch draws again."""
    for module in modules:
        for place in _places(module):
            place.mask = None


def _places(module: nn.Module | None) -> list[Dropout]:
    return [m for m in module.modules() if isinstance(m, Dropout)] if module is not None else []


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
    least = min(round(rate * 2**32), 2**32 - 1) - 2**31
    return (draws >= least).float().mul_(1 / (1 - rate))
