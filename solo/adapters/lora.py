"""LoRA (Hu et al., 2021) with loralib's semantics, and the variants of its factors.

    y + (alpha / r) B D A dropout(x)          A (r, n_in), B (n_out, r), D (r, r) or none

By default on the query and value thirds of the fused c_attn, each with its own A and B; one dropout
draw feeds all updates of one projection (loralib: `MergedLinear` with enable_lora [True, False,
True], as examples/NLG/src/model.py uses it). Target `c_attn` is another method: one A for query,
key and value, as the peft library has it.

Without D, A is Kaiming-uniform(a = sqrt 5) and B zero. `middle` is the paper's D or M in the
decompositions of arXiv 2407.05417 (section IV-A): `diagonal` as TriLoRA and AdaLoRA, `full` as
FLoRA. D starts at zero and B as A does (Chongjie-Si/Subspace-Tuning, layers_trilora.py; unlike it,
the update keeps the scale alpha / r).

`constraint` is a matrix pattern constraint of the same paper (MPC, section IV-B), where the update
is x A B, so that its A and B are the transposes of those stored here. Per adapted weight:

    o   |A'A - I|^2 + |BB' - I|^2                     MPC_o, eq. 25; without D, or with a diagonal D
    d   |A'A - I|^2 + |BB' - diag(BB')|^2             MPC_d, eq. 26; without D
    n   no penalty, a nonlinearity between A and B    MPC_n; without D

with squared Frobenius norms. Neither the nonlinearity, nor a weight for the penalty, nor its mean
over the adapted weights is in the text. Built here: ReLU, since the paper's scores of LoRA + MPC_n
are those of its parallel adapter, whose code has ReLU; the mean, and 0.1, as AdaLoRA's penalty.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from solo.adapters.base import Attached, Hook, cannot_merge, check, generator, install
from solo.adapters.targets import PROJECTIONS, check_targets, projection, projection_shape

THIRDS = ("q", "k", "v")  # of c_attn's output, in this order
MIDDLES = (None, "diagonal", "full")
CONSTRAINTS = {None: MIDDLES, "o": (None, "diagonal"), "d": (None,), "n": (None,)}


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the update's scale is alpha / rank), dropout on the update's input.

    targets: out of q, k, v (thirds of c_attn), c_attn, attn.c_proj, c_fc, mlp.c_proj. middle: null,
    diagonal or full. constraint: null, o, d or n; constraint_weight: of its penalty in the loss.
    """

    rank: int = 4
    alpha: float = 32.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ("q", "v")
    middle: str | None = None
    constraint: str | None = None
    constraint_weight: float = 0.1

    def __post_init__(self):
        check(self.rank >= 1, f"adapter.rank is {self.rank}; it must be at least 1")
        check(self.alpha > 0, f"adapter.alpha is {self.alpha}; it must be above 0")
        check(0 <= self.dropout < 1, f"adapter.dropout is {self.dropout}; it must be in [0, 1)")
        targets = check_targets(self.targets, (*THIRDS, *PROJECTIONS))
        clash = "c_attn" in targets and set(targets) & set(THIRDS)
        check(not clash, "adapter.targets has c_attn and a third of it; choose c_attn, or q, k, v")
        object.__setattr__(self, "targets", targets)
        _check_choice("middle", self.middle, MIDDLES)
        _check_choice("constraint", self.constraint, CONSTRAINTS)
        check(
            self.middle in CONSTRAINTS[self.constraint],
            f"adapter.constraint={self.constraint} is not defined for middle={self.middle}; with "
            "middle=null: o, d, n; diagonal: o; full: none",
        )
        weight = self.constraint_weight
        check(weight >= 0, f"adapter.constraint_weight is {weight}; it must be at least 0")


def _check_choice(name: str, value, allowed) -> None:
    known = ", ".join("null" if choice is None else choice for choice in allowed)
    check(value in allowed, f"adapter.{name} is {value!r}; known: {known}")


def _module(target: str) -> str:
    return "c_attn" if target in THIRDS else target


def _shape(model_config, target: str) -> tuple[int, int]:
    d = model_config.n_embd
    return (d, d) if target in THIRDS else projection_shape(model_config, target)


