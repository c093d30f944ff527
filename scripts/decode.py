"""Decode the test set: scripts/decode.py run=DIR

Or any local GPT-2 checkpoint without training:
scripts/decode.py model.path=DIR adapter=none data.test_path=FILE decode.output=OUT.tsv
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo.cli import stages
from solo.cli.command import command, progress_bar
from solo.runs import run


@command
def main(cfg: DictConfig) -> None:
    config, run_dir = stages.run_config(cfg)
    output = config["decode"]["output"]
    if output is None:
        print(stages.decode(config, run_dir))
        return
    with progress_bar("decode", "MR") as report:
        rows = run.decode_file(config, run_dir, report)
    run.write_predictions(Path(output), rows)
    print(output)


if __name__ == "__main__":
    main()
