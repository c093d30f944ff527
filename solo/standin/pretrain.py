"""A stand-in backbone that copies, from its corpus to its directory: tokenizer, planted or grown
start, pretraining (solo/standin/training.py), measures."""

from __future__ import annotations

import os
from pathlib import Path

import torch
import transformers

from solo import files
from solo.backbones import loading as backbone
from solo.backbones import without_dropout
from solo.options import check
from solo.runs import record
from solo.standin import corpus, measures, names
from solo.standin.grown import grow
from solo.standin.mixture import Mixture, real_words
from solo.standin.planted import plant
from solo.standin.recipe import MODEL, Recipe
from solo.standin.training import LOG, pretrain
from solo.training import state as training_state
from solo.training.progress import Progress

SUMMARY = "pretraining.json"
SUMS = "corpus.json"  # sha256 of what an unfinished one is made from


def make_backbone(recipe: Recipe, cache_dir: Path, on_progress: Progress) -> dict:
    """Pretrain by `recipe` into its output_dir; returns what the summary there says.

    The directory is in the hub's format, weights in float16, with SUMMARY (recipe, measures,
    checksums) and LOG beside them. A finished one is left alone; ValueError if it is of another
    recipe, or if the directory holds anything else. RuntimeError if another process makes it.
    """
    out = Path(recipe.output_dir)
    if (out / SUMMARY).exists() and not (out / training_state.STATE).exists():
        return _finished(out, recipe)
    _check_place(out)
    with record.lock(out) as first:
        if first and (out / LOG).is_file():  # it is a pretraining's
            files.clean(out)
        if (out / SUMMARY).exists():
            summary = _finished(out, recipe)
        else:
            summary = _make_backbone(out, recipe, cache_dir, on_progress)
        for name in (training_state.STATE, SUMS):
            (out / name).unlink(missing_ok=True)
    return summary


def _finished(out: Path, recipe: Recipe) -> dict:
    summary = files.read_json(out / SUMMARY)
    check(
        summary.get("identity") == recipe.identity,
        f"{out} holds a backbone of another recipe; set pretrain.output_dir=DIR",
    )
    try:
        sums = _sums(recipe)
    except FileNotFoundError:  # who has the backbone need not have its corpus
        return summary
    check(
        summary["corpus"] == sums,
        f"{out} holds a backbone of another corpus than {recipe.corpus_dir}; set "
        "pretrain.output_dir=DIR, or pretrain.corpus_dir to that corpus",
    )
    return summary


def _corpus(recipe: Recipe) -> list[list[Path]]:
    """The files of data-to-text lines, of running text, and of validation."""
    groups = (recipe.data_files, recipe.text_files, recipe.valid_files)
    return [corpus.find_files(Path(recipe.corpus_dir), patterns) for patterns in groups]


def _sums(recipe: Recipe) -> dict[str, str]:
    """The checksum of every file of the corpus, by its path below the folder."""
    folder = Path(recipe.corpus_dir)
    paths = [path for group in _corpus(recipe) for path in group]
    return {path.relative_to(folder).as_posix(): files.file_sha256(path) for path in paths}


def _check_place(out: Path) -> None:
    ours = (out / SUMS).exists() or (out / SUMMARY).exists() or not (out / MODEL).exists()
    check(
        (ours and (out / LOG).exists()) or not out.exists() or not any(out.iterdir()),
        f"{out} holds files of something else; set pretrain.output_dir=DIR, or move them away",
    )


def _make_backbone(out: Path, recipe: Recipe, cache_dir: Path, on_progress: Progress) -> dict:
    _check_place(out)  # another process may have put something there
    data, text, valid = _corpus(recipe)
    sums = _sums(recipe)
    if (out / SUMS).exists():
        check(
            files.read_json(out / SUMS) == sums,
            f"{out} was begun with another corpus than {recipe.corpus_dir} holds now; set "
            "pretrain.output_dir=DIR, or pretrain.corpus_dir to that corpus",
        )
    if not (out / LOG).exists():  # from now on the directory is known by it
        files.write_text(out / LOG, "")
        files.write_json(out / SUMS, sums)
    tokenizer = _tokenizer(out, data + text, recipe)
    lines = [line for line in map(names.parse, corpus.lines(data)) if line]
    check(bool(lines), "pretrain.data_files hold no line of the form 'name : The Mill || The text'")
    stream = corpus.token_stream(text, tokenizer, cache_dir)
    longest = max(phase["context"] for phase in recipe.phases)
    check(
        len(stream) > longest + 1,
        f"pretrain.text_files hold {len(stream)} tokens; a context of {longest} needs more",
    )
    mixture = Mixture(lines, stream, tokenizer, real_words(tokenizer))
    model = new_model(recipe.shape, tokenizer, recipe.seed, recipe.stand_in)
    if backbone.device().type == "cpu":
        model.set_attn_implementation("eager")  # in bf16 the fastest there that can be trained
    if recipe.planted:
        plant(model, recipe.seed)
    if recipe.grown_from:
        grow(model, backbone.load_backbone(Path(recipe.grown_from)))
    measure = measures.Measures(mixture, valid, recipe.seed)
    summary = pretrain(model, mixture, measure, recipe, on_progress)
    model = model.to("cpu", torch.float16).eval()
    model.config.dtype = "float16"
    model.save_pretrained(out)
    weights = out / MODEL  # which nobody else may read otherwise
    weights.chmod((out / "config.json").stat().st_mode)
    measured = measure(model.float(), greedy=True)  # of the weights as they were rounded
    summary |= {"identity": recipe.identity, "recipe": recipe.deciding, "measures": measured}
    summary |= {"sha256": backbone.fingerprint(model), "corpus": sums}
    for path in filter(Path.is_file, out.iterdir()):
        files.sync(path)
    files.write_json(out / SUMMARY, summary | record.environment())
    return summary


def new_model(shape: dict, tokenizer, seed: int, stand_in: str) -> transformers.GPT2LMHeadModel:
    """A randomly initialised GPT-2 of the given shape whose config says what it stands in for."""
    torch.manual_seed(seed)
    end = tokenizer.eos_token_id
    config = transformers.GPT2Config(
        **shape, vocab_size=len(tokenizer), bos_token_id=end, eos_token_id=end
    )
    config.stand_in = stand_in
    return transformers.GPT2LMHeadModel(without_dropout(config))


def _tokenizer(out: Path, texts: list[Path], recipe: Recipe):
    """A BPE trained on `texts`, or that of the backbone to grow from; kept in `out`, where a run
    that goes on finds it."""
    if not (out / "tokenizer.json").exists():
        place = out / f"{files.TEMPORARY}.tokenizer"
        if recipe.grown_from:
            tokenizer = backbone.load_tokenizer(Path(recipe.grown_from))
        else:
            tokenizer = corpus.train_tokenizer(texts, recipe.vocab_size)
        try:
            tokenizer.save_pretrained(place)
        except Exception as error:  # tokenizers has no class for a full disk
            raise OSError(f"the tokenizer cannot be written to {place} ({error})") from error
        for path in sorted(place.iterdir(), key=lambda path: path.name == "tokenizer.json"):
            os.replace(path, out / path.name)  # the one that is looked for comes last
        place.rmdir()
    return backbone.load_tokenizer(out)
