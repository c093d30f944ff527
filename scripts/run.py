"""Train, decode and score: scripts/run.py adapter=solo adapter.rank=64 train.lr=1e-3

What is done is skipped; what was interrupted goes on. The scores and the directory come last.
  scripts/run.py experiment=table1/solo_s            a row of a table
  scripts/run.py -m adapter=solo adapter.rank=8,32,128 seed=1,2
A sweep (-m) ends with a table, a column for each option that varied, and a picture where that is
one number. A run that fails is reported, and the others go on. On an accelerator runs that share
backbone, data and schedule train together. hydra/launcher=joblib spreads them.
Several GPUs for one run: accelerate launch scripts/run.py experiment=table1/solo_s
"""

import shlex
import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli.command import one_line_errors, progress_bar, say
from solo.cli.compose import config_to_train
from solo.cli.entry import command, sweeps_here
from solo.cli.evaluate import check_references, evaluate_runs
from solo.cli.rows import check_launcher
from solo.cli.sweep_summary import summary
from solo.files import as_typed
from solo.rows import read_lines, read_table
from solo.run_files import PREDICTIONS
from solo.runs import stages
from solo.runs.config import RunConfig
from solo.runs.run import Run, make_run
from solo.runs.runner import run_all
from solo.runs.sharing import pays
from solo.training.processes import make_accelerator

swept: list[RunConfig] = []  # configurations of this process's sweep, run in the end


def to_the_end(configs: list[RunConfig]) -> None:
    """Bring the runs of the configurations to their end; what fails is told."""
    runs = [make_run(config) for config in configs]
    run_all(runs, progress_bar, evaluate=evaluate_runs, train_together=pays(), say=say)


@command
def main(cfg: DictConfig) -> None:
    config = config_to_train(cfg)
    check_references([config])
    if sweeps_here():
        swept.append(config)
    elif make_accelerator().num_processes > 1 and not make_accelerator().is_main_process:
        stages.train_run(make_run(config), lambda *progress: None)  # the main one does the rest
    else:
        to_the_end([config])


def one_output(run: Run) -> str:
    """The command for one output, of the first MR of the run's own test file."""
    predictions = run.decoding / PREDICTIONS
    _, [mr, _] = read_table(predictions, read_lines(predictions), False, []).rows[0]
    return shlex.join(
        ["python", "scripts/generate.py", f"run={as_typed(run.directory)}", f"mr={mr}"]
    )


if __name__ == "__main__":
    with one_line_errors():
        check_launcher(sys.argv)
    configs = main()
    if not make_accelerator().is_main_process:
        sys.exit()
    with one_line_errors():
        if swept:
            to_the_end(swept)
        runs = [make_run(config) for config in swept or configs]
        done = [run for run in runs if run.state()[0] == "done"]
        if done:
            text, paths, after = summary(done)
            print(text)
            ending(paths, one_output(done[0]) if len(done) == 1 else after)
    sys.exit(int(len(done) < len(runs)))
