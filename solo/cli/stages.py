"""The stages as plain functions of a configuration; each entry point calls one, reproduce all.

train and decode live in solo/runs/run.py; evaluation joins them here, since solo/ and eval/ do not
know each other.
"""

import sys
from collections.abc import Callable
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from eval.compare import STATISTICS
from eval.metrics.statistics import save
from eval.score import score_files
from solo import files
from solo.cli.command import progress_bar
from solo.runs import record, run
from solo.runs import together as sweep
from solo.runs.run import PREDICTIONS
from solo.training.processes import make_accelerator
from solo.training.state import STATE, read_counters

METRICS = "metrics.json"
failures: list[str] = []  # of this process's sweep


def train(config: dict) -> Path:
    """Train (or find trained) the configured run; returns its directory."""
    with progress_bar(f"train {config['adapter']['name']}") as report:
        return run.train_run(config, report)


def train_sweep(configs: list[dict]) -> None:
    """Train a sweep's configurations, those that can together; prints each run's directory.

    A run that fails is one line, and the others go on; `failures` counts it.
    """

    def alone(config: dict) -> None:
        with others_go_on(label(config)):
            print(train(config), flush=True)

    train_together(configs, alone)


def train_together(configs: list[dict], alone: Callable[[dict], None]) -> None:
    """Train those of `configs` together that can; `alone` gets every one of them in the end."""

    def say(error: Exception) -> None:
        print(f"together: {error}; now one by one", file=sys.stderr, flush=True)

    for group in sweep.groups(configs):
        names = ", ".join(sorted({config["adapter"]["name"] for config in group}))
        with progress_bar(f"train {len(group)} x {names}") as report:
            sweep.train_group(group, report, alone, say)


def label(config: dict) -> str:
    """A run of a sweep in words."""
    name = config["row"] or config["adapter"]["name"]
    return f"{name}, lr {config['train']['lr']}, seed {config['seed']}"


def decode(config: dict, run_dir: Path) -> Path:
    """Decode (or find decoded) the test set with a trained run; returns the predictions' path."""
    with progress_bar(f"decode {config['adapter']['name']}", "MR") as report:
        return run.decode_run(config, run_dir, report)


def evaluate(config: dict, run_dir: Path) -> dict:
    """Score a run's predictions, unless that is done already; returns what metrics.json holds."""
    return evaluate_all([(config, run_dir)])[0]


def evaluate_all(runs: list[tuple[dict, Path]]) -> list[dict]:
    """`evaluate` for many (configuration, run directory), scored together."""
    todo: dict[Path, list[tuple[Path, dict]]] = {}
    for config, run_dir in runs:
        references, inputs = _inputs(config, Path(run_dir))
        done = record.stage_record(run_dir, "evaluate")
        if not (done and done["inputs"] == inputs and (Path(run_dir) / METRICS).exists()):
            todo.setdefault(references, []).append((Path(run_dir), inputs))
    for references, wanted in todo.items():
        with ExitStack() as held:
            for run_dir, _ in wanted:
                held.enter_context(record.lock(run_dir))
            entries = [held.enter_context(record.stage(path, "evaluate")) for path, _ in wanted]
            found = score_files(references, [path / PREDICTIONS for path, _ in wanted])
            for (run_dir, inputs), entry, result in zip(wanted, entries, found, strict=True):
                files.write_json(run_dir / METRICS, result.scores)
                sha256 = {"predictions": inputs[PREDICTIONS], "references": inputs[references.name]}
                save(run_dir / STATISTICS, result.statistics, result.sources, sha256)
                entry["inputs"] = inputs
    return [files.read_json(Path(run_dir) / METRICS) for _, run_dir in runs]


def _inputs(config: dict, run_dir: Path) -> tuple[Path, dict]:
    predictions, references = run_dir / PREDICTIONS, Path(config["evaluate"]["references"])
    for path, remedy in ((predictions, "decode this run first"), (references, "run `make data`")):
        if not path.is_file():
            raise FileNotFoundError(f"{path} not found; {remedy}")
    return references, {p.name: files.file_sha256(p) for p in (predictions, references)}


def run_all(config: dict) -> dict | None:
    """Train, decode and score a configuration, skipping what is done; returns the scores.

    The run's directory is held in between: RuntimeError if another process has it in use. Under
    `accelerate launch` the main process alone decodes and scores; the others return None.
    """
    main = make_accelerator().is_main_process
    run_dir = run.run_directory(config, run.identity(config))
    with record.lock(run_dir) if main else nullcontext():
        train(config)
        if not main:
            return None
        decode(config, run_dir)
        return evaluate(config, run_dir)


@contextmanager
def others_go_on(label: str):
    """Let an error of one run of a sweep be one line; `failures` counts it."""
    try:
        yield
    except Exception as error:
        failures.append(label)
        print(f"error: {label}: {type(error).__name__}: {error}", file=sys.stderr, flush=True)


def state(run_dir: Path) -> tuple[str, int]:
    """How far a run is, from its files alone, and the training steps it has behind it.

    missing, interrupted, trained, decoded (not scored yet), or done.
    """
    run_dir, reached = Path(run_dir), "missing"
    for stage, name in (("train", "trained"), ("decode", "decoded"), ("evaluate", "done")):
        if not record.stage_record(run_dir, stage):
            break
        reached = name
    if reached != "missing":
        return reached, record.stage_record(run_dir, "train")["steps"]
    saved = run_dir / STATE
    return ("interrupted", read_counters(saved)["step"]) if saved.exists() else ("missing", 0)


def run_config(cfg: DictConfig) -> tuple[dict, Path | None]:
    """(configuration, run directory) of a command that works on a trained run.

    With run=DIR the run's own configuration, changed by what the command line overrides; without,
    the directory that the composed configuration leads to. The bare backbone with decode.output
    needs no run: its directory is None.
    """
    if cfg.run is None:
        config = OmegaConf.to_container(cfg, resolve=True)
        if config["adapter"]["name"] == "none" and (config["decode"]["output"] or config["mr"]):
            return config, None
        return config, _trained(run.run_directory(config, run.identity(config)))
    run_dir = _trained(Path(cfg.run))
    saved = OmegaConf.create(files.read_yaml(run_dir / "config.yaml"))
    for override in HydraConfig.get().overrides.task:
        key = override.split("=", 1)[0].lstrip("+~")
        if key in ("model", "adapter", "train") or key.split(".")[0] in ("adapter", "train"):
            raise ValueError(f"{override}: a trained run keeps its {key}; train another run")
        if key not in ("run", "mr", "row", "experiment"):
            OmegaConf.update(saved, key, OmegaConf.select(cfg, key))
        if key.split(".")[0] == "data":  # the references come with the data
            saved.evaluate = cfg.evaluate
    return OmegaConf.to_container(saved, resolve=True), run_dir


def _trained(run_dir: Path) -> Path:
    if not record.stage_record(run_dir, "train"):
        raise FileNotFoundError(
            f"{run_dir} holds no trained run; train it first (scripts/train.py), or set run=DIR"
        )
    return run_dir
