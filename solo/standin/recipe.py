"""What the pretraining of a stand-in backbone is told: phases, sizes, rates; and its identity."""

from dataclasses import asdict, dataclass, fields
from pathlib import Path

from solo import files
from solo.options import check

MODEL = "model.safetensors"
MEASURED = 128  # tokens of a row on which a backbone is measured (measures.py)


@dataclass(frozen=True)
class Phase:
    """A stretch of the training, until the share `until` of its steps (0 to 1).

    batch_size rows of `context` tokens a step; data, lists, text: the share of each kind of row.
    """

    until: float
    batch_size: int
    context: int
    data: float
    lists: float
    text: float


@dataclass(frozen=True)
class Recipe:
    """configs/pretrain says what each is for. Raises ValueError for what cannot be."""

    output_dir: str
    stand_in: str
    shape: dict
    vocab_size: int
    corpus_dir: str
    data_files: list[str]
    text_files: list[str]
    valid_files: list[str]
    planted: bool
    phases: list[dict]
    steps: int
    lr: float
    planted_lr_scale: float
    warmup_steps: int
    decay: float
    weight_decay: float
    precision: str
    compile: bool
    log_every: int
    measure_every: int
    save_seconds: float
    seed: int
    grown_from: str | None = None

    def __post_init__(self):
        for name in ("steps", "vocab_size", "log_every", "measure_every", "save_seconds", "lr"):
            value = getattr(self, name)
            check(value > 0, f"pretrain.{name} is {value}; it must be above 0")
        check(0 < self.decay <= 1, f"pretrain.decay is {self.decay}; above 0 and at most 1")
        check(
            self.precision in ("fp32", "bf16"),
            f"pretrain.precision is {self.precision!r}; known: fp32, bf16",
        )
        for name in ("warmup_steps", "seed"):
            check(getattr(self, name) >= 0, f"pretrain.{name} is {getattr(self, name)}; at least 0")
        known = [option.name for option in fields(Phase)]
        for phase in self.phases:
            check(
                sorted(phase) == sorted(known),
                f"pretrain.phases has one of {', '.join(map(str, phase))}; each needs: "
                f"{', '.join(known)}",
            )
            kinds = [phase[kind] for kind in ("data", "lists", "text")]
            check(
                phase["batch_size"] >= 1 and phase["context"] >= 1 and min(kinds) >= 0 < sum(kinds),
                f"pretrain.phases has {phase}; batch_size and context are at least 1, and of data, "
                "lists and text one is above 0 and none below",
            )
        ends = [phase["until"] for phase in self.phases]
        check(
            ends == sorted(ends) and ends[-1:] == [1],
            f"pretrain.phases end at {ends}; the ends must grow, and the last be 1",
        )
        check(
            not (self.planted and self.grown_from),
            "pretrain.planted and pretrain.grown_from are two ways to start; leave one out",
        )
        check(
            not self.grown_from or (Path(self.grown_from) / MODEL).is_file(),
            f"pretrain.grown_from is {self.grown_from}, which has no {MODEL}; set it to a "
            "backbone's folder",
        )
        longest, positions = max(p["context"] for p in self.phases), self.shape["n_positions"]
        check(
            longest <= positions,
            f"pretrain.phases have a context of {longest}; the shape has {positions} positions",
        )
        check(
            positions >= MEASURED,
            f"pretrain.shape has n_positions={positions}; it needs {MEASURED}, on which a backbone "
            "is measured",
        )

    def phase(self, step: int) -> Phase:
        """The phase of step number `step`, from 0."""
        return Phase(**next(p for p in self.phases if step < p["until"] * self.steps))

    def learning_rate(self, step: int) -> float:
        """The rate of step `step`, counted from 0."""
        warmup = min(1.0, (step + 1) / max(1, self.warmup_steps))
        return self.lr * warmup * min(1.0, (1 - step / self.steps) / self.decay)

    @property
    def deciding(self) -> dict:
        """The options that decide the weights, and nothing that names a place."""
        no_effect = ("output_dir", "corpus_dir", "log_every", "measure_every", "save_seconds")
        values = {k: v for k, v in asdict(self).items() if k not in no_effect}
        del values["grown_from"]  # a place, and no option of older recipes
        if self.grown_from:
            values["grown_from_sha256"] = files.file_sha256(Path(self.grown_from) / MODEL)
        return values

    @property
    def identity(self) -> str:
        """What decides the weights, in eight hex digits."""
        return files.config_hash(self.deciding)
