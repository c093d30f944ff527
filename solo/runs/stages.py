"""The two stages of a run that need the model, train and decode. Files are all they share."""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from accelerate.utils import broadcast_object_list

from solo.backbones import loading, positions_of
from solo.backbones.products import frozen_products
from solo.datasets import data
from solo.decoding import rules
from solo.decoding.found import add_found, read_found
from solo.files import check_output, file_sha256, write_output, write_text
from solo.run_files import FOUND, PREDICTIONS
from solo.runs import checkpoint
from solo.runs.config import ModelConfig, RunConfig, data_file
from solo.runs.run import Run
from solo.training.loop import train
from solo.training.processes import make_accelerator
from solo.training.progress import Progress
from solo.training.state import remove, settle


def train_run(run: Run, on_progress: Progress) -> None:
    """Train a run, unless it is trained already; one that was interrupted goes on.

    The configuration's `row`, if any, is noted in the directory. Under `accelerate launch` every
    process calls this, and the main one decides and writes. Raises RuntimeError if another process
    has the directory in use.
    """
    main = make_accelerator().is_main_process
    with run.lock() if main and not run.is_finished() else nullcontext():
        is_trained = [main and bool(checkpoint.trained(run.directory))]
        if not broadcast_object_list(is_trained)[0]:
            _train(run, on_progress)
        if main:
            if not run.is_finished():
                remove(run.directory)
            if run.config.row:
                run.note_row(run.config.row)


def _train(run: Run, on_progress: Progress) -> None:
    processes, config = make_accelerator(), run.config
    model, tokenizer, description = load_model(config.model)
    method = config.method_class.attach(model, config.adapter, config.seed)
    examples = load_data(config, model, tokenizer)
    arguments = (model, method, *examples, config.train, run.directory, config.seed, run.name)
    if not processes.is_main_process:
        train(*arguments)
        return
    with run.stage("train") as entry:
        settle(run.directory)
        for begun in run.directory.glob(f"decode/*/{FOUND}"):  # by weights that are gone
            begun.unlink()
        entry |= {"processes": processes.num_processes} | train(*arguments, on_progress)
        entry |= finish(run, method, description, examples[0], tokenizer)


def load_data(config: RunConfig, model, tokenizer) -> tuple[list, list]:
    """The training and validation examples of a configuration, for a model with its method.

    Raises ValueError, too, for a test set that could not be decoded after the training.
    """
    prompts = data.read_prompts(config.data.test_path, config.data.name)
    _check_prompts(config, model, prompts, tokenizer)
    n_positions, vocab_size = positions_of(model), model.config.vocab_size
    return tuple(
        data.load_examples(path, tokenizer, n_positions, config.data.name, vocab_size)
        for path in (config.data.train_path, config.data.valid_path)
    )


def _check_prompts(config: RunConfig, model, prompts: list[tuple[str, str]], tokenizer) -> None:
    """Raise ValueError for the first of `prompts`, (MR, context), that cannot be decoded."""
    shown = [mr if len(mr) <= 60 else f"{mr[:57]}..." for mr, _ in prompts]
    names = [f"{config.data.test_path}: the MR {mr!r}" for mr in shown]
    encoded = data.encode_prompts([context for _, context in prompts], tokenizer)
    rules.check_prompts(model, encoded, config.decode, names)


def finish(run: Run, method, backbone: dict, examples: list, tokenizer) -> dict:
    """Save what a run has trained; returns what its record says of it."""
    config = run.config
    checkpoint.save_adapter(
        run.directory, config.method, config.adapter, method, config.seed, backbone["sha256"]
    )
    planned = replace(config.train, max_steps=None).total_steps(len(examples))
    return {
        "planned_steps": planned if method.parameters else 0,
        "n_params": method.n_trained,
        "test_mrs_in_training": _in_training(config, examples, tokenizer),
        "backbone": backbone,
        "identity": run.name,
    }


def _in_training(config: RunConfig, examples: list, tokenizer) -> int:
    """How many of the test MRs the training set has, too."""
    contexts = [c for _, c in data.read_prompts(config.data.test_path, config.data.name)]
    prompts = set(map(tuple, data.encode_prompts(contexts, tokenizer)))
    return len(prompts & {tuple(example.ids[: example.n_context]) for example in examples})


