"""The pretraining of a stand-in backbone: its steps, its log, its state.

Warm-up, a stable learning rate, and a linear decay to zero; AdamW; gradients clipped at 1. What was
planted learns at a fraction of the rate. A run that was killed goes on from its last state and ends
with the same weights, bit for bit on one machine.
"""

from __future__ import annotations

import math
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import torch
import transformers

from solo.adapters.base import Method
from solo.backbones import loading as backbone
from solo.options import check
from solo.standin.chunked_loss import head_cross_entropy
from solo.standin.mixture import KINDS, Mixture
from solo.standin.planted import slow_parameters
from solo.standin.recipe import Recipe
from solo.training import state as training_state
from solo.training.batches import IGNORED, sent
from solo.training.checked import LIMITS, checked
from solo.training.log import Log
from solo.training.progress import Progress
from solo.training.recorded import recorded

AHEAD = 3  # batches that are made while an accelerator is at work
CHECKS = 8  # batches on which a faster step is held against the plain one: recorded, then replayed
RECORD_UP_TO = 2**13  # tokens of a step; with more, a GPU's kernels take longer than their launches
LOG = "pretrain_log.jsonl"


class Rows(NamedTuple):
    """What a recorded step reads: ids (B, T)."""

    ids: torch.Tensor


def pretrain(
    model: transformers.GPT2LMHeadModel,
    mixture: Mixture,
    measure: Callable[[transformers.GPT2LMHeadModel, bool], dict],
    recipe: Recipe,
    on_progress: Progress = lambda done, total, info: None,
) -> dict:
    """Train `model` in place; returns {"steps", "tokens_seen", "seconds"}.

    Writes LOG in the output directory, and every `save_seconds` the state from which a later call
    goes on. Raises ValueError for a state of another recipe, FloatingPointError if the loss stops
    being finite.
    """
    directory = Path(recipe.output_dir)
    model.to(backbone.device()).train()
    optimizer = _optimizer(model, recipe)
    state = directory / training_state.STATE
    counters = _resume(state, model, optimizer, recipe.identity)
    step, tokens, before = counters["step"], counters["tokens"], counters["seconds"]
    log = Log(directory / LOG)
    log.keep_until(step)
    advance = make_step(model, optimizer, recipe)
    began = saved = logged = time.monotonic()
    logged_tokens = tokens

    def entry() -> dict:
        seconds = round(before + time.monotonic() - began, 1)
        return {"step": step, "tokens": tokens, "seconds": seconds}

    if step == 0:
        log.write({"step": 0, "tokens": 0, "seconds": 0.0} | measure(model, True))
        logged = time.monotonic()
    for batch in _batches(mixture, recipe, step, model.device):
        loss = advance(*batch, recipe.learning_rate(step))
        step, tokens = step + 1, tokens + batch[0].numel()
        if step % recipe.log_every == 0 or step == recipe.steps:
            value, now = loss.item(), time.monotonic()  # item waits for the device
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value} at step {step}; lower pretrain.lr")
            speed = round((tokens - logged_tokens) / (now - logged))
            log.write(entry() | {"loss": round(value, 4), "tokens_per_s": speed})
            on_progress(step, recipe.steps, {"loss": f"{value:.3f}", "tokens/s": speed})
            logged, logged_tokens = time.monotonic(), tokens
        aside = time.monotonic()  # what takes no step counts for no speed
        if step % recipe.measure_every == 0 or step == recipe.steps:
            log.write(entry() | measure(model, step % (5 * recipe.measure_every) == 0))
        if time.monotonic() - saved >= recipe.save_seconds:
            counters = entry() | {"identity": recipe.identity}
            log.sync()
            training_state.save_state(state, _whole(model), optimizer, counters)
            saved = time.monotonic()
        logged += time.monotonic() - aside
    return {"steps": step, "tokens_seen": tokens, "seconds": entry()["seconds"]}


