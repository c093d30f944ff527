"""LoR2C's schedules (Zhao et al., 2025, arXiv 2503.00572): modules that merge, or become LoRA.

The feature space of a module is the share of the top k singular values of B A in their sum, or for
k = 0 their mean. At intervals:

- merge: of all pairs of adjacent modules, the one whose feature spaces have the smallest sum
  becomes one module that spans both ranges of blocks: it reads the input of the first block, adds
  to the output of the last, and goes on from the first module's weights;
- inject: of the modules around a single block, the one with the largest feature space is removed,
  and LoRA on the query and value of its block takes its place, B zero.

Ties go to the lower block; where both are due, the merge comes first. Where nothing is left for an
event (every pair would be too long, every module is merged) it changes nothing: `blocks` is null.

The rules are those of the authors' code for RoBERTa and Llama 2 (Oblivioniss/LoR2C,
run_glue_lor2c.py and llama_finetune_lor2c.py), since the paper was at hand by its abstract only.
Their later finetune_llama3_imlor2c.py has others: it merges the two neighbours whose updates point
most alike, injects where the stable rank is lowest, and fades both in over 598 steps. One
reimplementation (MohnishBangaru/Hybrid-LoR2C-QLoRA) scores one minus the share: it injects as here,
but merges the two whose shares have the largest sum, and keeps the module with the smaller share.

Defaults from the code: no limit to the span, an interval of a quarter of training divided by the
number of events (there rounded up to epochs), half the rank for LoRA, and events for a quarter of
the blocks (8 of 32 in llama_finetune_lor2c.sh, which sets no k; k = 0, the mean, is what the code
then takes, and what glue_finetune_lor2c.sh sets, with no events). Other than in the code:

- a merged module is the first one trained on, with the optimizer's state (there a copy that the
  optimizer never sees), and an injected LoRA stays trained (there it is frozen again at the next
  epoch);
- singular values are those of the moment (there of the last ones written to a file), and their mean
  is over min(r, d) of them instead of d, which makes no difference to the choice;
- one event of a kind at the end of each interval (llama_finetune_lor2c.py repeats it at every step
  of the next one).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from solo.adapters.base import Hook, HookedMethod, generator
from solo.adapters.shared.layers import (
    BlockUpdates,
    LowRank,
    check_low_rank,
    feature_space,
    residuals,
)
from solo.adapters.shared.passing import Outputs
from solo.backbones import blocks_of
from solo.options import check

LEAST = {"merges": 1, "injections": 1, "lora_rank": 1, "max_span": 2, "interval": 1}


@dataclass(frozen=True)
class Plan:
    """How many events of each kind are to be, and by what they are chosen.

    max_span: the most blocks that a merged module may span. top_k: of the feature space. interval:
    steps between two events of a kind; None: a quarter of training divided by their number.
    """

    merges: int
    injections: int
    max_span: int
    top_k: int
    interval: int | None

    @property
    def counts(self) -> dict[str, int]:
        return {"merge": self.merges, "inject": self.injections}


@dataclass(frozen=True)
class Scheduled:
    """Options of all three: LoR2C's rank r, alpha (a module's scale is alpha / rank) and dropout.

    top_k: k of the feature space. interval: steps between two events of a kind; null: a quarter of
    training divided by their number.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.05
    top_k: int = 0
    interval: int | None = None

    def __post_init__(self):
        check_low_rank(self)
        for name, least in LEAST.items():
            value = getattr(self, name, None)
            check(
                value is None or value >= least,
                f"adapter.{name} is {value}; it must be at least {least}, or null for the default",
            )
        alpha = getattr(self, "lora_alpha", 1.0)
        check(alpha > 0, f"adapter.lora_alpha is {alpha}; it must be above 0")
        check(
            0 <= self.top_k < self.rank,
            f"adapter.top_k is {self.top_k}; it must be below adapter.rank ({self.rank}), or 0 for "
            "the mean singular value",
        )


@dataclass(frozen=True)
class Merges(Scheduled):
    """merges: how many; null: a quarter of the blocks. max_span: the most blocks that a module may
    span; null: no limit."""

    merges: int | None = None
    max_span: int | None = None


@dataclass(frozen=True)
class Injections(Scheduled):
    """injections: how many; null: a quarter of the blocks. lora_rank, lora_alpha: of the LoRA that
    comes, which has the same dropout; null: half of rank."""

    injections: int | None = None
    lora_rank: int | None = None
    lora_alpha: float = 16.0


