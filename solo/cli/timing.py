"""How fast this machine trains and decodes: from the logs of earlier runs, or timed on the spot."""

from __future__ import annotations

import copy
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import torch
import transformers

from solo import files
from solo.backbones import without_dropout
from solo.backbones.loading import device, sizes_of
from solo.backbones.shapes import model_class
from solo.datasets.data import Example
from solo.decoding import rules
from solo.run_files import ENVIRONMENT, LOG
from solo.runs import record
from solo.runs.config import RunConfig
from solo.runs.run import Run, open_run
from solo.training.loop import train

LENGTHS = (35, 44, 51, 57, 73)  # tokens of training examples: mean 52, padded in fours as E2E is
TARGETS = 0.46  # of them, completion and end token
STEPS = 4  # timed training steps, the first of which does not count
STEPS_ON_DEVICE = 300  # on an accelerator, the first half of which records CUDA graphs
TIMED = "timed now, random weights"


class Key(NamedTuple):
    """What decides a run's speed on one machine. shape: the backbone's sizes, and its type; beam:
    what decides the search's."""

    shape: tuple
    method: str
    batch_size: int
    precision: str
    data: str
    beam: tuple


@dataclass(frozen=True)
class Speed:
    """tokens_per_s: training, padding left out. seconds_per_mr: decoding, at most (to the longest
    output), None if unknown. source: where the two come from."""

    tokens_per_s: float
    seconds_per_mr: float | None
    source: str


def key_of(config: RunConfig, shape: transformers.PretrainedConfig) -> Key:
    """Of a run on a backbone of a shape; runs that share it share a Speed."""
    return _key(config, shape.model_type, sizes_of(shape))


def _key(config: RunConfig, model_type: str, sizes: dict[str, int]) -> Key:
    shape = (*sizes.values(), model_type)
    search = config.decode
    beam = (search.beam, search.length_penalty, search.no_repeat_ngram, search.max_new_tokens)
    recipe = config.train
    name = config.data.name
    return Key(shape, config.method, recipe.batch_size, recipe.precision, name, beam)


def describe(key: Key) -> str:
    """A key in words."""
    n_layer, n_embd, *_, model_type = key.shape
    shape = f"{model_type} {n_layer} x {n_embd}"
    return f"{shape}, {key.method}, batch {key.batch_size}, {key.precision}, {key.data}"


def logged(runs_dir: Path) -> dict[Key, Speed]:
    """The speeds of earlier runs on this hardware, by the medians of their logs."""
    speeds, here = {}, record.environment()["hardware"]
    for path in sorted(Path(runs_dir).glob(f"*/{ENVIRONMENT}")):
        try:
            training = files.read_json(path)["train"]
            # Of runs together the logs have the tokens of all.
            alone = training.get("processes", 1) == training.get("together", 1) == 1
            if training["hardware"] == here and alone:
                key, speed = _logged(open_run(path.parent), here)
                speeds.setdefault(key, speed)
        except (ValueError, KeyError, TypeError, OSError, ArithmeticError):
            continue  # unfinished, damaged, or nothing trained
    return speeds


def _logged(run: Run, here: dict) -> tuple[Key, Speed]:
    backbone = record.stage_record(run.directory, "train")["backbone"]
    lines = files.read_json_lines(run.directory / LOG)
    speed = statistics.median(e["tokens_per_s"] for e in lines if "tokens_per_s" in e)
    decoded, per_mr = record.stage_record(run.decoding, "decode"), None
    if decoded and decoded["hardware"] == here:
        per_mr = decoded["seconds"] / decoded["n_predictions"]
    key = _key(run.config, backbone["model_type"], backbone["shape"])
    return key, Speed(speed, per_mr, f"log of {run.directory.name}")


def measure(
    keys: Mapping[Key, Sequence[RunConfig]], shapes: Mapping[Key, transformers.PretrainedConfig]
) -> tuple[dict[Key, Speed], list[tuple[RunConfig, ValueError]]]:
    """Time a few training and decoding steps for every key, with random weights on this device.

    keys: the configurations of each key; one that fits the backbone is timed. A backbone is made,
    and its decoding timed, once for all keys of its shape: a method adds little to it. Returns the
    speeds, and each configuration that does not fit, with the reason. A schedule that is too long
    for the few steps has no speed.
    """
    speeds, unfit, made, per_mr = {}, [], (None, None), {}
    for key in sorted(keys, key=str):
        if made[0] != key.shape:
            made = (None, None)  # let go of the last one first
            made = (key.shape, random_backbone(shapes[key]))
        fitting = []
        for config in keys[key]:
            try:
                config.method_class.attach(made[1], config.adapter, config.seed).detach()
                fitting.append(config)
            except ValueError as error:
                unfit.append((config, error))
        decoding = (key.shape, key.beam)
        if fitting and decoding not in per_mr:
            per_mr[decoding] = _seconds_per_mr(made[1], fitting[0])
        for config in fitting[:1]:
            with suppress(ValueError):
                speeds[key] = Speed(_tokens_per_s(made[1], config), per_mr[decoding], TIMED)
    return speeds, unfit


def random_backbone(shape: transformers.PretrainedConfig) -> transformers.PreTrainedModel:
    """A backbone of that shape as solo/backbones/loading.py would load it, its weights random."""
    with device():
        return model_class(shape)(without_dropout(copy.deepcopy(shape))).eval()


def _tokens_per_s(model: transformers.PreTrainedModel, config: RunConfig) -> float:
    """Tokens a second in training, padding left out; infinity where nothing is trained."""
    draws, clock = torch.Generator().manual_seed(0), []
    on_cpu = model.device.type == "cpu"
    steps, first = (STEPS, 1) if on_cpu else (STEPS_ON_DEVICE, STEPS_ON_DEVICE // 2)
    recipe = replace(config.train, max_steps=steps, warmup_steps=0)
    lengths = LENGTHS * recipe.batch_size * steps  # whole cycles: their mean is that of E2E
    ids = [torch.randint(model.config.vocab_size, (n,), generator=draws).tolist() for n in lengths]
    examples = [Example(tokens, round((1 - TARGETS) * len(tokens))) for tokens in ids]

    def tick(done, total, info):
        if done in (first, steps):
            if not on_cpu:
                torch.accelerator.synchronize()
            clock.append(time.monotonic())

    attached = config.method_class.attach(model, config.adapter, 1)
    try:
        if not attached.parameters:
            return float("inf")
        with tempfile.TemporaryDirectory() as directory:
            train(model, attached, examples, examples[:1], recipe, directory, 1, "timing", tick)
    finally:
        attached.detach()
    mean = sum(LENGTHS) / len(LENGTHS)
    return (steps - first) * recipe.batch_size * mean / (clock[1] - clock[0])


def _seconds_per_mr(model: transformers.PreTrainedModel, config: RunConfig) -> float:
    """Seconds for one context and the longest output. A context has 37 tokens, the mean of E2E's
    test set: it is read once, so its length matters little beside that of the output."""
    search = config.decode
    prompts, times = [[k + 1] * 37 for k in range(search.contexts(model.device))], {}
    model.eval()
    for length in (1, 1, 3):  # the first one warms up
        short = replace(search, max_new_tokens=length)
        start = time.monotonic()
        rules.beam_search(model, prompts, short, (model.config.vocab_size - 1,))
        times[length] = time.monotonic() - start
    step = max(0.0, times[3] - times[1]) / 2
    return (times[1] + (search.max_new_tokens - 1) * step) / len(prompts)