class BlockUpdates(nn.Module):
    """The updates of one block: parameters TARGET_a (r, n_in), TARGET_b (n_out, r), TARGET_d."""

    def __init__(self, model_config, config: Config, draws: torch.Generator):
        super().__init__()
        self.config, self.scale = config, config.alpha / config.rank
        self.dropout = nn.Dropout(config.dropout)
        for target in config.targets:
            n_in, n_out = _shape(model_config, target)
            b = torch.zeros(n_out, config.rank)
            self._add(target, "a", _kaiming(torch.empty(config.rank, n_in), draws))
            self._add(target, "b", b if config.middle is None else _kaiming(b, draws))
            if config.middle is not None:
                size = (config.rank,) * (1 if config.middle == "diagonal" else 2)
                self._add(target, "d", torch.zeros(size))

    def _add(self, target: str, factor: str, values: Tensor) -> None:
        self.register_parameter(f"{target.replace('.', '_')}_{factor}", nn.Parameter(values))

    def factor(self, target: str, factor: str) -> Tensor:
        return getattr(self, f"{target.replace('.', '_')}_{factor}")

    def update(self, target: str, x: Tensor) -> Tensor:
        """(B, L, n_in) -> (B, L, n_out)."""
        z = F.linear(x, self.factor(target, "a"))  # (B, L, r)
        if self.config.middle == "diagonal":
            z = z * self.factor(target, "d")
        elif self.config.middle == "full":
            z = F.linear(z, self.factor(target, "d"))
        elif self.config.constraint == "n":
            z = F.relu(z)
        return F.linear(z, self.factor(target, "b")) * self.scale

    def forward(self, name: str, x: Tensor) -> Tensor:
        """All updates of projection `name`: (B, L, n_in) -> (B, L, n_out)."""
        x = self.dropout(x)
        if name in self.config.targets:
            return self.update(name, x)
        thirds = {t: self.update(t, x) for t in THIRDS if t in self.config.targets}
        nothing = torch.zeros_like(next(iter(thirds.values())))
        return torch.cat([thirds.get(third, nothing) for third in THIRDS], dim=-1)  # (B, L, 3d)

    def penalty(self, target: str) -> Tensor:
        """The constraint's penalty of one weight, a scalar."""
        a, b = self.factor(target, "a"), self.factor(target, "b")
        gram_a, gram_b = a @ a.T, b.T @ b  # (r, r), the paper's A'A and BB'
        one = torch.eye(len(gram_a), device=gram_a.device, dtype=gram_a.dtype)
        wanted = one if self.config.constraint == "o" else gram_b.diag().diag()
        return (gram_a - one).square().sum() + (gram_b - wanted).square().sum()


def _kaiming(values: Tensor, draws: torch.Generator) -> Tensor:
    return nn.init.kaiming_uniform_(values, a=math.sqrt(5), generator=draws)


def attach(model, config: Config, seed: int) -> Attached:
    """Add the updates to every block's targets. At step 0 nothing changes: B or D is zero."""
    draws = generator(seed)
    blocks = model.transformer.h
    updates = nn.ModuleList(BlockUpdates(model.config, config, draws) for _ in blocks)
    places = [  # (projection, its name, the block's updates)
        (projection(block, name), name, update)
        for block, update in zip(blocks, updates, strict=True)
        for name in dict.fromkeys(map(_module, config.targets))
    ]

    def penalty() -> Tensor:
        values = [update.penalty(target) for update in updates for target in config.targets]
        return config.constraint_weight * torch.stack(values).mean()

    def fold() -> None:
        for linear, name, update in places:
            was_training = update.training
            identity = torch.eye(linear.weight.shape[0]).to(linear.weight)
            linear.weight += update.eval()(name, identity)  # (n_in, n_out): the update is linear
            update.train(was_training)

    attached = install(
        model,
        updates,
        [_hook(*place) for place in places],
        fold,
        penalty=penalty if config.constraint in ("o", "d") else None,
    )
    if config.constraint == "n":
        attached.merge = cannot_merge("constraint n puts a ReLU between A and B")
    return attached


def _hook(linear: nn.Module, name: str, update: BlockUpdates) -> Hook:
    return Hook(linear, after=lambda x, y: y + update(name, x))


def n_params(model_config, config: Config) -> int:
    """r (n_in + n_out) per target and block, and r for a diagonal, r^2 for a full middle."""
    r = config.rank
    middle = {None: 0, "diagonal": r, "full": r * r}[config.middle]
    each = [r * sum(_shape(model_config, target)) + middle for target in config.targets]
    return model_config.n_layer * sum(each)
