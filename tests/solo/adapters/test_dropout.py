"""Dropout that draws by keys, against the same hash in Python's own numbers, and its statistics."""

import hashlib
import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from solo.adapters.shared import dropout
from solo.adapters.shared.dropout import Dropout, draw, draw_no_more, example_key, token_keys


def signed(number: int) -> int:
    """The last 32 bits of a number, as a signed one."""
    return (number + 2**31) % 2**32 - 2**31


def hashed(number: int) -> int:
    """MurmurHash3's finalizer but for its last step."""
    number %= 2**32
    number = (number ^ (number >> 16)) * 0x85EBCA6B % 2**32
    return signed((number ^ (number >> 13)) * 0xC2B2AE35)


def kept(seed, epoch, index, position, place, feature, rate) -> bool:
    """The whole way, from a run's seed to one number of a hidden state."""
    digest = hashlib.blake2b(f"{seed} {epoch} {index}".encode(), digest_size=4).digest()
    token = hashed(signed(int.from_bytes(digest, "little") + 0x9E3779B1 * position))
    own = hashed(signed(token + 668265263 * (place + 1)))
    return (hashed(signed(own + 0x9E3779B1 * feature)) + 2**31) / 2**32 >= rate


def masks(keys: torch.Tensor, width: int, rate: float, places: int = 1) -> list[torch.Tensor]:
    """What each of a method's dropouts leaves of ones, in turn: (B, L, width)."""
    module = nn.ModuleList(Dropout(rate, width) for _ in range(places)).train()
    draw([module], keys)
    return [place(torch.ones(*keys.shape, width)) for place in module]


def test_what_is_dropped_is_what_python_computes():
    examples, rate = [(1, 0, 5), (1, 3, 5), (7, 0, 20_000)], 0.3
    keys = token_keys(torch.tensor([[example_key(*e)] for e in examples]), torch.arange(6))
    for place, mask in enumerate(masks(keys, 40, rate, places=3)):
        for row, example in enumerate(examples):
            for position in range(6):
                wanted = [kept(*example, position, place, n, rate) for n in range(40)]
                found = mask[row, position] * (1 - rate)
                torch.testing.assert_close(found, torch.tensor(wanted).float())


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_draws_are_as_good_as_independent_ones(rate):
    """Within five standard errors: the share that is dropped, and how often both of two are, which
    differ in one thing only."""
    length, width = 150, 120

    def drawn(seed=1, epoch=0, first=0, place=0):
        rows = torch.tensor([[example_key(seed, epoch, first + i)] for i in range(24)])
        return masks(token_keys(rows, torch.arange(length)), width, rate, place + 1)[place] == 0

    one = drawn()
    pairs = {
        **{f"feature {n}": (one[..., n:], one[..., :-n]) for n in (1, 2, 3, 5, 8, 16, 64)},
        **{f"position {n}": (one[:, n:], one[:, :-n]) for n in (1, 2, 3, 5, 8, 64)},
        **{f"both {n}": (one[:, n:, n:], one[:, :-n, :-n]) for n in (1, 2, 8)},
        "example": (one[1:], one[:-1]),
        "seed": (one, drawn(seed=2)),
        "epoch": (one, drawn(epoch=1)),
        "index": (one, drawn(first=24)),
        "place": (one, drawn(place=1)),
    }
    assert near(one.float().mean().item(), rate, one.numel())
    for name, (a, b) in pairs.items():
        assert near((a & b).float().mean().item(), rate**2, a.numel()), name
    three = (one[..., 2:] & one[..., 1:-1] & one[..., :-2]).float().mean().item()
    four = (one[:, 1:, 1:] & one[:, 1:, :-1] & one[:, :-1, 1:] & one[:, :-1, :-1]).float()
    assert near(three, rate**3, one.numel()) and near(four.mean().item(), rate**4, one.numel())
    for dim in (0, 1, 2):  # no feature, position or example is dropped more often than others
        shares = one.float().transpose(0, dim).flatten(1).mean(1)
        each = one.numel() // len(shares)
        squares = ((shares - rate) ** 2).sum().item() * each / (rate * (1 - rate))  # chi-square
        assert abs(squares - len(shares)) < 5 * math.sqrt(2 * len(shares)), dim


