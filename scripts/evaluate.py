"""Score a run's predictions with the official E2E metrics: scripts/evaluate.py run=DIR"""

import sys
from pathlib import Path

import hydra
from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import stages
from scripts.cli import one_line_errors


@hydra.main(version_base="1.3", config_path="../configs", config_name="config")
def main(cfg: DictConfig) -> None:
    with one_line_errors():
        config, run_dir = stages.run_config(cfg)
        scores = stages.evaluate(config, run_dir)
        for name in ("BLEU", "NIST", "METEOR", "ROUGE_L", "CIDEr"):
            print(f"{name:8s} {scores[name]:.4f}")


if __name__ == "__main__":
    main()
