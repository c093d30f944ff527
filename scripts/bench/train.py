"""Our training, the floor that products set, and how programs are compared, for the benchmark.

A program takes batches of examples, makes one step for each, and gives back the clock after every
step; all programs of a round get the same batches. The peers' are in scripts/bench/peers.py.
"""

import gc
import itertools
import math
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel

from solo import files
from solo.adapters import make_config
from solo.backbones.products import Packed, can_pack
from solo.cli.timing import random_backbone
from solo.datasets.data import Example
from solo.run_files import LOG
from solo.training.batches import epoch_batches
from solo.training.loop import Training
from solo.training.loss import validation_losses
from solo.training.processes import make_accelerator
from solo.training.recipe import TrainConfig
from solo.training.together import train_runs

SOLO = {"name": "solo", "rank": 128, "sparsity": 0.4}
LORA = {"name": "lora", "rank": 8}
SEED = 1
# The floors of a table, and its programs that train LoRA, whose gradients go down to block 0.
FLOOR, LORA_FLOOR = "products alone", "products alone, LoRA"
OF_LORA = (LORA_FLOOR, "ours, lora", "peft + Trainer", "LoRA's recipe")
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16}
Batches = list[list[Example]]
Program = Callable[[Batches], list[float]]


def clock(device: torch.device) -> float:
    """Now, when the device has done what it was given."""
    if device.type != "cpu":
        torch.accelerator.synchronize()
    return time.perf_counter()


def batches_of(examples: list[Example], size: int) -> Batches:
    """The batches of an epoch over `examples`, in the order in which our loop takes them."""
    order = epoch_batches(len(examples), size, SEED, 0)
    return [[examples[i] for i in batch] for batch in order]


