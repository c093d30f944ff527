"""Solo Connection: sparse low-rank connections around decoder blocks, gated by homotopy.

For a connection from block j around the next m blocks (paper, eq. 1 to 3):

    x_{j+m} <- x_{j+m} + f_solo(x_j)
    f_solo(x) = lambda * v * (W_d (W_e dropout(x) [+ or *] e))

x_j is the output of block j, counted from 1, earlier connections included. W_e (d -> r) and W_d
(r -> d) are sparse and shared by all connections; e, v and lambda belong to one. `variant=paper`
is what the text says, `variant=devcode` what the first author's public development code does
(github.com/harsh306/CLoRA at a28ebc7, examples/NLG/src/model.py); a key left at None takes the
variant's value, any other value overrides it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import NamedTuple

import torch
from torch import nn

from solo.adapters.base import Hook, HookedMethod, check_seed, generator
from solo.adapters.shared.dropout import Dropout
from solo.adapters.shared.passing import Outputs
from solo.adapters.shared.sparse import SharedLinear
from solo.backbones import blocks_of
from solo.options import check

CHOICES = {
    "variant": ("paper", "devcode"),
    "encoding": ("bias", "scale"),
    "vector_init": ("normal", "zeros"),
    "weight_init": ("kaiming_uniform", "kaiming_normal", "normal", "zeros"),
    "bias_init": ("zeros", "uniform"),
    "mask": ("random", "permutation"),
}


@dataclass(frozen=True)
class Config:
    """Options of Solo Connection; None means: as the variant has it.

    variant: paper or devcode, see above. rank, sparsity: r, and the MASKED fraction s of W_e and
    W_d. span: the paper's label, m blocks. start, stride, reach: first j, distance of the j, and m
    itself; without them start = stride = span + 1, and m = span (paper) or stride (devcode).
    weight_init: of W_e and W_d. dropout: the rate, on x. trainable_matrices: False freezes the
    random W_e and W_d (Table 5). homotopy: False leaves lambda out (Table 6, case 2). encoding: e
    is added (starts at 0) or multiplied (starts at 1). vector_init: v. lambda_init, lambda_bounded:
    lambda's start, and whether it is projected to [0, 1] after each step. bias, bias_init: biases
    of W_e and W_d. mask: `random` zeroes a fraction s; `permutation` multiplies by the development
    code's permutation of 0 ... n-1. mask_seed: the masks' own seed (None: the run's seed).
    """

    variant: str = "paper"
    rank: int = 128
    sparsity: float = 0.0
    span: int = 1
    start: int | None = None
    stride: int | None = None
    reach: int | None = None
    trainable_matrices: bool = True
    homotopy: bool = True
    encoding: str | None = None
    vector_init: str | None = None
    lambda_init: float | None = None
    lambda_bounded: bool | None = None
    weight_init: str | None = None
    bias: bool | None = None
    bias_init: str | None = None
    mask: str | None = None
    dropout: float | None = None
    mask_seed: int | None = None

    def __post_init__(self):
        for name in ("rank", "span", "start", "stride", "reach"):
            value = getattr(self, name)
            check(value is None or value >= 1, f"adapter.{name} is {value}; it must be at least 1")
        for name in ("sparsity", "dropout"):
            value = getattr(self, name)
            check(
                value is None or 0 <= value < 1, f"adapter.{name} is {value}; it must be in [0, 1)"
            )
        if self.mask_seed is not None:
            check_seed(self.mask_seed)
        for name, allowed in CHOICES.items():
            value = getattr(self, name)
            check(
                value in allowed or (value is None and name != "variant"),
                f"adapter.{name} is {value!r}; known: {', '.join(allowed)}",
            )
        start, bounded = self.lambda_init, self.lambda_bounded
        if bounded is None:
            bounded = preset(self.variant, self.sparsity > 0)["lambda_bounded"]
        check(
            start is None or not bounded or 0 <= start <= 1,
            f"adapter.lambda_init is {start}; lambda lives in [0, 1]",
        )

    def resolved(self) -> "Config":
        """The same config with every None that the variant decides filled in."""
        stride = self.stride or self.span + 1
        values = {"start": stride, "stride": stride} | preset(self.variant, self.sparsity > 0)
        values.setdefault("reach", stride if self.variant == "devcode" else self.span)
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        values |= {name: value for name, value in given.items() if value is not None}
        return replace(self, **values)


def preset(variant: str, sparse: bool) -> dict:
    """What a variant says of each open key. The development code differs for sparse matrices."""
    if variant == "paper":
        return {
            "encoding": "bias",
            "vector_init": "normal",
            "lambda_init": 0.001,
            "lambda_bounded": True,
            "weight_init": "kaiming_uniform",
            "bias": False,
            "bias_init": "zeros",
            "mask": "random",
            "dropout": 0.1,  # no rate in the text; LoRA's, whose set-up the paper follows
        }
    return {
        "encoding": "scale",
        "vector_init": "zeros",
        "lambda_init": 0.1,
        "lambda_bounded": False,
        "weight_init": "zeros" if sparse else "normal",
        "bias": True,
        "bias_init": "uniform" if sparse else "zeros",
        "mask": "permutation",
        "dropout": 0.01 if sparse else 0.1,
    }


def connections(n_layer: int, config: Config) -> list[tuple[int, int]]:
    """(j, j + m) of every connection, blocks counted from 1. ValueError if there is none.

    Span 1 on 12 blocks: (2, 3), (4, 5), ... (10, 11) for `paper`, (2, 4), ... (10, 12) for
    `devcode`: 5 either way, 11 on 24 blocks, as the paper counts.
    """
    c = config.resolved()
    pairs = [(j, j + c.reach) for j in range(c.start, n_layer - c.reach + 1, c.stride)]
    check(
        bool(pairs),
        f"adapter.start={c.start} and a connection around {c.reach} blocks leave no block to adapt "
        f"in a backbone of {n_layer}; choose a smaller span or start",
    )
    return pairs


class Computed(NamedTuple):
    """What the connections make of the parameters before they see x, the same for all of a pass.

    e and gate are lists of rows, so that the gradients of all rows are put together at once; those
    of rows taken one by one out of a tensor are each filled up with zeros and added.
    """

    encoder: torch.Tensor | None  # W_e, (r, d); None: its module has it
    decoder: torch.Tensor | None  # W_d, (d, r)
    e: Sequence[torch.Tensor]  # T of (r,)
    gate: Sequence[torch.Tensor]  # lambda v, T of (d,)


class OfAPass(Outputs):
    """Those that connections wait for, by the block's number, and what all of them compute with."""

    def __init__(self):
        super().__init__()
        self.computed: Computed | None = None


class SoloConnections(nn.Module):
    """All connections of a model: shared encoder and decoder, and e, v, lambda of each."""

    def __init__(self, width: int, ends: list[tuple[int, int]], config: Config, seed: int):
        super().__init__()
        self.config, self.ends = config, ends
        draws = generator(seed)
        mask_draws = generator(seed if config.mask_seed is None else config.mask_seed)
        self.dropouts = nn.ModuleList(Dropout(config.dropout, width) for _ in ends)
        self.encoder = SharedLinear(width, config.rank, config, draws, mask_draws)
        self.decoder = SharedLinear(config.rank, width, config, draws, mask_draws)
        start = 1.0 if config.encoding == "scale" else 0.0
        self.e = nn.Parameter(torch.full((len(ends), config.rank), start))
        v = torch.zeros(len(ends), width)
        if config.vector_init == "normal":
            v.normal_(generator=draws)
        self.v = nn.Parameter(v)
        self.lambda_ = None
        if config.homotopy:
            self.lambda_ = nn.Parameter(torch.full((len(ends),), float(config.lambda_init)))

    def gate(self) -> torch.Tensor:
        """lambda v of every connection, (T, d)."""
        return self.v if self.lambda_ is None else self.v * self.lambda_[:, None]

    def computed(self) -> Computed:
        """What `forward` takes for all connections of a forward pass."""
        e, gate = self.e.unbind(), self.gate().unbind()
        return Computed(self.encoder.weight(), self.decoder.weight(), e, gate)

    def forward(self, x: torch.Tensor, i: int, computed: Computed | None = None) -> torch.Tensor:
        """f_solo of connection i: (B, L, d) -> (B, L, d). Without `computed` it costs more."""
        c = computed or Computed(None, None, self.e, self.gate())
        z = self.encoder(self.dropouts[i](x), c.encoder)  # (B, L, r)
        z = z + c.e[i] if self.config.encoding == "bias" else z * c.e[i]
        return self.decoder(z, c.decoder) * c.gate[i]  # (B, L, d)

    def project(self) -> None:
        """Bring lambda back to [0, 1]; a clamp in the forward pass would lose its gradient.

        Through `data`: a graph that waits for its backward pass does not take it for a change.
        """
        if self.lambda_ is not None and self.config.lambda_bounded:
            self.lambda_.data.clamp_(0, 1)

    def scalars(self) -> dict[str, float]:
        if self.lambda_ is None:
            return {}
        values = self.lambda_.detach().tolist()
        return {f"lambda/{j}": value for (j, _), value in zip(self.ends, values, strict=True)}

    def connect(self, blocks: nn.ModuleList) -> list[Hook]:
        """Hook every block that a connection leaves or enters: first add, then remember."""
        outputs = OfAPass()
        starts = {j for j, _ in self.ends}
        entering = {end: i for i, (_, end) in enumerate(self.ends)}
        first, last = min(starts), max(entering)

        def hook(number: int):
            def after_block(x, y):
                if number == first:
                    outputs.computed = self.computed()
                if number in entering:
                    i = entering[number]
                    y = y + self(outputs.of.pop(self.ends[i][0]), i, outputs.computed)
                if number == last:
                    outputs.computed = None
                if number in starts:
                    outputs.of[number] = y
                return y

            return after_block

        return [Hook(blocks[n - 1], after=hook(n)) for n in sorted(starts | set(entering))]


class Solo(HookedMethod):
    """Connections around blocks that share a sparse encoder and decoder, gated by lambda.

    Step 0 is unchanged only where v or lambda starts at zero.
    """

    Config = Config
    label = "Solo"
    trains = "connections around blocks: shared sparse encoder and decoder; e, v, lambda of each"
    where = "outputs of blocks"
    count = "2 round((1-s)dr) + T(r+d+1)"
    source = "arXiv 2507.14353"

    def __init__(self, model, config: Config, seed: int):
        c = config.resolved()
        ends = connections(model.config.num_hidden_layers, c)
        module = SoloConnections(model.config.hidden_size, ends, c, seed)
        super().__init__(model, module, module.connect(blocks_of(model)))
        self.identity_at_start = c.vector_init == "zeros" or (c.homotopy and c.lambda_init == 0)

    def after_step(self, step: int) -> None:
        self.module.project()

    def scalars(self) -> dict[str, float]:
        return self.module.scalars()

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """Paper, appendix B: (1-s) d r 2 + T (r + d), plus T lambdas, plus r + d for biases."""
        c = config.resolved()
        d, r = shape.hidden_size, c.rank
        T = len(connections(shape.num_hidden_layers, c))
        sparse = c.sparsity > 0 and c.mask == "random"
        kept = round((1 - c.sparsity) * d * r) if sparse else d * r
        matrices = 2 * kept + (r + d if c.bias else 0)
        return (matrices if c.trainable_matrices else 0) + T * (r + d + (1 if c.homotopy else 0))
