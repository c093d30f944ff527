"""What methods share: checks of sizes, low-rank modules and their counts."""

import math
from collections.abc import Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo.adapters.base import Hook, HookedMethod
from solo.adapters.shared.dropout import Dropout
from solo.adapters.shared.targets import target_shape, whole_of
from solo.backbones import backbone_of, blocks_of, join_parts, projection_of
from solo.options import check


def check_low_rank(config) -> None:
    """Raise ValueError unless what a Config has of rank, alpha and dropout makes sense."""
    rank, alpha, dropout = (getattr(config, n, None) for n in ("rank", "alpha", "dropout"))
    check(rank is None or rank >= 1, f"adapter.rank is {rank}; it must be at least 1")
    check(alpha is None or alpha > 0, f"adapter.alpha is {alpha}; it must be above 0")
    fits = dropout is None or 0 <= dropout < 1
    check(fits, f"adapter.dropout is {dropout}; it must be in [0, 1)")


def count_low_rank(shape, targets: Sequence[str], rank: int) -> int:
    """Parameters of factors A (r, n_in) and B (n_out, r) on targets of every block."""
    widths = [sum(target_shape(shape, target)) for target in targets]
    return shape.num_hidden_layers * rank * sum(widths)


def kaiming(values: Tensor, draws: torch.Generator) -> Tensor:
    """Fill a factor in place as torch's Linear starts: uniform within 1 / sqrt(fan in)."""
    return nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=draws)


class LowRank(nn.Module):
    """(alpha / r) B A dropout(x), (B, L, n_in) -> (B, L, n_out); A is (r, n_in), B (n_out, r)."""

    def __init__(self, a: nn.Parameter, b: nn.Parameter, alpha: float, dropout: float):
        super().__init__()
        self.a, self.b, self.scale = a, b, alpha / len(a)
        self.dropout = Dropout(dropout, a.shape[1])

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.linear(self.dropout(x), self.a), self.b) * self.scale


def residuals(
    shape,
    rank: int,
    alpha: float,
    dropout: float,
    draws: torch.Generator,
    group_size: int = 1,
) -> list[LowRank]:
    """A module d -> d for every block, B zero; `group_size` neighbours share one A."""
    d, made = shape.hidden_size, []
    for block in range(shape.num_hidden_layers):
        if block % group_size == 0:
            a = nn.Parameter(kaiming(torch.empty(rank, d), draws))
        made.append(LowRank(a, nn.Parameter(torch.zeros(d, rank)), alpha, dropout))
    return made


class Residuals(HookedMethod):
    """y = Block(x) + made[i](x) for every block i. An A that is shared is named once."""

    def __init__(self, model, made: Sequence[LowRank]):
        hooks = [_around(*pair) for pair in zip(blocks_of(model), made, strict=True)]
        super().__init__(model, nn.ModuleList(made), hooks)


def _around(block: nn.Module, connection: LowRank) -> Hook:
    return Hook(block, after=lambda x, y: y + connection(x))


class BlockUpdates(nn.Module):
    """LoRA on one block: parameters TARGET_a (r, n_in), TARGET_b (n_out, r), TARGET_d.

    targets: parts of a fused projection, each with its own factors, and projections. middle: null,
    or a trained factor D between A and B, diagonal (r,) or full (r, r), which starts at zero;
    without it B does. nonlinear: a ReLU between A and B.
    """

    def __init__(
        self,
        shape,
        targets: Sequence[str],
        rank: int,
        alpha: float,
        dropout: float,
        draws: torch.Generator,
        middle: str | None = None,
        nonlinear: bool = False,
    ):
        super().__init__()
        self.targets, self.scale = tuple(targets), alpha / rank
        self.middle, self.nonlinear = middle, nonlinear
        backbone = backbone_of(shape)
        self.parts, self.join = backbone.PARTS, partial(join_parts, shape)
        names = dict.fromkeys(whole_of(backbone, target) for target in targets)
        self.number = {name: number for number, name in enumerate(names)}  # of a projection
        self.dropouts = nn.ModuleList(
            Dropout(dropout, target_shape(shape, name)[0]) for name in names
        )
        for target in targets:
            n_in, n_out = target_shape(shape, target)
            b = torch.zeros(n_out, rank)
            self._add(target, "a", kaiming(torch.empty(rank, n_in), draws))
            self._add(target, "b", b if middle is None else kaiming(b, draws))
            if middle is not None:
                size = (rank,) * (1 if middle == "diagonal" else 2)
                self._add(target, "d", torch.zeros(size))

    def _add(self, target: str, factor: str, values: Tensor) -> None:
        self.register_parameter(f"{target.replace('.', '_')}_{factor}", nn.Parameter(values))

    def factor(self, target: str, factor: str) -> Tensor:
        return getattr(self, f"{target.replace('.', '_')}_{factor}")

    def update(self, target: str, x: Tensor) -> Tensor:
        """(B, L, n_in) -> (B, L, n_out)."""
        z = F.linear(x, self.factor(target, "a"))  # (B, L, r)
        if self.middle == "diagonal":
            z = z * self.factor(target, "d")
        elif self.middle == "full":
            z = F.linear(z, self.factor(target, "d"))
        if self.nonlinear:
            z = F.relu(z)
        return F.linear(z, self.factor(target, "b")) * self.scale

    def forward(self, name: str, x: Tensor) -> Tensor:
        """All updates of projection `name`: (B, L, n_in) -> (B, L, n_out)."""
        x = self.dropouts[self.number[name]](x)
        if name in self.targets:
            return self.update(name, x)
        updates = {part: self.update(part, x) for part in self.parts[name] if part in self.targets}
        nothing = torch.zeros_like(next(iter(updates.values())))
        return self.join([updates.get(part, nothing) for part in self.parts[name]])

    def places(self, model, block: nn.Module) -> list[tuple[nn.Module, str]]:
        """The projections of `block` that have updates, with their names."""
        return [(projection_of(model, block, name), name) for name in self.number]

    def hook(self, linear: nn.Module, name: str) -> Hook:
        return Hook(linear, after=lambda x, y: y + self(name, x))


def singular_values(a: Tensor, b: Tensor) -> Tensor:
    """The singular values of B A that can be above zero, descending: (r,) for r <= n_in, n_out.

    From the small matrix R_b R_a' of the factors' QR decompositions A' = Q_a R_a, B = Q_b R_b.
    """
    r_a, r_b = (torch.linalg.qr(factor, mode="r").R for factor in (a.mT, b))
    return torch.linalg.svdvals(r_b @ r_a.mT)


@torch.no_grad()
def feature_space(a: Tensor, b: Tensor, top_k: int) -> float:
    """The feature space of B A: the share of the top k singular values, or for k = 0 their mean.

    The mean is over as many values as B A can have, min(r, width); the share is 0 where B A is. In
    float64 on the CPU, so that what is chosen by it does not depend on the device. Raises
    FloatingPointError for factors that are not finite.
    """
    a, b = a.cpu().double(), b.cpu().double()
    if not (a.isfinite().all() and b.isfinite().all()):
        raise FloatingPointError("a low-rank factor is not finite; lower train.lr")
    values = singular_values(a, b)
    if top_k == 0:
        return values.mean().item()
    total = values.sum().item()
    return values[:top_k].sum().item() / total if total > 0 else 0.0
