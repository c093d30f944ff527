"""Train one run: scripts/train.py adapter=solo adapter.rank=64 adapter.sparsity=0.6

The run's directory is printed last. A run that is trained already is found, not repeated; one
that was interrupted goes on. Sweep with -m: scripts/train.py -m adapter.rank=8,32,128
"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import stages
from scripts.cli import one_line_errors


@hydra.main(version_base="1.3", config_path="../configs", config_name="config")
def main(cfg: DictConfig) -> None:
    with one_line_errors():
        print(stages.train(OmegaConf.to_container(cfg, resolve=True)))


if __name__ == "__main__":
    main()
