"""Train one run: scripts/train.py adapter=solo adapter.rank=64 adapter.sparsity=0.6

The run's directory is printed last. A run that is trained already is found, not repeated; one
that was interrupted goes on. Sweep with -m: scripts/train.py -m adapter.rank=8,32,128
Runs of a sweep that share backbone, data and schedule train together, in one pass through the
backbone; together=false trains them one by one.
A sweep over learning rates, to choose from with scripts/tune.py: sweep=lr
"""

import sys
from contextlib import nullcontext
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo.cli import stages
from solo.cli.command import command, one_line_errors
from solo.cli.rows import check_launcher
from solo.runs.run import identity
from solo.training.processes import make_accelerator

together: list[dict] = []  # configurations of this process's sweep


@command
def main(cfg: DictConfig) -> None:
    hydra, config = HydraConfig.get(), OmegaConf.to_container(cfg, resolve=True)
    sweeping = hydra.mode == RunMode.MULTIRUN
    with stages.others_go_on(stages.label(config)) if sweeping else nullcontext():
        in_process = sweeping and "BasicLauncher" in hydra.launcher._target_
        if cfg.together and in_process and make_accelerator().num_processes == 1:
            identity(config)  # finds what is wrong with it, before any work
            together.append(config)
            return
        run_dir = stages.train(config)
        if make_accelerator().is_main_process:
            print(run_dir)


if __name__ == "__main__":
    with one_line_errors():
        check_launcher(sys.argv)
    main()
    with one_line_errors():
        stages.train_sweep(together)
    sys.exit(1 if stages.failures else 0)
