"""A sparse matrix that several places of a model share."""

import math

import torch
import torch.nn.functional as F
from torch import nn


class SharedLinear(nn.Module):
    """A shared matrix (n_out, n_in) of which only the kept entries exist as parameters.

    `values` holds the kept entries in row-major order, so masked ones are never counted, decayed
    or stored. With mask=permutation all entries are kept and multiplied by a fixed permutation.
    config: of Solo (sparsity, mask, weight_init, bias, bias_init, trainable_matrices), resolved.
    """

    def __init__(self, n_in: int, n_out: int, config, draws, mask_draws):
        super().__init__()
        self.shape, n = (n_out, n_in), n_out * n_in
        weight = torch.empty(n_out, n_in)
        _initialise(weight, config.weight_init, draws)
        values, kept, factor = weight.flatten(), None, None
        if config.sparsity > 0:
            order = torch.randperm(n, generator=mask_draws)
            if config.mask == "random":
                kept = order[: round((1 - config.sparsity) * n)].sort().values
                values = values[kept]
            else:
                factor = order.float()
        self._keep("values", values, config.trainable_matrices)
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("factor", factor, persistent=False)
        bias = torch.zeros(n_out)
        if config.bias_init == "uniform":
            bias.uniform_(-1 / math.sqrt(n_in), 1 / math.sqrt(n_in), generator=draws)
        self._keep("bias", bias if config.bias else None, config.trainable_matrices)

    def _keep(self, name: str, tensor: torch.Tensor | None, trainable: bool) -> None:
        """Frozen tensors are buffers, so that nobody turns their gradient on."""
        if trainable and tensor is not None:
            self.register_parameter(name, nn.Parameter(tensor))
        else:
            self.register_buffer(name, tensor)

    def _apply(self, function, *args):
        """What `to`, `half` and the like do; but the factor, whole numbers below n, stays in fp32:
        fp16 ends at 65,504, and bf16 has not every whole number above 256."""
        factor = self.factor
        super()._apply(function, *args)
        if factor is not None and not factor.is_meta:
            self.factor = factor.to(self.factor.device)
        return self

    def weight(self) -> torch.Tensor:
        """The dense matrix, (n_out, n_in)."""
        values = self.values
        if self.factor is not None:
            values = (values * self.factor).to(values.dtype)
        if self.kept is not None:
            dense = values.new_zeros(self.shape[0] * self.shape[1])
            values = dense.scatter(0, self.kept, values)
        return values.view(self.shape)

    def forward(self, x: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
        """(..., n_in) -> (..., n_out). weight: what `weight` gave, where that is at hand."""
        return F.linear(x, self.weight() if weight is None else weight, self.bias)


def _initialise(weight: torch.Tensor, kind: str, draws: torch.Generator) -> None:
    if kind == "kaiming_uniform":
        nn.init.kaiming_uniform_(weight, generator=draws)
    elif kind == "kaiming_normal":
        nn.init.kaiming_normal_(weight, generator=draws)
    elif kind == "normal":
        nn.init.normal_(weight, std=0.02, generator=draws)
    else:
        nn.init.zeros_(weight)
