"""Train one run: scripts/train.py adapter=solo adapter.rank=64 adapter.sparsity=0.6

The run's directory is printed last. A run that is trained already is found, not repeated; one
that was interrupted goes on. Sweep with -m: scripts/train.py -m adapter.rank=8,32,128
Runs of a sweep that share backbone, data and schedule train together, in one pass through the
backbone; together=false trains them one by one.
A sweep over learning rates, to choose from with scripts/tune.py: sweep=lr
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli.command import one_line_errors, progress_bar, say
from solo.cli.compose import config_to_train
from solo.cli.entry import command, sweeps_here
from solo.cli.rows import check_launcher
from solo.files import as_typed
from solo.runs.config import RunConfig
from solo.runs.run import Run, make_run
from solo.runs.runner import run_all
from solo.training.processes import make_accelerator

swept: list[RunConfig] = []  # configurations of this process's sweep, trained in the end


def train(configs: list[RunConfig], train_together: bool) -> list[str]:
    """Train the configurations and print each run's directory; a line for each that failed."""

    def tell(run: Run, scores: None) -> None:
        if make_accelerator().is_main_process:
            print(run.directory, flush=True)

    runs = [make_run(config) for config in configs]
    outcome = run_all(
        runs, progress_bar, "trained", train_together=train_together, on_done=tell, say=say
    )
    trained = [as_typed(run.directory) for run in runs if run.is_finished()]
    if trained and make_accelerator().is_main_process:
        ending(trained, f"python scripts/decode.py run={trained[0]}")
    return outcome.failures


@command
def main(cfg: DictConfig) -> None:
    config = config_to_train(cfg)
    if sweeps_here():
        swept.append(config)
    else:
        train([config], train_together=False)


if __name__ == "__main__":
    with one_line_errors():
        check_launcher(sys.argv)
    configs = main()
    with one_line_errors():
        failures = train(swept, train_together=True)
        if not swept and make_accelerator().is_main_process:  # each run was trained by itself
            failures = [config for config in configs if not make_run(config).is_finished()]
    sys.exit(1 if failures else 0)