def decode_run(run: Run, on_progress: Progress) -> Path:
    """Decode the test set with a trained run, unless that is done already; returns the TSV. One
    that was interrupted goes on with the next batch of contexts.

    Raises ValueError if the predictions were changed since, RuntimeError if another process has
    the directory in use.
    """
    output = run.decoding / PREDICTIONS
    if _is_decoded(run):
        return output
    with run.lock():
        if _is_decoded(run):
            return output
        with run.stage("decode") as entry:
            begun = run.decoding / FOUND
            predictions = decode_file(run.config, run.directory, on_progress, begun)
            write_predictions(output, predictions)
            begun.unlink(missing_ok=True)
            entry |= {"sha256": file_sha256(output), "n_predictions": len(predictions)}
            entry |= {"weights_sha256": checkpoint.read_saved(run.directory)["weights_sha256"]}
    return output


def _is_decoded(run: Run) -> bool:
    output, entry = run.decoding / PREDICTIONS, run.decoded()
    if not entry or not output.exists():
        return False
    if entry.get("sha256") != file_sha256(output):
        raise ValueError(
            f"{output} was changed since it was decoded; move {run.decoding} away to decode again"
        )
    return True


def decode_to(
    output: Path,
    config: RunConfig,
    adapter_dir: Path | None,
    on_progress: Progress,
    force: bool = False,
) -> None:
    """Decode as decode_file does, into a file that the user named.

    Raises ValueError, before any work, if that is one that must not be lost (files.check_output).
    """
    inputs = [data_file(config, split) for split in ("train", "valid", "test")]
    inputs += [Path(config.evaluate.references), Path(config.model.path)]
    check_output(output, [*inputs, adapter_dir] if adapter_dir else inputs, force)
    write_output(output, predictions_text(decode_file(config, adapter_dir, on_progress)))


def decode_file(
    config: RunConfig, adapter_dir: Path | None, on_progress: Progress, begun: Path | None = None
) -> list[tuple[str, str]]:
    """(MR as read, text) for every distinct context of the test file, in order.

    adapter_dir: of a trained run; None is the bare backbone. begun: see `generate`.
    """
    prompts = data.read_prompts(config.data.test_path, config.data.name)
    model, tokenizer, _ = load_model(config.model, adapter_dir)
    _check_prompts(config, model, prompts, tokenizer)
    contexts = [context for _, context in prompts]
    texts = generate(model, tokenizer, contexts, config.decode, on_progress, begun)
    return [(mr, text) for (mr, _), text in zip(prompts, texts, strict=True)]


def generate(
    model,
    tokenizer,
    contexts: list[str],
    settings: rules.BeamConfig,
    on_progress: Progress,
    begun: Path | None = None,
) -> list[str]:
    """The decoded text of each linearised context.

    begun: a file that keeps what is found until the end; what is in it is not searched for again.
    """
    prompts = data.encode_prompts(contexts, tokenizer)
    ends = rules.end_tokens(tokenizer)

    def report(done: int, total: int) -> None:
        on_progress(done, total, {})

    kept = {}
    if begun is not None:
        kept = {"known": read_found(begun, len(prompts)), "on_found": partial(add_found, begun)}
    rows = settings.beam * settings.contexts(model.device)
    with torch.no_grad(), frozen_products(model, model.dtype, rows):
        outputs = rules.beam_search(model, prompts, settings, ends, report, **kept)
    return [rules.prediction_text(tokenizer, ids) for ids in outputs]


def load_model(model_config: ModelConfig, adapter_dir: Path | None = None):
    """(model, tokenizer, description): in eval mode, on its device, adapter attached."""
    directory = loading.resolve(model_config.path, model_config.revision)
    model = loading.load_backbone(directory)
    tokenizer = loading.load_tokenizer(directory)
    description = loading.describe(model, model_config.path, directory)
    if adapter_dir is not None:
        checkpoint.load_adapter(adapter_dir, model, description["sha256"])
    return model.to(loading.device()), tokenizer, description


def write_predictions(path: Path, rows: list[tuple[str, str]]) -> None:
    """Write a file of predictions."""
    write_text(path, predictions_text(rows))


def predictions_text(rows: list[tuple[str, str]]) -> str:
    """Columns MR and output; a line break in an output becomes a space, an empty one is `""`."""
    lines = ["MR\toutput"] + [f"{_field(mr)}\t{_field(text)}" for mr, text in rows]
    return "\n".join(lines) + "\n"


def _field(text: str) -> str:
    text = " ".join(text.splitlines()).replace("\t", " ")  # also at form feeds and the like
    return '"' + text.replace('"', '""') + '"' if text == "" or '"' in text else text
