"""Trained scales on the two sides of a projection's weight; what SSL and SSB share.

y = x diag(a) W diag(b) + c with GPT-2's W of shape (n_in, n_out): a scales the rows of W, its input
side, b the columns, its output side; the bias c is not scaled. All scales start at one.
"""

import torch
from torch import Tensor, nn

from solo.adapters.base import Attached, Hook, install
from solo.adapters.shared.targets import projection, projection_shape


def attach_scales(model, targets: tuple[str, ...], output_side: bool) -> Attached:
    """Train a (n_in,), and with `output_side` b (n_out,), on the `targets` of every block.

    At step 0 the output is unchanged to the bit.
    """
    scales, hooks, folds = nn.ModuleDict(), [], []
    for i, block in enumerate(model.transformer.h):
        scales[str(i)] = nn.ModuleDict()
        for name in targets:
            n_in, n_out = projection_shape(model.config, name)
            scale = nn.ParameterDict({"a": torch.ones(n_in)})
            if output_side:
                scale["b"] = torch.ones(n_out)
            scales[str(i)][name.replace(".", "_")] = scale
            hooks.append(_hook(projection(block, name), scale))
            folds.append((projection(block, name).weight, scale))

    def fold() -> None:
        for weight, scale in folds:  # (n_in, n_out)
            weight.mul_(scale["a"][:, None])
            if output_side:
                weight.mul_(scale["b"])

    return install(model, scales, hooks, fold)


def _hook(linear: nn.Module, scale: nn.ParameterDict) -> Hook:
    def before(x: Tensor) -> Tensor:
        return x * scale["a"]  # (B, L, n_in)

    def after(x: Tensor, y: Tensor) -> Tensor:
        return y + (y - linear.bias) * (scale["b"] - 1)  # b (y - c) + c, exact where b is one

    return Hook(linear, after=after if "b" in scale else None, before=before)
