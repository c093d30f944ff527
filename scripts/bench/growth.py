"""How time and memory grow with rank, connections, batch, length and size, for the benchmark.

On the CPU each point is measured in a fresh process, so that its peak of memory is its own.
"""

import itertools
import multiprocessing
import resource
import statistics
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import GPT2Config

from scripts.bench.train import (
    LORA,
    SOLO,
    batches_of,
    device_peaks,
    forget_device_peak,
    fresh,
    ours,
)
from solo.backbones.loading import device
from solo.backbones.shapes import gpt2_shapes
from solo.datasets.data import Example

GIB = 2**30
S, M = gpt2_shapes().values()
SIZES = {"6 x 384": GPT2Config(n_layer=6, n_embd=384, n_head=6), "S": S, "M": M}
DEFAULT = {"size": "S", "batch": 4, "length": 53, "options": SOLO}


def points() -> dict[str, list[tuple]]:
    """What is varied: {title: [(value, its settings), ...]}, all else as in DEFAULT."""

    def solo(**options):
        return {"options": SOLO | options}

    return {
        "rank": [(r, solo(rank=r)) for r in (8, 32, 128, 512)],
        "connections": [
            (n, solo(start=2, stride=stride, reach=1)) for n, stride in ((1, 10), (2, 5), (5, 2))
        ]
        + [(10, solo(start=1, stride=1, reach=1))],
        "batch": [(n, {"batch": n}) for n in (1, 4, 16)],
        "tokens per example": [(n, {"length": n}) for n in (26, 53, 106, 212)],
        "backbone": [(name, {"size": name}) for name in SIZES],
    }


def configurations() -> dict[str, dict]:
    """What the memory table lists, batch 4."""
    return {
        f"GPT-2 {size}, {name}": {"size": size, "options": options}
        for size in ("S", "M")
        for name, options in (("solo r=128", SOLO), ("lora r=8", LORA), ("full", {"name": "full"}))
    }


def peak_host_bytes() -> int:
    """The most memory that this program has held, since `forget_peak` where that is possible.

    Linux: of the address space, since getrusage's figure starts at that of the parent process.
    """
    if Path("/proc/self/status").exists():
        lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # bytes on macOS


def forget_peak() -> None:
    """Count the peak from here on (Linux; elsewhere nothing)."""
    if Path("/proc/self/clear_refs").exists():
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def measure(settings: dict, precision: str, steps: int) -> dict:
    """Seconds per step and peak memory in GiB (host, and the accelerator's) of one point."""
    chosen = DEFAULT | settings
    forget_peak()
    forget_device_peak(device())
    model = fresh(SIZES[chosen["size"]])
    draws = torch.Generator().manual_seed(0)
    length = chosen["length"]
    targets = round(0.46 * length)
    examples = [
        Example(torch.randint(50257, (length,), generator=draws).tolist(), length - targets)
        for _ in range(steps * chosen["batch"])
    ]
    program = ours(model, [chosen["options"]], precision)
    times = program(batches_of(examples, chosen["batch"]))
    half = steps // 2
    if model.device.type != "cpu":  # times are true after half of the steps and at the end
        seconds = (times[-1] - times[half - 1]) / (steps - half)
    else:
        seconds = statistics.median(b - a for a, b in itertools.pairwise(times))
    on_device = device_peaks(model.device)["device_gib"]
    return {"s_per_step": seconds, "host_gib": peak_host_bytes() / GIB, "device_gib": on_device}


def measure_all(
    named: list[tuple[str, dict]],
    precision: str,
    steps: int,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[dict]:
    """`measure` of every point; a point that fails says why."""
    context = multiprocessing.get_context("spawn")
    found, known = [], {}
    for number, (name, settings) in enumerate(named, 1):
        key = str(sorted((DEFAULT | settings).items(), key=str))
        if key not in known:
            try:
                if torch.cuda.is_available():
                    known[key] = measure(settings, precision, steps)
                else:
                    with context.Pool(1) as pool:
                        known[key] = pool.apply(measure, (settings, precision, steps))
            except (RuntimeError, ValueError) as error:  # out of memory, say
                known[key] = {"error": str(error).splitlines()[0]}
        found.append({"name": name} | known[key])
        on_progress(number, len(named))
    return found


def picture(found: dict[str, list[dict]], title: str, path: Path) -> None:
    """A panel for each thing varied: seconds per step (left axis) and peak memory (right)."""
    from eval.tables import speed, style  # matplotlib, which the measuring processes do without

    figure = speed.growth(found, title)
    path.parent.mkdir(parents=True, exist_ok=True)
    style.save(figure, path)
    style.plt.close(figure)
