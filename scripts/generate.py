"""Text for one's own MR: scripts/generate.py run=DIR mr="name[The Mill], eatType[pub]"

The MR may also be linearised as the data is: mr="name : The Mill | Type : pub".
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo.cli import stages
from solo.cli.command import command
from solo.datasets.e2e_raw import linearise
from solo.decoding import rules as decode
from solo.runs import run


@command
def main(cfg: DictConfig) -> None:
    if not cfg.mr:
        raise ValueError('no MR given; add mr="name[The Mill], eatType[pub], ..."')
    config, run_dir = stages.run_config(cfg)
    context = linearise(cfg.mr) if "[" in cfg.mr else cfg.mr
    settings = decode.BeamConfig(**run.decode_settings(config))
    model, tokenizer, _ = run.load_model(config["model"], run_dir)
    [text] = run.generate(model, tokenizer, [context], settings, lambda *progress: None)
    print(text)


if __name__ == "__main__":
    main()
