"""LoRA (Hu et al., 2021) with loralib's semantics, and the variants of its factors.

    y + (alpha / r) B D A dropout(x)          A (r, n_in), B (n_out, r), D (r, r) or none

By default on query and value, each with its own A and B: in GPT-2 the thirds of the fused c_attn,
elsewhere the heads' shares of query_key_value, or q_proj and v_proj. One dropout draw feeds all
updates of one projection (loralib: `MergedLinear` with enable_lora [True, False, True], as
examples/NLG/src/model.py uses it). Target `c_attn` is another method: one A for query, key and
value, as the peft library has it.

Without D, A is Kaiming-uniform(a = sqrt 5) and B zero. `middle` is the paper's D or M in the
decompositions of arXiv 2407.05417 (section IV-A): `diagonal` as TriLoRA and AdaLoRA, `full` as
FLoRA. D starts at zero and B as A does, and the scale is alpha / r, as in
Chongjie-Si/Subspace-Tuning, CR_MR/peft/src/peft/tuners/trilora.py and flora.py. The same authors'
loralib departs from these: layers_trilora.py has no scale, and layers_flora.py starts A and B at
normal(0, 0.02), with which D moves the weight a tenth as far a step.

`constraint` is a matrix pattern constraint of the same paper (MPC, section IV-B), where the update
is x A B, so that its A and B are the transposes of those stored here. Per adapted weight:

    o   |A'A - I|^2 + |BB' - I|^2                     MPC_o, eq. 25; without D, or with a diagonal D
    d   |A'A - I|^2 + |BB' - diag(BB')|^2             MPC_d, eq. 26; without D
    n   no penalty, a nonlinearity between A and B    MPC_n; without D

with squared Frobenius norms. Neither the nonlinearity, nor a weight for the penalty, nor its mean
over the adapted weights is in the text. Built here: ReLU, since the paper's scores of LoRA + MPC_n
are those of its parallel adapter, whose code has ReLU (and no scale, and dropout behind the ReLU;
here both are LoRA's); the mean over weights of what eq. 25 or 26 gives for each; and 0.1, AdaLoRA's
figure, which there multiplies a mean over the factors of norms that are not squared.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solo.adapters.base import HookedMethod, generator
from solo.adapters.shared.layers import BlockUpdates, check_low_rank, count_low_rank
from solo.adapters.shared.targets import check_has, check_targets
from solo.backbones import blocks_of, matrix_of
from solo.options import check

MIDDLES = (None, "diagonal", "full")
CONSTRAINTS = {None: MIDDLES, "o": (None, "diagonal"), "d": (None,), "n": (None,)}


@dataclass(frozen=True)
class Config:
    """rank r, alpha (the update's scale is alpha / rank), dropout on the update's input.

    targets: out of q, k, v, which every backbone has, and the names of its projections; in GPT-2
    c_attn, attn.c_proj, c_fc, mlp.c_proj. middle: null, diagonal or full. constraint: null, o, d or
    n; constraint_weight: of its penalty in the loss.
    """

    rank: int = 4
    alpha: float = 32.0
    dropout: float = 0.1
    targets: tuple[str, ...] = ("q", "v")
    middle: str | None = None
    constraint: str | None = None
    constraint_weight: float = 0.1

    def __post_init__(self):
        check_low_rank(self)
        object.__setattr__(self, "targets", check_targets(self.targets, parts=True))
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


class Lora(HookedMethod):
    """Low-rank updates B A beside weights of projections. Step 0 is unchanged: B or D is zero."""

    Config = Config
    label = "LoRA"
    trains = "B A beside the weight"
    where = "query and value thirds of c_attn"
    count = "L·4dr"
    source = "arXiv 2106.09685"
    cannot_merge = None

    def __init__(self, model, config: Config, seed: int):
        draws, self.config = generator(seed), config
        factors = (config.targets, config.rank, config.alpha, config.dropout)
        nonlinear, blocks = config.constraint == "n", blocks_of(model)
        updates = nn.ModuleList(
            BlockUpdates(model.config, *factors, draws, config.middle, nonlinear) for _ in blocks
        )
        self.places = [  # (the block's updates, projection, its name)
            (update, *place)
            for block, update in zip(blocks, updates, strict=True)
            for place in update.places(model, block)
        ]
        hooks = [update.hook(linear, name) for update, linear, name in self.places]
        super().__init__(model, updates, hooks)
        if nonlinear:
            self.cannot_merge = "constraint n puts a ReLU between A and B"

    @classmethod
    def check_backbone(cls, shape, config: Config) -> None:
        check_has(shape, config.targets, parts=True)

    def penalty(self) -> Tensor | float:
        if self.config.constraint not in ("o", "d"):
            return 0.0
        values = [
            _penalty(update.factor(target, "a"), update.factor(target, "b"), self.config.constraint)
            for update in self.module
            for target in self.config.targets
        ]
        return self.config.constraint_weight * torch.stack(values).mean()

    def fold(self) -> None:
        for update, linear, name in self.places:
            weight, was_training = matrix_of(linear), update.training
            identity = torch.eye(len(weight)).to(weight)
            weight += update.eval()(name, identity)  # (n_in, n_out): the update is linear
            update.train(was_training)

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """r (n_in + n_out) per target and block, and r for a diagonal, r^2 for a full middle."""
        r = config.rank
        middle = {None: 0, "diagonal": r, "full": r * r}[config.middle]
        factors = count_low_rank(shape, config.targets, r)
        return factors + shape.num_hidden_layers * len(config.targets) * middle


def _penalty(a: Tensor, b: Tensor, constraint: str) -> Tensor:
    """The constraint's penalty of one weight, a scalar, of A (r, n_in) and B (n_out, r)."""
    gram_a, gram_b = a @ a.T, b.T @ b  # (r, r), the paper's A'A and BB'
    identity = torch.eye(len(gram_a), device=gram_a.device, dtype=gram_a.dtype)
    wanted = identity if constraint == "o" else gram_b.diag().diag()
    return (gram_a - identity).square().sum() + (gram_b - wanted).square().sum()
