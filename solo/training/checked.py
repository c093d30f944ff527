"""A fast way to the loss, used only where it gives what the plain way gives on a run's batches.

A compiler, a device or a version of a library that nobody has tried may compute something else and
say nothing. So the first batches of every run go both ways, and where loss or gradients differ by
more than rounding, or the fast way fails, the run goes the plain way.

What rounding makes is small, but for a run whose parameters have grown out of all measure, as a
sweep's largest rate may leave them: there it can change a gradient altogether. So before the fast
way is given up, the plain way is measured against itself, with parameters moved by one rounding.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
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


# In a run that does well rounding makes 1e-7 and 3e-6 in fp32, 4e-5 and 3e-2 in bf16.
LIMITS = {
    "fp32": Limits(1e-4, 1e-3, torch.finfo(torch.float32).eps),
    "bf16": Limits(1e-2, 2e-1, torch.finfo(torch.bfloat16).eps),
}
SMALL = 5e-2  # of all gradients' norm: below it a gradient is measured by that, not by its own
ROUNDINGS = 10  # moves of the parameters by one rounding that the ways may differ by, at most


def checked(
    fast: Loss,
    plain: Loss,
    parameters: Sequence[nn.Parameter],
    limits: Limits,
    alike: Callable[[], AbstractContextManager],
    n_batches: int,
    note: Callable[[str], None],
) -> Loss:
    """`fast`, or `plain` from the first of `n_batches` calls on in which they differ.

    alike: what each of the two runs in, so that both draw the same dropout or none. note: told in
    one line why the plain way is taken. What the random generators give afterwards is unchanged.
    """
    left, chosen = n_batches, fast

    def loss(batches: list[list[Example]]) -> Tensor:
        nonlocal left, chosen
        if left:
            left -= 1
            problem = difference(fast, plain, batches, parameters, limits, alike)
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
    alike: Callable[[], AbstractContextManager],
) -> str | None:
    """In what `fast` differs from `plain` by more than rounding, in words."""
    expected = gradients_of(plain, batches, parameters, alike)
    if not all(x.isfinite().all() for x in expected):
        return None  # the run has diverged, which the loop says
    try:
        found = gradients_of(fast, batches, parameters, alike)
    except Exception as error:  # whatever a compiler or a device raises
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    if apart(found, expected, limits) is None:
        return None
    with moved(parameters, limits.rounding):
        rounded = gradients_of(plain, batches, parameters, alike)
    return apart(found, expected, limits, rounded)


def apart(
    found: Sequence[Tensor],
    expected: Sequence[Tensor],
    limits: Limits,
    rounded: Sequence[Tensor] | None = None,
) -> str | None:
    """In what losses (K,) and then gradients differ from the expected ones by more than `limits`.

    rounded: the expected ones, but for one rounding; ROUNDINGS of them are within the limits too.
    """
    spare = [0.0 * x for x in expected]
    if rounded is not None:
        spare = [ROUNDINGS * (x - y).abs() for x, y in zip(rounded, expected, strict=True)]
    (loss, *found), (expected_loss, *expected) = found, expected
    distance, scale = (loss - expected_loss).abs(), expected_loss.abs().clamp_min(1e-9)
    if not (distance <= torch.maximum(limits.loss * scale, spare[0])).all():
        worst = (distance / scale).max().item()
        return f"its loss differs by a relative {worst:.1e}, {limits.loss:.0e} is allowed"
    norms = [g.norm().item() for g in expected]
    least = SMALL * sum(norm**2 for norm in norms) ** 0.5
    for number, (g, wanted, norm) in enumerate(zip(found, expected, norms, strict=True)):
        distance = (g - wanted).norm().item()
        allowed = max(limits.gradient * max(norm, least), spare[number + 1].norm().item())
        if not distance <= allowed:  # NaN is never within
            return (
                f"a gradient (of trained tensor {number}, shape {tuple(g.shape)}) differs by "
                f"{distance:.1e} from one of norm {norm:.1e}"
            )
    return None


@contextmanager
def moved(parameters: Sequence[nn.Parameter], rounding: float) -> Iterator[None]:
    """Within: every value is greater or less by that part of itself, as fixed draws say."""
    before = [p.detach().clone() for p in parameters]
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in parameters:
            coins = torch.randint(2, p.shape, generator=draws).to(p.device)
            p.mul_(1 + rounding * (2 * coins - 1))
    try:
        yield
    finally:
        with torch.no_grad():
            for p, values in zip(parameters, before, strict=True):
                p.copy_(values)


def gradients_of(
    function: Loss,
    batches: list[list[Example]],
    parameters: Sequence[nn.Parameter],
    alike: Callable[[], AbstractContextManager],
) -> list[Tensor]:
    """The losses of the runs, (K,), then the gradients of their sum; zeros where there is none."""
    with alike():
        loss = function(batches)
        gradients = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
    # copies, since a CUDA graph writes over what it gave when it is replayed
    return [loss.detach().clone()] + [
        torch.zeros_like(p, dtype=torch.float32) if g is None else g.detach().float().clone()
        for g, p in zip(gradients, parameters, strict=True)
    ]


@contextmanager
def without_dropout(model: nn.Module) -> Iterator[None]:
    """Within: nothing is dropped."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def same_draws(device: torch.device) -> AbstractContextManager:
    """Within: draws that are as if they had not been made, afterwards."""
    on_cpu = device.type == "cpu"
    return torch.random.fork_rng(
        devices=[] if on_cpu else [device.index or 0],
        device_type="cuda" if on_cpu else device.type,
    )
