"""The configuration of a run, typed: what every stage works with, and how it looks in a file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from solo.adapters import get_method, make_config
from solo.datasets import source_of
from solo.decoding.recipe import BeamConfig
from solo.options import check, make
from solo.training.recipe import TrainConfig

LARGEST_SEED = 2**32 - 1  # what every random generator takes


@dataclass(frozen=True)
class ModelConfig:
    """path: a directory, or a name on the hub; revision: a commit there, None for its newest."""

    path: str
    revision: str | None = None

    def __post_init__(self):
        check(self.path != "", "model.path is empty; name a directory, or a model on the hub")


@dataclass(frozen=True)
class DataConfig:
    """name: of solo/datasets; the files of each split; sha256: expected, None: not known."""

    name: str
    dir: str
    train_path: str
    valid_path: str
    test_path: str
    references_path: str
    sha256: dict[str, str | None] = field(default_factory=dict)

    def __post_init__(self):
        source_of(self.train_path, self.name)  # refuses an unknown name
        for name in ("train_path", "valid_path", "test_path", "references_path"):
            check(getattr(self, name) != "", f"data.{name} is empty; name a file")


@dataclass(frozen=True)
class DecodeConfig(BeamConfig):
    """The search's settings; output: where to write predictions instead of into the run."""

    output: str | None = None


@dataclass(frozen=True)
class EvaluateConfig:
    """references: the file that predictions are scored against."""

    references: str


@dataclass(frozen=True)
class Rest:
    """The options outside the groups.

    row: the table row that the run fills. output_dir: its directory, None for one below runs_dir
    that its identity names. together: it may share passes through the backbone with other runs.
    """

    seed: int = 1
    row: str | None = None
    runs_dir: str = "results/runs"
    output_dir: str | None = None
    together: bool = True


@dataclass(frozen=True, kw_only=True)
class RunConfig(Rest):
    """All that a run is made from. method, adapter: the method's name and its own Config."""

    model: ModelConfig
    data: DataConfig
    method: str
    adapter: Any
    train: TrainConfig
    decode: DecodeConfig
    evaluate: EvaluateConfig

    def __post_init__(self):
        check(self.runs_dir != "", "runs_dir is empty; name a folder")
        check(
            0 <= self.seed <= LARGEST_SEED,
            f"seed is {self.seed}; it must be from 0 to {LARGEST_SEED}",
        )

    @property
    def label(self) -> str:
        """The run in words, among others of a table or a sweep."""
        return f"{self.row or self.method}, lr {self.train.lr:g}, seed {self.seed}"

    @property
    def method_class(self):
        """The class of the method."""
        return get_method(self.method)


GROUPS = {
    "model": ModelConfig,
    "data": DataConfig,
    "train": TrainConfig,
    "decode": DecodeConfig,
    "evaluate": EvaluateConfig,
}


def from_values(values: Mapping[str, Any]) -> RunConfig:
    """A configuration from plain values, as config.yaml and Hydra have them, all checked.

    Raises ValueError, in one line with key, value and what is allowed, for whatever is wrong.
    """
    values = dict(values)
    for group in (*GROUPS, "adapter"):
        check(group in values, f"the configuration has no group {group!r}; it needs all of them")
        check(
            isinstance(values[group], Mapping),
            f"{group} is {values[group]!r}; it must be a mapping of options",
        )
    groups = {group: make(cls, values.pop(group), group) for group, cls in GROUPS.items()}
    options = values.pop("adapter")
    _, adapter = make_config(options)
    rest = make(Rest, values)
    return RunConfig(**groups, method=options["name"], adapter=adapter, **asdict(rest))


def to_values(config: RunConfig) -> dict[str, Any]:
    """The inverse of from_values."""
    values = asdict(config)
    values["adapter"] = {"name": values.pop("method")} | values["adapter"]
    values["train"]["betas"] = list(values["train"]["betas"])
    order = (*GROUPS, "adapter", *Rest.__dataclass_fields__)
    return {key: _plain(values[key]) for key in order}


def _plain(value: Any) -> Any:
    """Tuples as lists, for YAML."""
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def data_file(config: RunConfig, split: str) -> Path:
    """The file of train, valid or test."""
    return Path(getattr(config.data, f"{split}_path"))
