"""Rows in miniature: two steps on generated data and a random thin backbone, to see them run."""

from contextlib import contextmanager
from pathlib import Path

from solo.backbones.loading import load_tokenizer
from solo.cli.evaluate import evaluate_runs
from solo.cli.rows import compose_row, compose_rows
from solo.files import ROOT
from solo.runs.runner import run_all
from solo.standin.demo_data import write_demo_data
from solo.standin.pretrain import new_model

STAND_IN = "smoke: random thin GPT-2, two steps, generated data; not a reproduction"
SMALL = [
    "data=demo",
    "train.max_steps=2",
    "train.warmup_steps=1",
    "train.log_every=1",
    "decode.max_new_tokens=8",
]


def prepare(out: Path) -> None:
    """Write the generated data and a backbone for each of the two depths."""
    write_demo_data(out / "data", train_rows=16, valid_rows=4, test_mrs=3)
    tokenizer = load_tokenizer(ROOT / "data" / "backbones" / "standin12")
    for n_layer in (12, 24):
        shape = {"n_layer": n_layer, "n_embd": 32, "n_head": 2, "n_positions": 256}
        model = new_model(shape, tokenizer, 1, STAND_IN)
        model.save_pretrained(backbone_of(out, n_layer))
        tokenizer.save_pretrained(backbone_of(out, n_layer))


def backbone_of(out: Path, n_layer: int) -> Path:
    return out / f"backbone_{n_layer}"


def smoke(out: Path, names: list[str], overrides: list[str]) -> tuple[int, list[str]]:
    """Run `names` under `out`; returns the number of runs and a line for each row that failed."""
    prepare(out)
    depths = {
        name: 24 if compose_row(name, []).model.path.endswith("medium") else 12 for name in names
    }
    rows = []
    for n_layer in sorted(set(depths.values())):
        paths = [f"model.path={backbone_of(out, n_layer)}", f"data.dir={out}/data"]
        chosen = [name for name in names if depths[name] == n_layer]
        rows += compose_rows(chosen, [*SMALL, *paths, f"runs_dir={out}/runs", *overrides])
    runs = [row.run for row in rows]
    outcome = run_all(runs, no_progress, "done", evaluate_runs, at_once=True)
    return len({run.decoding for run in runs}), outcome.failures


@contextmanager
def no_progress(label: str, unit: str = "step"):
    """No bar: every run takes a second."""
    yield lambda done, total, info=None: None
