"""Pretrain a small GPT-2 that copies: scripts/pretrain_backbone.py pretrain=standin12

Reads the text in the folder CORPUS_DIR, of which the backbone's card names source and licence.
Writes a directory in the hub's format (config.json, model.safetensors, tokenizer files) that
`model.path=DIR` takes, with `pretraining.json` (what it was trained on, how well it copies) and
`pretrain_log.jsonl` beside them. A directory that holds the same recipe's result is left alone;
a run that was killed goes on from its last state.
"""

import functools
import sys
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo import files
from solo.cli.command import progress_bar
from solo.cli.entry import command
from solo.options import make
from solo.standin.pretrain import make_backbone
from solo.standin.recipe import Recipe


@functools.partial(command, config_name="pretrain_backbone")
def main(cfg: DictConfig) -> None:
    values = OmegaConf.to_container(cfg.pretrain, resolve=True)
    cache = files.ROOT / "data" / "cache"
    with progress_bar("pretrain") as report:
        summary = make_backbone(make(Recipe, values, "pretrain"), cache, report)
    print(f"{values['output_dir']}: {summary['measures']}")
    ending([values["output_dir"]], f"python scripts/run.py model.path={values['output_dir']}")


if __name__ == "__main__":
    main()