def _batches(
    mixture: Mixture, recipe: Recipe, done: int, device: torch.device
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The batches of the steps after `done`, the next ones made while an accelerator is at work:
    a step there takes no longer than the making of its rows."""

    def make(step: int) -> tuple[torch.Tensor, torch.Tensor]:
        phase = recipe.phase(step)
        shares = {kind: getattr(phase, kind) for kind in KINDS}
        return mixture.batch(shares, phase.batch_size, phase.context, recipe.seed, step)

    steps = range(done, recipe.steps)
    if device.type == "cpu":
        yield from map(make, steps)
        return
    with ThreadPoolExecutor(1) as maker:
        ahead = deque(maker.submit(make, step) for step in steps[:AHEAD])
        for step in steps:
            if step + AHEAD < recipe.steps:
                ahead.append(maker.submit(make, step + AHEAD))
            yield ahead.popleft().result()


def make_step(model: transformers.GPT2LMHeadModel, optimizer, recipe: Recipe) -> Callable:
    """A function (ids, targets, rate) -> loss that makes one step; ids, targets (B, T)."""
    low = recipe.precision == "bf16"
    dtype = torch.bfloat16 if low else torch.float32

    def trunk(ids: torch.Tensor) -> torch.Tensor:
        with torch.autocast(model.device.type, torch.bfloat16, enabled=low):
            return model.transformer(ids, use_cache=False).last_hidden_state  # (B, T, d)

    def loss_of(forward: Callable) -> Callable:
        def loss(batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
            ids, targets = batch
            hidden = forward(ids)
            known = targets != IGNORED
            return head_cross_entropy(
                hidden.flatten(0, 1)[known], model.lm_head.weight, targets[known], dtype
            )

        return loss

    loss_at, faster = loss_of(trunk), _faster(model, recipe, trunk, model.device.type)
    if faster:
        trained, limits = list(model.parameters()), LIMITS[recipe.precision]
        loss_at = checked(loss_of(faster), loss_at, trained, limits, CHECKS, _as_it_is)

    def advance(ids: torch.Tensor, targets: torch.Tensor, rate: float) -> torch.Tensor:
        for group in optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        ids, targets = (sent(x, model.device) for x in (ids, targets.flatten()))
        loss = loss_at((ids, targets))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return advance


def _faster(model, recipe: Recipe, trunk: Callable, device: str) -> Callable | None:
    """A faster way to the hidden states (B, T, d) of ids (B, T), if there is one here: compiled,
    or on a GPU recorded as CUDA graphs, where a step is too small to keep it busy otherwise."""
    if recipe.compile:
        return torch.compile(trunk)
    largest = max(phase["batch_size"] * phase["context"] for phase in recipe.phases)
    if device != "cuda" or largest > RECORD_UP_TO:
        return None

    replay = recorded(model, lambda _, rows: trunk(rows.ids))
    return lambda ids: replay(Rows(ids))


def _as_it_is(why: str) -> None:
    warnings.warn(f"the plain step is taken: the faster one failed its check ({why})", stacklevel=2)


def _optimizer(model: transformers.GPT2LMHeadModel, recipe: Recipe) -> torch.optim.Optimizer:
    slow = {id(p) for p in slow_parameters(model)} if recipe.planted else set()
    groups = []
    for planted in (False, True):
        for matrix in (True, False):  # matrices alone lose weight
            members = [
                p
                for p in model.parameters()
                if (id(p) in slow) == planted and (p.dim() >= 2) == matrix
            ]
            decay = recipe.weight_decay if matrix else 0.0
            scale = recipe.planted_lr_scale if planted else 1.0
            if members:
                groups.append({"params": members, "weight_decay": decay, "lr_scale": scale})
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.99), fused=True)


def _whole(model: transformers.GPT2LMHeadModel) -> Method:
    """The whole model as something that is trained: its state is saved as any other's."""
    return Method(dict(model.named_parameters()))


def _resume(path: Path, model, optimizer, identity: str) -> dict:
    """The counters of the saved state, which is loaded; zeros where there is none."""
    if not path.exists():
        return {"step": 0, "tokens": 0, "seconds": 0.0}
    counters = training_state.read_counters(path)
    check(
        counters["identity"] == identity,
        f"{path} is the state of another recipe; delete it, or set pretrain.output_dir=DIR",
    )
    training_state.load_state(path, _whole(model), optimizer)
    return counters
