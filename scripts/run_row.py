"""Train, decode and score one configuration: scripts/run_row.py experiment=table1/solo_s

What is done is skipped. Sweep with -m, where a run that fails is reported and the others go on:
  scripts/run_row.py -m experiment=table1/solo_s,table1/lora_s seed=1,2 hydra/launcher=joblib
Several GPUs for one run: accelerate launch scripts/run_row.py experiment=table1/solo_s
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo.cli.command import command, one_line_errors, progress_bar, say
from solo.cli.compose import config_to_train
from solo.cli.evaluate import evaluate_runs
from solo.cli.rows import check_launcher
from solo.runs import stages
from solo.runs.run import make_run
from solo.runs.runner import run_all
from solo.training.processes import make_accelerator

failures: list[str] = []


@command
def main(cfg: DictConfig) -> None:
    run = make_run(config_to_train(cfg))
    if make_accelerator().num_processes > 1 and not make_accelerator().is_main_process:
        stages.train_run(run, lambda *progress: None)  # the main process decodes and scores
        return
    failures.extend(run_all([run], progress_bar, evaluate=evaluate_runs, say=say).failures)


if __name__ == "__main__":
    with one_line_errors():
        check_launcher(sys.argv)
    main()
    sys.exit(1 if failures else 0)