def ours(
    model: GPT2LMHeadModel,
    options: Sequence[dict],
    precision: str,
    on_step: Callable[[int, int], None] = lambda done, total: None,
    **recipe,
) -> Program:
    """Our loop: one run, or with several `options` as many together. recipe: of TrainConfig."""

    def steps(batches: Batches) -> list[float]:
        examples, size = [e for batch in batches for e in batch], len(batches[0])
        # The loop shuffles; this undoes it beforehand.
        order = [i for batch in epoch_batches(len(examples), size, SEED, 0) for i in batch]
        unshuffled = [example for _, example in sorted(zip(order, examples, strict=True),
                                                       key=lambda pair: pair[0])]  # fmt: skip
        config = TrainConfig(
            batch_size=size, max_steps=len(batches), precision=precision, log_every=100,
            warmup_steps=0, **recipe,
        )  # fmt: skip
        runs, times = [], []
        with tempfile.TemporaryDirectory() as folder:
            for number, one in enumerate(options):
                method, adapter = make_config(one)
                attached = method.attach(model, adapter, SEED)
                if len(options) > 1:
                    attached.detach()
                runs.append(Training(attached, config, Path(folder, str(number)), SEED, "bench"))

            def tick(done, total, info):
                last = done in (total // 2, total) or model.device.type == "cpu"
                times.append(clock(model.device) if last else time.perf_counter())
                on_step(done, total)

            train_runs(model, runs, unshuffled, unshuffled[:1], tick)
        if len(options) == 1:
            runs[0].attached.detach()
        return times

    return steps


def one_by_one(programs: Sequence[Program]) -> Program:
    """Several programs, one after the other, as if each of their steps were one step."""

    def steps(batches: Batches) -> list[float]:
        times = [program(batches) for program in programs]
        spent = [[b - a for a, b in itertools.pairwise(t)] for t in times]
        clock_after = [0.0]
        for step in zip(*spent, strict=True):
            clock_after.append(clock_after[-1] + sum(step))
        return clock_after

    return steps


def products(shape: GPT2Config, precision: str, device, first: int) -> Program:
    """The floor: the matrix products of a step with frozen weights, and nothing else.

    Forward through every block, the gradient of the inputs from block `first` (from 0) up, the head
    at target positions both ways, every weight another one, as in a real step. Packed for the
    processor where our loop does that too.
    """
    d, dtype, device = shape.n_embd, DTYPES[precision], torch.device(device)
    sizes = [(d, 3 * d), (d, d), (d, 4 * d), (4 * d, d)]
    packs = can_pack(device, dtype)

    def weight(n_in: int, n_out: int):
        values = torch.randn(n_in, n_out, device=device).to(dtype)
        return Packed(values, dtype, 256) if packs else values

    blocks = [[weight(*size) for size in sizes] for _ in range(shape.n_layer)]
    head = weight(d, shape.vocab_size)

    def forth(x, w):
        return w.times(x, None) if packs else x @ w

    def back(g, w):
        return w.times_transposed(g) if packs else g @ w.t()

    @torch.no_grad()
    def steps(batches: Batches) -> list[float]:
        times = []
        for batch in batches:
            tokens, targets = count(batch)
            rows = {n: torch.randn(tokens, n, device=device).to(dtype) for n in (d, 3 * d, 4 * d)}
            start = clock(device)
            for block in blocks:
                for (n_in, _), w in zip(sizes, block, strict=True):
                    forth(rows[n_in], w)
            back(forth(rows[d][:targets], head), head)
            for block in blocks[first:]:
                for (_, n_out), w in zip(sizes, block, strict=True):
                    back(rows[n_out], w)
            spent = clock(device) - start
            times.append((times[-1] if times else 0.0) + spent)
        return times

    return steps


def count(batch: list[Example]) -> tuple[int, int]:
    """(tokens, target tokens) of a batch, padding left out."""
    return sum(len(e.ids) for e in batch), sum(e.n_targets for e in batch)


def model_flops(shape: GPT2Config, batches: Batches, first: int) -> float:
    """Multiplications and additions that the step's mathematics needs, attention included."""
    d, L, total = shape.n_embd, shape.n_layer, 0.0
    for batch in batches:
        tokens, targets = count(batch)
        attention = sum(4 * d * len(e.ids) ** 2 / 2 for e in batch)  # scores and values, causal
        forward = 2 * 12 * d * d * tokens + attention
        backward = 2 * 12 * d * d * tokens + 2 * attention
        total += L * forward + (L - first) * backward + 4 * d * shape.vocab_size * targets
    return total


def peak_flops(device, precision: str) -> float:
    """The best rate of a large square product here, flops a second; packed where our loop packs.

    (torch's own is MKL's in fp32, which on an AMD takes a slow way.)
    """
    device, dtype, best = torch.device(device), DTYPES[precision], 0.0
    n = 2048 if device.type == "cpu" else 8192
    x = torch.randn(n, n, device=device).to(dtype)
    packed = Packed(x, dtype, n) if can_pack(device, dtype) else None
    for _ in range(6):  # the first one packs
        start = clock(device)
        packed.times(x, None) if packed else x @ x
        best = max(best, 2 * n**3 / (clock(device) - start))
    return best


@dataclass
class Timed:
    """name, precision; seconds per step and real tokens a second of every round."""

    name: str
    precision: str
    seconds: list[float]
    tokens_per_s: list[float]


def compare(
    programs: dict[tuple[str, str], Program],
    examples: list[Example],
    rounds: int,
    steps: int,
    size: int = 4,
    few: dict[str, int] | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Timed]:
    """Run every program in turn, `rounds` times over, `steps` steps each on the round's batches.

    The first half of the steps warms up (packing, compilation, new shapes) and is not counted.
    few: fewer steps, by name, for slow programs whose step takes the same time whatever is in the
    batch; their tokens are those of the batches that the others were timed on. programs: by (name,
    precision).
    """
    found = {key: Timed(*key, [], []) for key in programs}
    done = 0
    for turn in range(rounds):
        start = turn * steps * size % max(1, len(examples) - steps * size)
        batches = batches_of(examples[start : start + steps * size], size)
        timed = batches[len(batches) // 2 :]
        tokens = sum(count(batch)[0] for batch in timed) / len(timed)  # of a step
        for key, program in programs.items():
            mine = batches[: (few or {}).get(key[0], steps)]
            half = len(mine) // 2
            times = program(mine)
            seconds = (times[-1] - times[half - 1]) / (len(mine) - half)
            found[key].seconds.append(seconds)
            found[key].tokens_per_s.append(tokens / seconds)
            done += 1
            on_progress(done, rounds * len(programs))
    return list(found.values())


def row(timed: Timed, fast: Timed, floor: Timed | None) -> dict:
    """What the table says of a program: figures with median, lowest and highest of the rounds."""
    slower = [f / t for f, t in zip(fast.tokens_per_s, timed.tokens_per_s, strict=True)]
    of_floor = None
    if floor is not None:
        of_floor = [t / f for t, f in zip(timed.tokens_per_s, floor.tokens_per_s, strict=True)]
    values = {"s_per_step": timed.seconds, "tokens_per_s": timed.tokens_per_s, "slower": slower}
    spread = {name: spread_of(series) for name, series in values.items()}
    return {"program": timed.name, "precision": timed.precision, **spread} | {
        "of_floor": of_floor and spread_of(of_floor)
    }


def spread_of(values: list[float]) -> list[float]:
    """Median, lowest, highest."""
    return [statistics.median(values), min(values), max(values)]


def fresh(shape: GPT2Config) -> GPT2LMHeadModel:
    """A backbone whose random weights are the same each time."""
    torch.manual_seed(0)
    return random_backbone(shape)


def forget_device_peak(device: torch.device) -> None:
    """Count the most memory of an accelerator from here on, without an earlier run's leavings."""
    if device.type != "cpu":
        gc.collect()
        torch.accelerator.empty_cache()
        torch.accelerator.reset_peak_memory_stats()


def device_peaks(device: torch.device) -> dict[str, float | None]:
    """The most of an accelerator's memory in GiB: what tensors held, and what torch kept for them.

    The driver's own part, some hundred MiB, comes on top. None on a CPU.
    """
    on_cpu, of = device.type == "cpu", torch.accelerator
    return {
        "device_gib": None if on_cpu else of.max_memory_allocated() / 2**30,
        "device_reserved_gib": None if on_cpu else of.max_memory_reserved() / 2**30,
    }


class _OutOfTime(Exception):
    """Of a run that is cut off: the seconds that it took, and those of a validation after them."""


def whole_run(model, examples, valid_examples, precision, limit: float, **recipe) -> dict:
    """Train Solo for the recipe's five epochs, at most `limit` seconds: what it took or would.

    recipe: of TrainConfig. A run that is cut off makes one validation more, outside its seconds;
    those that it did not reach are in estimated_whole by that one's time. validations: how many it
    made itself, out of validations_of. notes: why a fast way was not taken, where one was not.
    """
    forget_device_peak(model.device)
    method, adapter = make_config(SOLO)
    attached = method.attach(model, adapter, SEED)
    config = TrainConfig(precision=precision, **recipe)
    per_epoch = math.ceil(len(examples) / config.batch_size)
    total, times = config.total_steps(len(examples)), [time.perf_counter()]

    def tick(done, total, info):
        if "part" in info:  # of a validation, which counts examples
            return
        times.append(time.perf_counter())
        if times[-1] - times[0] > limit and done < total:
            stopped = clock(model.device)  # here the weights are still prepared as the run has them
            validation_losses(model, valid_examples, config, make_accelerator())
            raise _OutOfTime(stopped - times[0], clock(model.device) - stopped)

    with tempfile.TemporaryDirectory() as folder:
        run = Training(attached, config, Path(folder), SEED, "bench")
        try:
            train_runs(model, [run], examples, valid_examples, tick)
            spent, validation = clock(model.device) - times[0], 0.0
        except _OutOfTime as stop:
            spent, validation = stop.args
        lines = files.read_json_lines(Path(folder, LOG))
    notes = [line["note"] for line in lines if "note" in line]
    done, seen = len(times) - 1, sum("valid_loss" in line for line in lines)
    needed = math.ceil(total / per_epoch)  # one after each epoch
    # The time up to an epoch's first step has the validation before it, and does not count.
    steps = [b - a for n, (a, b) in enumerate(pairwise(times)) if n % per_epoch or n == 0]
    later = steps[len(steps) // 2 :]
    rest = (total - done) * sum(later) / len(later) + (needed - seen) * validation
    return {"steps": done, "of": total, "seconds": spent, "estimated_whole": spent + rest,
            "validations": seen, "validations_of": needed, "validation_seconds": validation or None,
            "first_step": times[1] - times[0], "notes": notes,
            **device_peaks(model.device)}  # fmt: skip
