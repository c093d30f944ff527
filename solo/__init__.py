"""Solo Connection and the methods it is compared with: data, adapters, training, decoding."""

import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from solo.run_files import IDENTITY

if TYPE_CHECKING:
    import peft
    import transformers

__version__ = "0.1.0"


def _interrupted(kind: type, error: BaseException, trace) -> None:
    """sys.excepthook of a script until solo/cli has its own: imports take seconds."""
    if issubclass(kind, KeyboardInterrupt):
        sys.stderr.write("interrupted; the same command goes on\n")
    else:
        sys.__excepthook__(kind, error, trace)


if Path(*sys.argv[:1]).resolve().parent == Path(__file__).resolve().parents[1] / "scripts":
    sys.excepthook = _interrupted


def load(
    source: str | Path, backbone: str | None = None
) -> "transformers.PreTrainedModel | peft.PeftModel":
    """A model of transformers, ready for use, from what this project writes.

    source: the directory of a trained run, a folder that scripts/export.py or peft's
    `save_pretrained` wrote, or the name of one on the hub. backbone: where the backbone is, if not
    where the source says. An adapter that peft has a form for comes as peft's PeftModel.

    Raises ValueError or FileNotFoundError, in one line, if there is no model at `source`, if a
    tensor of it or of its backbone is missing or too much, or if the backbone is another one.
    """
    with warnings.catch_warnings():
        # peft asks transformers for this by its old name; whoever loads a model can change neither.
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is depr", FutureWarning)
        if (Path(source) / IDENTITY).is_file():  # torch is imported where it is needed
            from solo.runs.export import load_run

            return load_run(Path(source), backbone)
        import solo.peft.loading

        return solo.peft.loading.load_export(str(source), backbone)
