"""The loss of a batch, and of the validation set, for any number of runs side by side."""

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor, nn

from solo.adapters.base import Method
from solo.adapters.shared.dropout import draw, draw_no_more
from solo.backbones import positions_of
from solo.backbones.gelu import fast_gelu
from solo.backbones.products import cast_once, frozen_products
from solo.datasets.data import Example
from solo.training.batches import IGNORED, Batch, PackedBatch, collate, pack, pad, to_device
from solo.training.checked import LIMITS, Loss, checked
from solo.training.compiled import compiled_blocks
from solo.training.progress import Progress
from solo.training.recipe import TrainConfig
from solo.training.recorded import recorded

IN_CACHE = 2**19  # logits that stay in a core's cache together, in fp32
RECORD_FROM = 100  # steps that pay for recording CUDA graphs
# Batches that a recorded or compiled step is checked on: a CUDA graph is warmed up, recorded, then
# replayed, for each of the few shapes by itself.
RECORDED_CHECKS = 8
# What is told where a way fails its check. A run keeps these names in its state.
FAILED = {
    "fast": "the plain path is taken, slower but right: the fast one failed",
    "recorded": "the run goes on without CUDA graphs, slower: they failed",
    "compiled": "the run goes on without torch.compile, slower: it failed",
}
SOON, EVERY = 2.0, 0.5  # seconds of a validation until it is told of, and from then on


def summed_loss(
    model, batch: Batch, runs: int, smoothing: float, methods: Sequence[Method] = ()
) -> Tensor:
    """Sum of the cross-entropy over the target tokens of each run, (runs,).

    methods: of the runs, whose dropout draws by the batch's keys from now on.
    """
    if methods:
        draw([method.module for method in methods], batch.keys)
    logits, targets = batch.target_logits(model)
    if isinstance(batch, PackedBatch):
        each = cross_entropy(logits, targets, smoothing)
    else:
        each = F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing)
    return each.view(runs, -1).sum(1)


@contextmanager
def training_loss(
    model,
    config: TrainConfig,
    methods: Sequence[Method],
    total: int,
    note: Callable[[str], None] = warnings.warn,
    given_up: set[str] | None = None,
) -> Iterator[Loss]:
    """Within: a function from the batches of K runs to the summed loss of each, (K,).

    It takes the cheapest way through the backbone that the method and the device allow; all give
    the same but for rounding. On a CPU a batch is one row with next to no
    padding, and what never changes is prepared once. On an accelerator every example has a row, in
    few shapes, so that a step can be recorded as a CUDA graph and replayed (recorded.py). On either
    its blocks can be compiled (compiled.py). `packed: false` is the plain path that all are tested
    against, and the one for methods that look at more than one position. The first batches go the
    plain way too (checked.py); where that gives something else it is taken from there on.

    methods: of the runs, at work in the model. total: the steps of the run, which decide whether
    it pays to record. note: told in one line why a fast way is not taken. given_up: the ways (of
    FAILED) that are not tried again; those that fail now are added.
    """
    given_up = set() if given_up is None else given_up
    parameters = [p for method in methods for p in method.parameters.values()]
    packed = config.packed and all(method.position_wise for method in methods)
    summed = partial(summed_loss, methods=methods)
    recording = model.device.type == "cuda" and packed and total >= RECORD_FROM
    dtype = torch.bfloat16 if config.precision == "bf16" else torch.float32
    if not packed:
        layout, prepared = collate, nullcontext()
    elif model.device.type == "cpu":
        layout, prepared = partial(pack, multiple=8), _on_cpu(model, dtype)
    else:
        multiple = 32 if config.compile or recording else 1
        layout = partial(pad, multiple=multiple, n_positions=positions_of(model))
        prepared = cast_once(model, dtype)

    def guarded(way: str, fast: Loss, slow: Loss, n_batches: int) -> Loss:
        def give_up(why: str) -> None:
            given_up.add(way)
            note(f"{FAILED[way]} its check on the run's first batches ({why})")

        if way in given_up:
            return slow
        return checked(fast, slow, parameters, LIMITS[config.precision], n_batches, give_up)

    loss = _stepwise(model, config, layout, summed)
    if layout is not collate:
        plain = _unprepared(model, _stepwise(model, config, _plain, summed))
        loss = guarded("fast", loss, plain, 1)
    compiling = compiled_blocks(model) if config.compile else nullcontext()
    with prepared, compiling as compiled:
        if recording:
            fast = _recorded(model, config, layout, summed)
            loss = guarded("recorded", fast, loss, RECORDED_CHECKS)
        if config.compile:
            way = _recorded if recording and "recorded" not in given_up else _stepwise
            fast = way(model, config, layout, compiled(summed))
            loss = guarded("compiled", fast, loss, RECORDED_CHECKS)
        try:
            yield loss
        finally:
            draw_no_more([method.module for method in methods])


