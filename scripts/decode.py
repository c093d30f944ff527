"""Decode the test set: scripts/decode.py run=DIR

Or any local checkpoint without training:
scripts/decode.py model.path=DIR adapter=none data.test_path=FILE decode.output=OUT.tsv
A file at OUT.tsv that this program did not write is replaced only with force=true.
"""

import re
import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli.command import check_writable, progress_bar
from solo.cli.compose import config_of, refuse
from solo.cli.entry import command_of_run
from solo.cli.evaluate import check_references
from solo.cli.trained_run import run_of
from solo.files import as_typed
from solo.runs import stages
from solo.runs.config import RunConfig


def has_references(config: RunConfig) -> bool:
    """Whether the run's outputs can be scored; a test set of one's own may be of MRs alone."""
    try:
        check_references([config])
    except (ValueError, FileNotFoundError):
        return False
    return True


@command_of_run
def main(cfg: DictConfig) -> None:
    refuse(cfg, "mr", "out")
    run = run_of(cfg)
    config = run.config if run else config_of(cfg)
    output = config.decode.output
    if output is not None:
        check_writable(Path(output))
    with progress_bar("decode", "MR") as report:
        if output is None:
            output = stages.decode_run(run, report)
        else:
            place = run.directory if run else None
            stages.decode_to(Path(output), config, place, report, cfg.force)
    print(output)
    if run and config.decode.output is None:
        overrides = HydraConfig.get().overrides.task  # they name the decoding
        kept = [o for o in overrides if not o.startswith(("run=", "force="))]
        kept = [re.sub(r"='([\w./+-]+)'$", r"=\1", o) for o in kept]  # quotes that nothing needs
        after = shlex.join(
            ["python", "scripts/evaluate.py", f"run={as_typed(run.directory)}", *kept]
        )
        if has_references(config):
            ending([as_typed(output)], after)
            return
    references = as_typed(Path(config.evaluate.references)) if has_references(config) else "FILE"
    ending(
        [as_typed(output)], f"python -m eval.score --refs {references} --hyps {as_typed(output)}"
    )


if __name__ == "__main__":
    main()