def near(share: float, expected: float, number: int) -> bool:
    return abs(share - expected) < 5 * math.sqrt(expected * (1 - expected) / number)


def test_what_is_left_grows_by_what_is_dropped():
    x = torch.randn(2, 5, 64, requires_grad=True)
    keys = token_keys(torch.tensor([[3], [4]]), torch.arange(5))
    [mask] = masks(keys, 64, 0.25)
    place = Dropout(0.25, 64).train()
    draw([place], keys)
    y = place(x)
    y.sum().backward()
    assert torch.equal(place(x.flatten(0, 1)), y.flatten(0, 1))  # as OPT's feed-forward part has it
    assert mask.unique().tolist() == [0.0, pytest.approx(1 / 0.75)]
    assert torch.equal(y, x * mask) and torch.equal(x.grad, mask)


def test_each_method_draws_by_its_share_of_the_keys():
    """As it does alone, beside one without dropout, and one without a module."""
    keys = token_keys(torch.arange(6)[:, None], torch.arange(4))
    methods = [nn.ModuleList([Dropout(0.5, 16)]).train(), nn.Linear(2, 2), None]
    draw(methods, keys)
    found = methods[0][0](torch.ones(2, 4, 16))
    assert torch.equal(found, masks(keys[:2], 16, 0.5)[0])


def test_without_keys_it_is_torchs_own():
    x, place = torch.randn(2, 3, 8), Dropout(0.4, 8).train()
    torch.manual_seed(2)
    expected = F.dropout(x, 0.4)
    draw([place], torch.zeros(2, 3, dtype=torch.int32))
    assert torch.equal(place.eval()(x), x) and not torch.equal(place.train()(x), expected)
    draw_no_more([place, None])
    torch.manual_seed(2)
    assert torch.equal(place(x), expected)
    place.p = 0.0
    draw([place], torch.zeros(2, 3, dtype=torch.int32))
    assert torch.equal(place(x), x)


def test_a_rate_next_to_one_drops_nearly_all():
    [mask] = masks(token_keys(torch.arange(20)[:, None], torch.arange(50)), 64, 1 - 1e-12)
    assert not mask.any()


def test_masks_made_at_once_are_those_made_one_by_one(monkeypatch):
    """As on a GPU, all that are alike. Each lies at the beginning of a memory of its own."""
    keys = token_keys(torch.arange(4)[:, None], torch.arange(5))
    sizes = [(0.5, 8), (0.1, 8), (0.5, 8), (0.0, 8), (0.5, 12), (0.5, 8)]
    module, found = nn.ModuleList(Dropout(*size) for size in sizes).train(), []
    for cached in (("cpu",), ()):
        monkeypatch.setattr(dropout, "CACHED", cached)
        draw([module], keys)
        found.append([place.mask for place in module])
    for one, other in zip(*found, strict=True):
        assert (one is None and other is None) or torch.equal(one, other)
    assert {mask.storage_offset() for mask in found[1] if mask is not None} == {0}
    masks = [mask[..., :8] for mask in found[0] if mask is not None]
    assert len({tuple(mask.flatten().bool().tolist()) for mask in masks}) == 5


class Operations(TorchDispatchMode):
    """The names of all that torch is asked to do."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.names.append(function.overloadpacket.__name__)
        return function(*args, **kwargs or {})


def test_what_is_drawn_copies_nothing_from_python_and_takes_few_operations():
    """On a GPU nothing may come from Python's memory, nor a value go there, in a recording."""
    keys = torch.empty(4, 32, dtype=torch.int32, device="meta")
    places = nn.ModuleList(Dropout(0.1, 768) for _ in range(12)).train()
    with Operations() as seen:
        draw([places], keys)
    assert places[11].mask.device.type == "meta"
    assert "clone" in seen.names and not {"lift_fresh", "_local_scalar_dense"} & {*seen.names}
    views = ("unsqueeze", "unbind", "select", "split", "detach", "alias")
    assert len([name for name in seen.names if name not in views]) < 12 + 30
