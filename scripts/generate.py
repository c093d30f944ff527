"""Text for one's own MR: scripts/generate.py run=DIR mr="name[The Mill], eatType[pub]"

The MR may also be linearised as the data is: mr="name : The Mill | Type : pub". A run on other data
than E2E reads it as it is.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli.compose import config_of, refuse
from solo.cli.entry import command_of_run
from solo.cli.trained_run import run_of
from solo.datasets.e2e_raw import linearise
from solo.files import as_typed
from solo.rows import one_line
from solo.runs import stages


@command_of_run
def main(cfg: DictConfig) -> None:
    if not (cfg.mr or "").strip():
        raise ValueError(
            'no MR given; add mr="name[The Mill], eatType[pub], ...", or one as the data has it'
        )
    refuse(cfg, "out", "force", "decode.output")
    run = run_of(cfg)
    config = run.config if run else config_of(cfg)
    of_e2e = config.data.name not in ("own", "webnlg")  # whose MRs the model reads as they are
    context = linearise(cfg.mr) if of_e2e and "[" in cfg.mr else one_line(cfg.mr).strip()
    model, tokenizer, _ = stages.load_model(config.model, run.directory if run else None)
    [text] = stages.generate(model, tokenizer, [context], config.decode, lambda *progress: None)
    print(text)
    if run:
        ending([], f"python scripts/export.py run={as_typed(run.directory)} out=DIR")


if __name__ == "__main__":
    main()
