"""Score a run's predictions by its data set's metrics: scripts/evaluate.py run=DIR"""

import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from eval.metrics import ALL
from solo.cli.compose import refuse
from solo.cli.entry import command_of_run
from solo.cli.evaluate import evaluate_runs
from solo.cli.listing import by_score
from solo.cli.trained_run import run_of
from solo.files import as_typed
from solo.run_files import SCORES


@command_of_run
def main(cfg: DictConfig) -> None:
    refuse(cfg, "mr", "out", "force", "decode.output")
    run = run_of(cfg)
    [scores] = evaluate_runs([run])
    names = [name for name in ALL if name in scores]  # of one scored before, not all of its set
    width = max(8, *map(len, names))
    for name in names:
        print(f"{name:{width}s} {scores[name]:.4f}")
    ending(
        [as_typed(run.decoding / SCORES)],
        by_score(as_typed(run.directory.parent), names[0]),
    )


if __name__ == "__main__":
    main()
