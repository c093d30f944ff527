"""Train, decode and score one configuration: scripts/run_row.py experiment=table1/solo_s

What is done is skipped. Sweep with -m, where a run that fails is reported and the others go on:
  scripts/run_row.py -m experiment=table1/solo_s,table1/lora_s seed=1,2 hydra/launcher=joblib
Several GPUs for one run: accelerate launch scripts/run_row.py experiment=table1/solo_s
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


@command
def main(cfg: DictConfig) -> None:
    sweeping = HydraConfig.get().mode == RunMode.MULTIRUN
    with stages.others_go_on(cfg.row or cfg.adapter.name) if sweeping else nullcontext():
        stages.run_all(OmegaConf.to_container(cfg, resolve=True))


if __name__ == "__main__":
    with one_line_errors():
        check_launcher(sys.argv)
    main()
    sys.exit(1 if stages.failures else 0)
