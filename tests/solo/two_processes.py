"""What test_processes.py starts in each of two processes: arguments are a directory and a job."""

import sys
from pathlib import Path

from safetensors.torch import save_file

from solo.adapters import make_config
from solo.training import loop as training
from solo.training.loop import train
from solo.training.recipe import TrainConfig
from tests.conftest import make_model
from tests.solo.test_train import RECIPE, TRAIN, VALID

METHODS = {
    "solo": {"name": "solo", "rank": 4, "sparsity": 0.3},
    "lora": {"name": "lora", "rank": 2},
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
    original = training._Loop.advance

    def stopping(loop, number, batches):
        if number == step:
            raise KeyboardInterrupt
        return original(loop, number, batches)

    training._Loop.advance = stopping


def main() -> None:
    out, rank = Path(sys.argv[1]), training.Accelerator().process_index
    for name, options in METHODS.items():
        dropout = {} if name == "full" else {"dropout": 0.0}
        save_file(run(out / name, options | dropout), out / f"{name}.{rank}.safetensors")
    save_file(run(out / "whole", METHODS["lora"]), out / f"whole.{rank}.safetensors")
    advance = training._Loop.advance
    stop_at(8)
    try:
        run(out / "killed", METHODS["lora"], save_every=3)
    except KeyboardInterrupt:
        training._Loop.advance = advance
    again = run(out / "killed", METHODS["lora"], save_every=3)
    save_file(again, out / f"killed.{rank}.safetensors")


if __name__ == "__main__":
    main()
