"""Train one run: scripts/train.py adapter=solo adapter.rank=64 adapter.sparsity=0.6

The run's directory is printed last. A run that is trained already is found, not repeated; one
that was interrupted goes on. Sweep with -m: scripts/train.py -m adapter.rank=8,32,128
Runs of a sweep that share backbone, data and schedule train together, in one pass through the
backbone; together=false trains them one by one.
A sweep over learning rates, to choose from with scripts/tune.py: sweep=lr
"""

import sys
from pathlib import Path

from accelerate import Accelerator
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import stages
from scripts.cli import command, one_line_errors
from scripts.rows import check_launcher

together: list[dict] = []  # configurations of this process's sweep


@command
def main(cfg: DictConfig) -> None:
    hydra = HydraConfig.get()
    in_process = hydra.mode == RunMode.MULTIRUN and "BasicLauncher" in hydra.launcher._target_
    if cfg.together and in_process and Accelerator().num_processes == 1:
        together.append(OmegaConf.to_container(cfg, resolve=True))
        return
    with stages.others_go_on(f"{cfg.row or cfg.adapter.name}, lr {cfg.train.lr}, seed {cfg.seed}"):
        run_dir = stages.train(OmegaConf.to_container(cfg, resolve=True))
        if Accelerator().is_main_process:
            print(run_dir)


if __name__ == "__main__":
    with one_line_errors():
        check_launcher(sys.argv)
    main()
    stages.train_together(together)
    sys.exit(1 if stages.failures else 0)
