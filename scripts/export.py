"""Write a trained run for peft or transformers: scripts/export.py run=DIR out=DIR

Solo Connection by solo.peft, LoRA as peft's own, a method of peft's as itself; any other that can
be folded into the weights becomes a whole model. The folder's README.md is a model card.
"""

import sys
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval import records
from eval.command import ending
from solo.cli.compose import refuse
from solo.cli.entry import command_of_run
from solo.cli.trained_run import run_of
from solo.files import read_json
from solo.options import check
from solo.run_files import SCORES
from solo.runs.export import export_run
from solo.runs.run import Run


def scores_of(run: Run) -> dict | None:
    """What the card tells: the scores of the configured decoding, None without.

    To export needs no data: where the test file, whose checksum is part of a decoding's name, is
    not there, the one decoding counts that was scored.
    """
    try:
        decodings = [replace(run, planned=True).decoding]
    except FileNotFoundError:
        decodings = records.decodings(run.directory)
    scored = [place / SCORES for place in decodings if (place / SCORES).exists()]
    return read_json(scored[0]) if len(scored) == 1 else None


@command_of_run
def main(cfg: DictConfig) -> None:
    check(cfg.run is not None and cfg.out is not None, "name both: run=DIR out=DIR")
    refuse(cfg, "mr", "force", "decode.output")
    run = run_of(cfg)
    print(export_run(run, Path(cfg.out), scores_of(run)))
    ending([cfg.out], f"what loads it is in {cfg.out}/README.md")


if __name__ == "__main__":
    main()
