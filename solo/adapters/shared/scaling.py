"""Trained scales on the two sides of a projection's weight; what SSL and SSB share.

y = x diag(a) W diag(b) + c with W of shape (n_in, n_out): a scales the rows of W, its input side, b
the columns, its output side; the bias c is not scaled. All scales start at one.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solo.adapters.base import Hook, HookedMethod
from solo.adapters.shared.targets import ProjectionTargets, check_has, target_shape
from solo.backbones import blocks_of, matrix_of, projection_of


@dataclass(frozen=True)
class Config(ProjectionTargets):
    """targets: the projections that are scaled; by default the four of GPT-2."""

    targets: tuple[str, ...] = ("c_attn", "attn.c_proj", "c_fc", "mlp.c_proj")


class Scales(HookedMethod):
    """Train a (n_in,), and with `output_side` b (n_out,), on the targets of every block.

    At step 0 the output is unchanged to the bit.
    """

    Config = Config
    output_side: bool
    cannot_merge = None

    def __init__(self, model, config: Config, seed: int):
        scales, self.scaled = nn.ModuleDict(), []
        for i, block in enumerate(blocks_of(model)):
            scales[str(i)] = nn.ModuleDict()
            for name in config.targets:
                n_in, n_out = target_shape(model.config, name)
                scale = nn.ParameterDict({"a": torch.ones(n_in)})
                if self.output_side:
                    scale["b"] = torch.ones(n_out)
                scales[str(i)][name.replace(".", "_")] = scale
                self.scaled.append((projection_of(model, block, name), scale))
        super().__init__(model, scales, [_hook(*pair) for pair in self.scaled])

    @classmethod
    def check_backbone(cls, shape, config: Config) -> None:
        check_has(shape, config.targets)

    def fold(self) -> None:
        for linear, scale in self.scaled:
            weight = matrix_of(linear)  # (n_in, n_out)
            weight.mul_(scale["a"][:, None])
            if self.output_side:
                weight.mul_(scale["b"])

    @classmethod
    def n_params(cls, shape, config: Config) -> int:
        """n_in, and with the output side n_out, per target and block."""
        sides = 2 if cls.output_side else 1
        widths = [sum(target_shape(shape, name)[:sides]) for name in config.targets]
        return shape.num_hidden_layers * sum(widths)


def _hook(linear: nn.Module, scale: nn.ParameterDict) -> Hook:
    def before(x: Tensor) -> Tensor:
        return x * scale["a"]  # (B, L, n_in)

    def after(x: Tensor, y: Tensor) -> Tensor:
        product = y if linear.bias is None else y - linear.bias
        return y + product * (scale["b"] - 1)  # b (y - c) + c, exact where b is one

    return Hook(linear, after=after if "b" in scale else None, before=before)
