"""A fast way to the loss, used only where it gives what the plain way gives on a run's batches.

A compiler, a device or a version of a library that nobody has tried may compute something else and
say nothing. So the first batches of every run go both ways, and where loss or gradients differ by
more than rounding, or the fast way fails, the run goes the plain way. Every gradient is judged by
its own norm, since AdamW moves a tensor of small gradients as far as one of large ones.

What rounding makes is small, but for a run whose parameters have grown out of all measure, as a
sweep's largest rate may leave them: there it can change a gradient altogether. So before the fast
way is given up, the plain way is measured against itself, with parameters moved by one rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from solo.datasets.data import Example

Loss = Callable[[list[list[Example]]], Tensor]  # the batches of K runs -> the loss of each, (K,)


class Limits(NamedTuple):
    """What may differ: the loss, relatively; each gradient, as the norm of the difference over that
    of the gradient. rounding: of the precision, relatively."""

    loss: float
    gradient: float
    rounding: float


# In a run that does well rounding makes 1e-7 and 3e-6 in fp32, 4e-5 and 2e-2 in bf16. One tensor of
# a thousand has 2e-4, or 0.6, for which what rounding does to it is measured.
LIMITS = {
    "fp32": Limits(1e-4, 1e-3, torch.finfo(torch.float32).eps),
    "bf16": Limits(1e-2, 2e-1, torch.finfo(torch.bfloat16).eps),
}
ROUNDINGS = 10  # moves of the parameters by one rounding that the ways may differ by, at most
MOVES = 3  # that are tried, since one may change a gradient of few numbers little, by chance
EXACT = 1e-7  # of all gradients' norm: rounding, where another way may give exact zeros
OFF_ZERO = 2e-2  # standard deviation of the draws put in place of an all-zero tensor


def checked(
    fast: Loss,
    plain: Loss,
    parameters: Sequence[nn.Parameter],
    limits: Limits,
    n_batches: int,
    note: Callable[[str], None],
) -> Loss:
    """`fast`, or `plain` from the first of `n_batches` calls on in which they differ.

    note: told in one line why the plain way is taken.
    """
    left, chosen = n_batches, fast

    def loss(batches: list[list[Example]]) -> Tensor:
        nonlocal left, chosen
        if left:
            left -= 1
            problem = difference(fast, plain, batches, parameters, limits)
            if problem:
                note(problem)
                left, chosen = 0, plain
        return chosen(batches)

    return loss


def difference(
    fast: Loss,
    plain: Loss,
    batches: list[list[Example]],
    parameters: Sequence[nn.Parameter],
    limits: Limits,
) -> str | None:
    """In what `fast` differs from `plain` by more than rounding, in words."""
    with off_zero(parameters):
        expected = gradients_of(plain, batches, parameters)
        if not all(x.isfinite().all() for x in expected):
            return None  # the run has diverged, which the loop says
        try:
            found = gradients_of(fast, batches, parameters)
        except Exception as error:  # whatever a compiler or a device raises
            return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        if apart(found, expected, limits) is None:
            return None
        rounded = []
        for number in range(MOVES):
            with moved(parameters, limits.rounding, number):
                rounded.append(gradients_of(plain, batches, parameters))
        return apart(found, expected, limits, rounded)


def apart(
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
    limits: Limits,
    rounded: Sequence[Sequence[Tensor]] = (),
) -> str | None:
    """In what losses (K,) and then gradients differ from the expected ones by more than `limits`.

    rounded: the expected ones after a move by one rounding, for each of some moves; ROUNDINGS times
    the farthest is within the limits too.
    """
    distances = _distances(found, expected)
    rooms = [torch.zeros_like(distance) for distance in distances]
    for one in rounded:
        by_rounding = _distances(one, expected)
        rooms = [torch.maximum(a, ROUNDINGS * b) for a, b in zip(rooms, by_rounding, strict=True)]
    scale = expected[0].abs().clamp_min(1e-9)
    if not (distances[0] <= torch.maximum(limits.loss * scale, rooms[0])).all():
        worst = (distances[0] / scale).max().item()
        return f"its loss differs by a relative {worst:.1e}, {limits.loss:.0e} is allowed"
    norms = [g.norm().item() for g in expected[1:]]
    least = EXACT * sum(norm**2 for norm in norms) ** 0.5
    for number, (norm, distance, room) in enumerate(
        zip(norms, distances[1:], rooms[1:], strict=True)
    ):
        if not distance.item() <= max(limits.gradient * norm, room.item(), least):  # NaN never is
            return (
                f"a gradient (of trained tensor {number}, shape {tuple(found[number + 1].shape)}) "
                f"differs by {distance.item():.1e} from one of norm {norm:.1e}"
            )
    return None


def _distances(found: Sequence[Tensor], expected: Sequence[Tensor]) -> list[Tensor]:
    """Those of the losses, (K,), and that of each gradient."""
    gradients = zip(found[1:], expected[1:], strict=True)
    return [(found[0] - expected[0]).abs(), *((x - y).norm() for x, y in gradients)]


@contextmanager
def moved(parameters: Sequence[nn.Parameter], rounding: float, seed: int = 0) -> Iterator[None]:
    """Within: every value is greater or less by that part of itself, as the draws of `seed` say."""
    draws = torch.Generator().manual_seed(seed)
    with put_back(parameters):
        with torch.no_grad():
            for p in parameters:
                coins = torch.randint(2, p.shape, generator=draws).to(p.device)
                p.mul_(1 + rounding * (2 * coins - 1))
        yield


@contextmanager
def off_zero(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Within: a tensor that is zero throughout has small values, as fixed draws say.

    While LoRA's B is zero, as at the start, A's gradient is zero on every way, right or wrong.
    """
    draws = torch.Generator().manual_seed(0)
    zero = [p for p in parameters if not p.any()]
    with put_back(zero):
        with torch.no_grad():
            for p in zero:
                p.copy_(OFF_ZERO * torch.randn(p.shape, generator=draws))
        yield


@contextmanager
def put_back(parameters: Sequence[nn.Parameter]) -> Iterator[None]:
    """Afterwards the parameters have the values from before."""
    before = [p.detach().clone() for p in parameters]
    try:
        yield
    finally:
        with torch.no_grad():
            for p, values in zip(parameters, before, strict=True):
                p.copy_(values)


def gradients_of(
    function: Loss, batches: list[list[Example]], parameters: Sequence[nn.Parameter]
) -> list[Tensor]:
    """The losses of the runs, (K,), then the gradients of their sum; zeros where there is none."""
    loss = function(batches)
    gradients = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
    # copies, since a CUDA graph writes over what it gave when it is replayed
    return [loss.detach().clone()] + [
        torch.zeros_like(p, dtype=torch.float32) if g is None else g.detach().float().clone()
        for g, p in zip(gradients, parameters, strict=True)
    ]
