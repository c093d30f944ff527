"""Score a run's predictions by the registry's metrics: scripts/evaluate.py run=DIR"""

import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.metrics import METRICS
from solo.cli.command import command
from solo.cli.compose import run_of
from solo.cli.evaluate import evaluate_runs


@command
def main(cfg: DictConfig) -> None:
    [scores] = evaluate_runs([run_of(cfg)])
    for name in METRICS:
        if name in scores:  # a metric that its MRs are not made for is missing
            print(f"{name:8s} {scores[name]:.4f}")


if __name__ == "__main__":
    main()