@contextmanager
def _on_cpu(model, dtype: torch.dtype) -> Iterator[None]:
    with frozen_products(model, dtype), fast_gelu(model):
        yield


def _stepwise(model, config: TrainConfig, layout: Callable, function: Callable) -> Loss:
    """The loss of batches by `function`, as summed_loss is one; each operation launched apart."""

    def loss(batches: list[list[Example]]) -> Tensor:
        batch = to_device(layout(batches), model.device)
        with autocast(model, config):
            return function(model, batch, len(batches), config.label_smoothing)

    return loss


def _recorded(model, config: TrainConfig, layout: Callable, function: Callable) -> Loss:
    """The same by CUDA graphs, one for each shape and number of runs."""

    def summed(model: nn.Module, batch: Batch, runs: int) -> Tensor:
        with autocast(model, config):
            return function(model, batch, runs, config.label_smoothing)

    graphs: dict[int, Callable] = {}

    def loss(batches: list[list[Example]]) -> Tensor:
        runs = len(batches)
        if runs not in graphs:
            graphs[runs] = recorded(model, partial(summed, runs=runs))
        return graphs[runs](to_device(layout(batches), model.device))

    return loss


def _unprepared(model: nn.Module, plain: Loss) -> Loss:
    """The same loss with the model's own products and activations, whatever was prepared in their
    place."""
    own = {module for module in model.modules() if "forward" not in vars(module)}

    def loss(batches: list[list[Example]]) -> Tensor:
        prepared = {m: vars(m).pop("forward") for m in own if "forward" in vars(m)}
        try:
            return plain(batches)
        finally:
            for module, forward in prepared.items():
                module.forward = forward

    return loss


def _plain(batches: list[list[Example]]) -> Batch:
    """The layout that the others are checked against; runs side by side need places by run."""
    return collate(batches) if len(batches) == 1 else pad(batches, 1)


@torch.no_grad()
def validation_losses(
    model,
    examples: list[Example],
    config: TrainConfig,
    processes: Accelerator,
    runs: int = 1,
    on_progress: Progress = lambda done, total, info: None,
) -> list[float]:
    """Mean negative log-likelihood per target token (nats) of each run, without label smoothing.

    on_progress hears of examples, as a part of its own, where that takes more than a moment.
    """
    model.eval()
    told = time.monotonic() + SOON
    total = torch.zeros(runs, dtype=torch.float64)
    by_length = sorted(examples, key=lambda example: len(example.ids))  # little padding
    size = config.valid_batch_size or (16 if model.device.type == "cpu" else 64)
    size = max(1, size // runs)  # rows in all: twelve runs of sixteen filled 24 GiB
    index = processes.process_index
    for i in range(index * size, len(by_length), processes.num_processes * size):
        batch = to_device(collate([by_length[i : i + size]] * runs), model.device)
        with autocast(model, config):
            total += summed_loss(model, batch, runs, 0.0).cpu().double()  # MPS has none
        if processes.is_main_process and time.monotonic() > told:
            told = time.monotonic() + EVERY
            on_progress(min(i + size, len(by_length)), len(by_length), {"part": "validate"})
    if processes.num_processes > 1:
        total = processes.reduce(total.to(processes.device), "sum").cpu()
    return (total / sum(example.n_targets for example in examples)).tolist()


def autocast(model, config: TrainConfig):
    """Matrix products in bf16 where the recipe says so; parameters and loss stay in fp32."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16")


class _SmoothedLoss(torch.autograd.Function):
    """The gradient is made on the way forward, up to the factor of each row, from what is in the
    cache there."""

    @staticmethod
    def forward(ctx, logits, targets, smoothing):
        n, vocabulary = logits.shape
        counts = targets != IGNORED
        wanted = targets.where(counts, 0)[:, None]
        loss = torch.empty(n, device=logits.device)
        slopes = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        size = max(1, IN_CACHE // vocabulary)
        for start in range(0, n, size):
            rows = slice(start, start + size)
            part = logits[rows].to(torch.float32, copy=True)
            part.sub_(part.amax(-1, keepdim=True))
            at_target, mean = part.gather(1, wanted[rows]), part.mean(-1, keepdim=True)
            total = part.exp_().sum(-1, keepdim=True)
            loss[rows] = (total.log() - (1 - smoothing) * at_target - smoothing * mean)[:, 0]
            if slopes is not None:
                part.div_(total).sub_(smoothing / vocabulary)
                part.scatter_add_(1, wanted[rows], part.new_full((len(part), 1), smoothing - 1))
                slopes[rows] = part
        ctx.save_for_backward(slopes, counts)
        return loss.where(counts, 0)

    @staticmethod
    def backward(ctx, gradient):
        slopes, counts = ctx.saved_tensors
        return slopes * gradient.where(counts, 0)[:, None].to(slopes.dtype), None, None


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing).

    Pretraining, whose logits must never exist as a whole, has solo/standin/chunked_loss.py.
    """
    return _SmoothedLoss.apply(logits, targets, smoothing)
