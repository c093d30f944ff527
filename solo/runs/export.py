"""A trained run outside of this project: a folder that peft or transformers loads."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

import torch
import transformers

from solo.adapters import make_config
from solo.adapters.base import Method
from solo.backbones.loading import fingerprint, load_backbone, load_tokenizer, resolve
from solo.files import check_empty, sync, write_text
from solo.options import check
from solo.runs import checkpoint
from solo.runs.card import model_card
from solo.runs.identity import check_same_model
from solo.runs.run import Run, open_run

TOLERANCE = 1e-3  # of logits; PiSSA's start comes out anew up to rounding


def load_run(directory: Path, backbone: str | None = None) -> transformers.PreTrainedModel:
    """The model of a trained run, in eval mode: peft's where peft has a form for the method.

    Otherwise the backbone with the method attached. backbone: where it is, if not at the
    configuration's model.path. Raises FileNotFoundError if there is none, and what open_run and
    load_adapter raise.
    """
    run = open_run(directory)
    place, revision = backbone or run.config.model.path, run.config.model.revision
    try:
        found = resolve(place, revision)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"the backbone of {directory} is not to be had from {place} (the working directory is "
            f"{Path.cwd()}); name its folder with backbone=DIR"
        ) from error
    return _in_peft(run, _attached(run, found), found)


def export_run(run: Run, out: Path, scores: dict | None) -> Path:
    """Write a trained run as a folder for peft, or as a whole model where peft has no form for it.

    The folder has a model card with `scores`, those of a metrics.json. Raises ValueError if the
    method can take neither form, if what was written would compute something else than the run, or
    if `out` is there and not empty.
    """
    check(run.config.method != "none", f"{run.directory} trained nothing; export another run")
    check_empty(out)
    place = resolve(run.config.model.path, run.config.model.revision)
    method, tokenizer = _attached(run, place), load_tokenizer(place)
    from solo.peft.convert import has_form

    check(
        has_form(method) or method.cannot_merge is None,
        f"{run.config.method} has no form in peft, and no plain model can hold it: "
        f"{method.cannot_merge}; use the run itself, solo.load({str(run.directory)!r})",
    )
    expected = _logits(method.model)
    whole = not has_form(method)
    if whole:
        method.merge()
    model = method.model if whole else _in_peft(run, method, place)
    difference = (_logits(model) - expected).abs().max().item()
    check(
        difference <= TOLERANCE * max(1.0, expected.abs().max().item()),
        f"{run.directory} would compute something else in its new form (logits differ by "
        f"{difference:.2g}); nothing is written",
    )
    return _write(model, tokenizer, whole, model_card(run, scores, whole, out.name), out)


def _attached(run: Run, place: Path) -> Method:
    """The run's method at work in the backbone that is in the folder `place`."""
    check_same_model(run.identity["model"], str(place), None)
    model = load_backbone(place)
    method = checkpoint.load_adapter(run.directory, model, fingerprint(model))
    method.model = model
    return method


def _in_peft(run: Run, method: Method, place: Path) -> transformers.PreTrainedModel:
    from solo.peft.convert import has_form, to_peft

    if not has_form(method):
        return method.model
    saved = checkpoint.read_saved(run.directory)
    _, config = make_config({"name": saved["method"], **saved["options"]})
    fresh = load_backbone(place)
    model = to_peft(method, config, saved["seed"], fresh).eval()
    [config] = model.peft_config.values()
    config.base_model_name_or_path = run.config.model.path
    config.revision = run.config.model.revision
    return model


@torch.no_grad()
def _logits(model) -> torch.Tensor:
    """Of three made-up rows of tokens."""
    size, length = model.config.vocab_size, min(16, model.config.max_position_embeddings)
    rows = torch.randint(size, (3, length), generator=torch.Generator().manual_seed(0))
    return model.eval()(rows.to(model.device)).logits


def _write(
    model, tokenizer: transformers.PreTrainedTokenizerBase, whole: bool, card: str, out: Path
) -> Path:
    """All or nothing: the files are made beside `out`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".tmp.") as folder:
        made = Path(folder) / "made"
        if whole:
            model.save_pretrained(made)
            tokenizer.save_pretrained(made)
        else:
            model.save_pretrained(made, save_embedding_layers=False)
        write_text(made / "README.md", card)
        readable = (made / "README.md").stat().st_mode
        for path in made.iterdir():
            path.chmod(readable)  # safetensors leaves files that nobody else may read
            sync(path)
        if out.exists():
            out.rmdir()
        shutil.move(made, out)
    return out
