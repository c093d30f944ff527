"""Pretrain a GPT-2 backbone from text: scripts/pretrain_backbone.py pretrain=demo

Writes a directory in the hub's format (config.json, model.safetensors, tokenizer files) that
`model.path=DIR` takes, with `pretraining.json` (what it was trained on, validation loss) and
`pretrain_log.jsonl` beside them. A directory that holds the same recipe's result is left alone;
a run that was killed goes on from its last state.
"""

import functools
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo import files
from solo.cli.command import command, progress_bar
from solo.standin import plain as pretrain
from solo.standin import pretrain as standin


@functools.partial(command, config_name="pretrain_backbone")
def main(cfg: DictConfig) -> None:
    config = OmegaConf.to_container(cfg.pretrain, resolve=True)
    with progress_bar("pretrain") as report:
        if "phases" in config:
            recipe = standin.Recipe(**config)
            summary = standin.make_backbone(recipe, files.ROOT / "data" / "cache", report)
            print(f"{recipe.output_dir}: {summary['measures']}")
            return
        summary = pretrain.make_backbone(config, files.ROOT / "data" / "cache", report)
    print(pretrain.in_words(summary))


if __name__ == "__main__":
    main()
