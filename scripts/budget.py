"""Time that is left, and how long work takes by what was measured. No Hydra here."""

import json
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

from solo import record
from solo.recipe import TrainConfig
from solo.train import LOG

EXAMPLES = {"train": 42_061, "valid": 4_672}  # of E2E
TOKENS = {"train": 53.3, "valid": 59.2}  # mean tokens of an example


class TimeUp(Exception):
    """The time is used up; what was being done goes on from its last state in another call."""


class Budget:
    """`seconds` from now on; None: without end."""

    def __init__(self, seconds: float | None):
        self.end = None if seconds is None else time.monotonic() + seconds

    def left(self) -> float:
        return float("inf") if self.end is None else self.end - time.monotonic()

    def fits(self, seconds: float | None) -> bool:
        """Whether work of so many seconds fits; None, what nobody has measured, is let begin."""
        return self.left() > (seconds or 0)

    def watched(self, label: str, every: float = 20):
        """A callback (done, total, info) that prints a line now and then, and raises TimeUp."""
        last = [time.monotonic()]

        def report(done: int, total: int, info: dict) -> None:
            if self.left() <= 0:
                raise TimeUp
            if time.monotonic() - last[0] >= every or done == total:
                last[0] = time.monotonic()
                words = " ".join(f"{key} {value}" for key, value in info.items())
                print(f"{label}: {done:,} of {total:,} {words}", flush=True)

        return report


@dataclass(frozen=True)
class Speed:
    """Of a finished run: its method, how many trained together with it (itself included), tokens a
    second of all of them, and seconds of decoding per MR (None: not decoded)."""

    method: str
    together: int
    tokens_per_s: float
    seconds_per_mr: float | None


def measured(folders: list[Path]) -> list[Speed]:
    """The speeds of the finished runs in `folders` on this hardware."""
    speeds, here = [], record.environment()["hardware"]
    for folder in folders:
        for path in sorted(Path(folder).glob("*/environment.json")):
            stages = record.read_json(path)
            training, decoding = stages.get("train", {}), stages.get("decode")
            log = path.parent / LOG
            if training.get("hardware") != here or "shared_from" in training or not log.exists():
                continue
            lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
            rates = [line["tokens_per_s"] for line in lines if "tokens_per_s" in line]
            method = record.read_json(path.parent / "identity.json")["training"]["adapter"]["name"]
            per_mr = decoding and decoding["seconds"] / max(1, decoding["n_predictions"])
            if rates or per_mr:
                rate = statistics.median(rates) if rates else float("inf")
                speeds.append(Speed(method, training.get("together", 1), rate, per_mr))
    return speeds


def training_seconds(config: dict, together: int, speeds: list[Speed]) -> float | None:
    """How long `together` runs like `config` train, validation (half a step's work) included.

    By the nearest number of runs together; full fine-tuning counts for itself alone. None: nothing
    like it was measured.
    """
    full = config["adapter"]["name"] == "full"
    like = [s for s in speeds if (s.method == "full") == full and s.tokens_per_s < float("inf")]
    if config["adapter"]["name"] == "none" or not like:
        return None
    nearest = min(abs(s.together - together) for s in like)
    rate = statistics.median(s.tokens_per_s for s in like if abs(s.together - together) == nearest)
    recipe = TrainConfig(**config["train"])
    trained = recipe.total_steps(EXAMPLES["train"]) * recipe.batch_size * TOKENS["train"]
    epochs = max(1, recipe.total_steps(EXAMPLES["train"]) * recipe.batch_size / EXAMPLES["train"])
    validated = epochs * EXAMPLES["valid"] * TOKENS["valid"] / 2
    return together * (trained + validated) / rate


def decoding_seconds(mrs: int, speeds: list[Speed]) -> float | None:
    """How long decoding takes, by the median of what was decoded; None: nothing was."""
    known = [s.seconds_per_mr for s in speeds if s.seconds_per_mr is not None]
    return mrs * statistics.median(known) if known else None
