"""The stages of the torture script, on a random GPT-2 of two blocks and generated data."""

import copy
import os
import shutil
import threading
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import torch
from transformers import GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from eval.tables.write import write_figures, write_table
from solo.adapters import make_config
from solo.backbones import loading
from solo.cli.evaluate import evaluate_runs
from solo.cli.tables import table_of
from solo.datasets.download import prepare_e2e
from solo.files import file_sha256, write_text
from solo.runs.config import RunConfig, from_values
from solo.runs.run import Run, make_run
from solo.runs.runner import run_all
from solo.standin import corpus, pretrain
from solo.standin.demo_data import write_demo_data
from solo.standin.recipe import Recipe

SIZES = {"train_rows": 12, "valid_rows": 4, "test_mrs": 3}
RECIPE = {
    "stand_in": "torture", "shape": {"n_layer": 2, "n_embd": 32, "n_head": 2, "n_positions": 160},
    "vocab_size": 400, "data_files": ["data.txt"], "text_files": ["text.txt"],
    "valid_files": ["valid.txt"], "planted": False, "steps": 6, "lr": 1e-2,
    "planted_lr_scale": 0.1, "warmup_steps": 2, "decay": 0.5, "weight_decay": 0.1,
    "precision": "fp32", "compile": False, "log_every": 1, "measure_every": 100,
    "save_seconds": 1e-9, "seed": 1,
    "phases": [{"until": 1.0, "batch_size": 2, "context": 64, "data": 0, "lists": 0, "text": 1}],
}  # fmt: skip


@dataclass
class World:
    """folder: of everything. work: where the stages write. address: of a server of the data."""

    folder: Path
    address: str = ""

    @property
    def work(self) -> Path:
        return self.folder / "work"


def make_world(folder: Path) -> World:
    """Data, a backbone, and nothing in work."""
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    world = World(folder)
    world.work.mkdir()
    write_demo_data(folder / "data", **SIZES)
    line, prose = "name : The Mill || The Mill stands .\n", "There was a mill by the river . " * 20
    talk, end = "User: Is there a mill?\nAssistant: There is.\n" * 20, "\n<|endoftext|>\n"
    texts = {
        "data": line * 40,
        "text": (prose + end) * 20,
        "valid": talk + end + prose + end + line,
    }
    for name, text in texts.items():
        write_text(folder / "corpus" / f"{name}.txt", text)
    tokenizer = corpus.train_tokenizer([folder / "data" / "lora_format" / "train.txt"], 400)
    torch.manual_seed(0)
    shape = RECIPE["shape"] | {"n_positions": 400, "vocab_size": len(tokenizer)}
    end = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    GPT2LMHeadModel(GPT2Config(**shape, **end)).save_pretrained(folder / "backbone")
    tokenizer.save_pretrained(folder / "backbone")
    load, model = loading.load_backbone, loading.load_backbone(folder / "backbone")
    loading.load_backbone = lambda place: (  # a third of the time that a fork takes
        copy.deepcopy(model) if Path(place) == folder / "backbone" else load(place)
    )
    return world


def serve(folder: Path) -> str:
    """Serve a folder on 127.0.0.1, from a thread of this process; returns the address."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *args) -> None:
            pass

    os.environ["no_proxy"] = "127.0.0.1"
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}"


def values(world: World) -> dict:
    """The configuration of a run, as plain values."""
    data = world.folder / "data"
    paths = {f"{s}_path": str(data / f"lora_format/{s}.txt") for s in ("train", "valid", "test")}
    return {
        "model": {"path": str(world.folder / "backbone"), "revision": None},
        "data": {"name": "e2e", "dir": str(data), **paths, "sha256": {},
                 "references_path": paths["test_path"]},
        "adapter": {"name": "solo", "rank": 4, "start": 1},
        "train": {"batch_size": 4, "epochs": 2, "warmup_steps": 1, "log_every": 1, "save_every": 2},
        "decode": {"beam": 2, "max_new_tokens": 5, "batch_size": 2},
        "evaluate": {"references": paths["test_path"]},
        "row": "demo/solo", "runs_dir": str(world.work / "runs"),
    }  # fmt: skip


@contextmanager
def silent(label: str, unit: str = "step"):
    yield lambda done, total, info=None: None


def alone(world: World) -> None:
    """Train one run, and decode with it."""
    run = make_run(from_values(values(world)))
    check_done(run_all([run], silent, "decoded"))


def scores(world: World) -> None:
    """Score a run, of which work holds a copy."""
    run, copy = made(world, "decoded"), world.work / ".copy"
    if not (world.work / "run").exists():
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(run.directory, copy).rename(world.work / "run")
    evaluate_runs([replace(run, directory=world.work / "run")])


def made(world: World, until: str) -> Run:
    """A run outside of work that is decoded or done; it is made the first time."""
    run = make_run(from_values(values(world) | {"runs_dir": str(world.folder / until)}))
    check_done(run_all([run], silent, until, evaluate_runs))
    return run


def sweep(world: World) -> None:
    """Train four runs together, two of them without dropout."""
    config = from_values(values(world))
    configs = [
        with_method(config, lr, rank=rank, dropout=dropout, **options)
        for options, rank, dropout, lr in (
            ({"name": "lora"}, 2, 0.1, 1e-2),
            ({"name": "solo", "start": 1}, 4, 0.2, 1e-3),
            ({"name": "lora"}, 2, 0.0, 1e-2),
            ({"name": "solo", "start": 1}, 3, 0.0, 1e-3),
        )
    ]
    runs = [make_run(config) for config in configs]
    check_done(run_all(runs, silent, "trained", train_together=True))


def with_method(config: RunConfig, lr: float, **options) -> RunConfig:
    _, adapter = make_config(options)
    train = replace(config.train, lr=lr)
    return replace(config, method=options["name"], adapter=adapter, train=train, row=None)


def check_done(outcome) -> None:
    if outcome.failures:
        raise RuntimeError("; ".join(outcome.failures))


def data(world: World) -> None:
    """Generate the demo's data."""
    write_demo_data(world.work / "demo", **SIZES)


def download(world: World) -> None:
    """Fetch files from the server, and check them."""
    names = ("trainset.csv", "devset.csv", "lora_format/test.txt")
    files = {
        name: (f"{world.address}/{name}", file_sha256(world.folder / "data" / name))
        for name in names
    }
    prepare_e2e(world.work / "e2e", files=files)


def pretraining(world: World) -> None:
    """Pretrain a backbone, with a state after each step."""
    places = {
        "output_dir": str(world.work / "backbone"),
        "corpus_dir": str(world.folder / "corpus"),
    }
    recipe = Recipe(**RECIPE, **places)
    pretrain.make_backbone(recipe, world.work / "cache", lambda *progress: None)


def tables(world: World) -> None:
    """Fill a table and draw its pictures."""
    table = table_of("demo", made(world, "done").directory.parent)
    write_table(table, world.work / "tables")
    write_figures(table, world.work / "pictures")


STAGES = {
    "data": data, "download": download, "pretraining": pretraining, "alone": alone, "sweep": sweep,
    "scores": scores, "tables": tables,
}  # fmt: skip
