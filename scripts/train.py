"""Train one run: scripts/train.py adapter=solo adapter.rank=64 adapter.sparsity=0.6

The run's directory is printed last. A run that is trained already is found, not repeated; one
that was interrupted goes on. Sweep with -m: scripts/train.py -m adapter.rank=8,32,128
"""

import sys
from pathlib import Path

from accelerate import Accelerator
from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import stages
from scripts.cli import command


@command
def main(cfg: DictConfig) -> None:
    run_dir = stages.train(OmegaConf.to_container(cfg, resolve=True))
    if Accelerator().is_main_process:
        print(run_dir)


if __name__ == "__main__":
    main()