def make_plan(n: int, config) -> Plan:
    """The plan of a Config for n blocks; a method without merges or injections has no such option.

    Raises ValueError if there are too few blocks for it.
    """
    quarter = max(1, n // 4)
    n_merges = (config.merges or quarter) if hasattr(config, "merges") else 0
    n_injections = (config.injections or quarter) if hasattr(config, "injections") else 0
    span = min(n, getattr(config, "max_span", None) or n)
    check(n_injections <= n, f"adapter.injections is {n_injections}; the model has only {n} blocks")
    rest = n - n_injections
    possible = rest - math.ceil(rest / span)
    check(
        n_merges <= possible,
        f"adapter.merges is {n_merges}; into modules of at most {span} blocks {rest} blocks can be "
        f"merged {possible} times (the model has {n}, and {n_injections} are for LoRA)",
    )
    return Plan(n_merges, n_injections, span, config.top_k, config.interval)


class Connections(nn.Module):
    """Low-rank residual connections, and LoRA in the blocks that have lost theirs.

    residual: modules by the first block of their range, "0", "1", ...; end: its last block, by the
    first. lora: updates of query and value by block; to_inject: those that wait, one for each block
    or none.
    """

    def __init__(self, residual: Sequence[LowRank], to_inject: Sequence[BlockUpdates] = ()):
        super().__init__()
        self.residual = nn.ModuleDict({str(i): module for i, module in enumerate(residual)})
        self.end = {i: i for i in range(len(residual))}
        self.lora = nn.ModuleDict()
        self.to_inject = list(to_inject)  # in a list they are no part of the module yet

    def hooks(self, model) -> list[Hook]:
        """Hooks at every block, which look up at each call what there is at their place."""
        blocks = blocks_of(model)
        pending = Outputs()  # what the output of a block is to get, by block
        hooks = [Hook(block, after=self._around(i, pending)) for i, block in enumerate(blocks)]
        for i, lora in enumerate(self.to_inject):
            for linear, name in lora.places(model, blocks[i]):
                hooks.append(Hook(linear, after=self._inside(str(i), name)))
        return hooks

    def _around(self, block: int, pending: Outputs):
        def after(x: Tensor, y: Tensor) -> Tensor:
            if block in self.end:
                pending.of[self.end[block]] = self.residual[str(block)](x)
            return y + pending.of.pop(block) if block in pending.of else y

        return after

    def _inside(self, block: str, name: str):
        def after(x: Tensor, y: Tensor) -> Tensor:
            return y + self.lora[block](name, x) if block in self.lora else y

        return after

    def feature_spaces(self, top_k: int) -> dict[int, float]:
        """Of every module, by the first block of its range."""
        modules = {first: self.residual[str(first)] for first in self.end}
        return {first: feature_space(m.a, m.b, top_k) for first, m in modules.items()}

    def perform(self, event: dict) -> None:
        """Do what an event says. Raises ValueError for one that does not fit."""
        if event["blocks"] is None:
            return
        (first, last), kind = event["blocks"], event["kind"]
        if kind == "merge":
            second = self.end.get(first, first) + 1
            check(self.end.get(second) == last, f"there are no two modules to merge for {event}")
            self.end[first] = self.end.pop(second)
            del self.residual[str(second)]
        else:
            check(kind == "inject" and bool(self.to_inject), f"this method cannot do {event}")
            fits = first == last and self.end.get(first) == last
            check(fits, f"there is no module to replace for {event}")
            del self.end[first]
            removed = self.residual.pop(str(first))
            lora = self.to_inject[first].to(removed.b)
            self.lora[str(first)] = lora.train(self.training)


def to_merge(end: dict[int, int], spaces: dict[int, float], max_span: int) -> list[int] | None:
    """The range [first, last] of the pair to merge, of modules (`end`: Connections), if any."""
    pairs = [
        (spaces[first] + spaces[last + 1], first, end[last + 1])
        for first, last in end.items()
        if last + 1 in end and end[last + 1] - first < max_span
    ]
    return list(min(pairs)[1:]) if pairs else None


def to_inject(end: dict[int, int], spaces: dict[int, float]) -> list[int] | None:
    """The range [block, block] of the module to replace, if any (see to_merge)."""
    single = [first for first, last in sorted(end.items()) if first == last]
    return [max(single, key=spaces.get)] * 2 if single else None


def connect(shape, config, plan: Plan, seed: int) -> Connections:
    """A connection for every block, and where the plan injects, a LoRA that waits."""
    draws = generator(seed)
    residual = residuals(shape, config.rank, config.alpha, config.dropout, draws)
    if plan.injections == 0:
        return Connections(residual)
    rank = config.lora_rank or max(1, config.rank // 2)
    factors = (rank, config.lora_alpha, config.dropout)
    lora = [BlockUpdates(shape, ("q", "v"), *factors, draws) for _ in residual]
    return Connections(residual, lora)


class ScheduledResiduals(HookedMethod):
    """LoR2C with the schedule of a Config (see make_plan). At step 0 nothing changes: B is zero."""

    def __init__(self, model, config, seed: int):
        self.plan = make_plan(model.config.num_hidden_layers, config)
        connections = connect(model.config, config, self.plan, seed)
        super().__init__(model, connections, connections.hooks(model))
        self.intervals: dict[str, int] = {}

    def scalars(self) -> dict[str, float]:
        return {"modules": len(self.module.end), "lora_blocks": len(self.module.lora)}

    def start(self, total_steps: int) -> None:
        for kind, count in self.plan.counts.items():
            interval = self.plan.interval or max(1, total_steps // (4 * max(1, count)))
            check(
                count * interval < total_steps,
                f"the schedule does not fit: {count} times {kind}, every {interval} steps, takes "
                f"more than {count * interval} steps and the run has {total_steps}; lower their "
                "number or adapter.interval, or train longer",
            )
            self.intervals[kind] = interval

    def after_step(self, step: int) -> None:
        if not self.intervals:
            raise RuntimeError("the schedule was not started: call start(total_steps) first")
        for kind, count in self.plan.counts.items():  # the merge first
            if step % self.intervals[kind] or step > count * self.intervals[kind]:
                continue
            end, spaces = self.module.end, self.module.feature_spaces(self.plan.top_k)
            if kind == "merge":
                blocks = to_merge(end, spaces, self.plan.max_span)
            else:
                blocks = to_inject(end, spaces)
            named = {str(first): space for first, space in spaces.items()}
            self._perform({"step": step, "kind": kind, "blocks": blocks, "feature_spaces": named})

    def replay(self, events: list[dict]) -> None:
        for event in events:
            self._perform(event)

    def _perform(self, event: dict) -> None:
        self.module.perform(event)
        self.events.append(event)
        self.parameters = dict(self.module.named_parameters())

    @staticmethod
    def n_params(shape, config) -> int:
        """2 d r per block at the start; what events change: the method's `count`."""
        return shape.num_hidden_layers * 2 * shape.hidden_size * config.rank
