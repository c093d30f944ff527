"""Pictures from training logs: loss curves, and the path of every connection's lambda."""

import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt  # noqa: E402 (the backend comes first)

from eval.tables import Run  # noqa: E402

LOG = "train_log.jsonl"


def read_log(run_dir: Path) -> list[dict]:
    """The entries of a run's training log."""
    lines = (Path(run_dir) / LOG).read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def curves(labelled: list[tuple[str, Run]], title: str):
    """A figure of two panels: training loss of every run, lambda of every connection."""
    figure, (loss_axes, lambda_axes) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
    for label, run in labelled:
        log = read_log(run.directory)
        trained = [entry for entry in log if "loss" in entry]
        if trained:
            steps = [entry["step"] for entry in trained]
            loss_axes.plot(steps, [entry["loss"] for entry in trained], label=label)
        names = [name for name in (trained[0] if trained else {}) if name.startswith("lambda/")]
        for name in names:
            block = name.removeprefix("lambda/")
            values = [entry[name] for entry in trained]
            lambda_axes.plot(steps, values, label=f"{label}, from block {block}")
    loss_axes.set(title="Training loss (label smoothing included)", xlabel="step", ylabel="nats")
    lambda_axes.set(title="lambda of each connection", xlabel="step", ylabel="lambda")
    for axes in (loss_axes, lambda_axes):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize="small")
        axes.grid(alpha=0.3)
    figure.suptitle(title)
    return figure
