"""A fast way to the loss, used only where it gives what the plain way gives on a run's batches.

A compiler, a device or a version of a library that nobody has tried may compute something else and
say nothing. So the first batches of every run go both ways, and where loss or gradients differ by
more than rounding, or the fast way fails, the run goes the plain way.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

import torch
from torch import Tensor, nn

from solo.datasets.data import Example

Loss = Callable[[list[list[Example]]], Tensor]  # the batches of K runs -> the loss of each, (K,)
# By precision, what may differ: the loss, relatively; each gradient, as the norm of the difference
# over that of the gradient. Rounding makes 1e-7 and 3e-6 in fp32, 4e-5 and 3e-2 in bf16.
LIMITS = {"fp32": (1e-4, 1e-3), "bf16": (1e-2, 2e-1)}
SMALL = 5e-2  # of all gradients' norm: below it a gradient is measured by that, not by its own


def checked(
    fast: Loss,
    plain: Loss,
    parameters: Sequence[nn.Parameter],
    limits: tuple[float, float],
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
    limits: tuple[float, float],
    alike: Callable[[], AbstractContextManager],
) -> str | None:
    """In what `fast` differs from `plain` by more than `limits` (loss, gradients), in words."""
    expected_loss, expected = gradients_of(plain, batches, parameters, alike)
    if not (expected_loss.isfinite().all() and all(g.isfinite().all() for g in expected)):
        return None  # the run has diverged, which the loop says
    try:
        loss, gradients = gradients_of(fast, batches, parameters, alike)
    except Exception as error:  # whatever a compiler or a device raises
        return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
    return apart(loss, gradients, expected_loss, expected, limits)


def apart(
    loss: Tensor,
    gradients: Sequence[Tensor],
    expected_loss: Tensor,
    expected: Sequence[Tensor],
    limits: tuple[float, float],
) -> str | None:
    """In what losses (K,) and gradients differ from the expected ones by more than `limits`."""
    distance = ((loss - expected_loss).abs() / expected_loss.abs().clamp_min(1e-9)).max().item()
    if not distance <= limits[0]:
        return f"its loss differs by a relative {distance:.1e}, {limits[0]:.0e} is allowed"
    norms = [g.norm().item() for g in expected]
    least = SMALL * sum(norm**2 for norm in norms) ** 0.5
    for number, (g, wanted, norm) in enumerate(zip(gradients, expected, norms, strict=True)):
        distance = (g - wanted).norm().item()
        if not distance <= limits[1] * max(norm, least):  # NaN is never within
            return (
                f"a gradient (of trained tensor {number}, shape {tuple(g.shape)}) differs by "
                f"{distance:.1e} from one of norm {norm:.1e}"
            )
    return None


def gradients_of(
    function: Loss,
    batches: list[list[Example]],
    parameters: Sequence[nn.Parameter],
    alike: Callable[[], AbstractContextManager],
) -> tuple[Tensor, list[Tensor]]:
    """The losses of the runs, (K,), and the gradients of their sum; zeros where there is none."""
    with alike():
        loss = function(batches)
        gradients = torch.autograd.grad(loss.sum(), parameters, allow_unused=True)
    # copies, since a CUDA graph writes over what it gave when it is replayed
    return loss.detach().clone(), [
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
