"""What test_processes.py starts in each of two processes: arguments are a directory and a job."""

import atexit
import sys
from pathlib import Path

import torch.distributed as dist
from safetensors.torch import save_file

from solo.adapters import make_config
from solo.training import loop as training
from solo.training.loop import train
from solo.training.processes import make_accelerator
from solo.training.recipe import TrainConfig, set_step
from tests.conftest import make_model
from tests.solo.training.test_train import RECIPE, TRAIN, VALID

METHODS = {
    "solo": {"name": "solo", "rank": 4, "sparsity": 0.3, "dropout": 0.3},
    "lora": {"name": "lora", "rank": 2, "dropout": 0.3},
    "mpc_o": {"name": "lora", "rank": 2, "constraint": "o", "constraint_weight": 10.0},
    "full": {"name": "full"},
}


def run(directory: Path, options: dict, **recipe) -> dict:
    """Train the tiny model of test_train.py; returns its parameters."""
    model = make_model()
    method, config = make_config(options)
    attached = method.attach(model, config, 1)
    recipe = TrainConfig(**RECIPE | {"log_every": 1} | recipe)
    train(model, attached, TRAIN, VALID, recipe, directory, 1, "a")
    return {name: p.detach().clone() for name, p in attached.parameters.items()}


def stop_at(step: int) -> None:
    """Let every process fail before step `step`, as if all were killed."""

    def stopping(optimizer, number, lr, config):
        if number == step:
            raise KeyboardInterrupt
        set_step(optimizer, number, lr, config)

    training.set_step = stopping


def main() -> None:
    out = Path(sys.argv[1])
    atexit.register(lambda: (out / f"left.{rank}").write_text(str(not dist.is_initialized())))
    rank = make_accelerator().process_index
    for name, options in METHODS.items():
        save_file(run(out / name, options), out / f"{name}.{rank}.safetensors")
    for name in ("killed", "left"):
        stop_at(8)
        try:
            run(out / name, METHODS["lora"], save_every=3)
        except KeyboardInterrupt:
            training.set_step = set_step
    again = run(out / "killed", METHODS["lora"], save_every=3)
    save_file(again, out / f"killed.{rank}.safetensors")


if __name__ == "__main__":
    main()
