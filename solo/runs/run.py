"""A run and its two stages that need the model: train and decode. Files are all they share.

A run is known by its identity: the backbone, the checksums of the data, the adapter's options
with every default filled in, the recipe, the seed and the decoding. Its directory carries the
identity's hash, so runs with other arguments never collide, and a stage whose output is there is
not run again; runs that differ only in what comes after training share the training.
"""

import shutil
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from solo import files
from solo.adapters import make_config
from solo.adapters.base import check
from solo.backbones import loading as backbone
from solo.backbones.fast import frozen_products
from solo.datasets import data
from solo.datasets.download import check_file
from solo.decoding import rules as decode
from solo.runs import checkpoint, record
from solo.training.loop import LOG, train
from solo.training.recipe import TrainConfig

PREDICTIONS = "predictions.tsv"
Progress = Callable[[int, int, dict], None]


def identity(config: dict, planned: bool = False) -> dict:
    """What decides a run's numbers, as a JSON-like dict: `training`, and what follows it.

    Checks the whole configuration on the way: raises the errors of every part before any work.
    With `planned`, a data file that is not there is taken to have the configuration's checksum.
    """
    name, adapter = _adapter(config["adapter"])
    decode.BeamConfig(**decode_settings(config))  # found out before the training, not after
    recipe = asdict(TrainConfig(**config["train"]))
    for key in (
        "log_every",
        "save_every",
        "valid_batch_size",
        "compile",
    ):  # no effect on the weights
        recipe.pop(key)
    sums = {}
    for split in ("train", "valid", "test"):
        path = Path(config["data"][f"{split}_path"])
        sums[split] = config["data"].get("sha256", {}).get(split)
        if not (planned and sums[split] and not path.exists()):
            check_file(path, sums[split])
            sums[split] = files.file_sha256(path)
    test = sums.pop("test")
    training = {
        "model": _model_identity(config["model"]),
        "data": sums,
        "adapter": {"name": name, **asdict(adapter)},
        "train": recipe,
        "seed": config["seed"],
    }
    return {"training": training, "test": test, "decode": decode_settings(config)}


def run_directory(config: dict, known: dict) -> Path:
    """`config['output_dir']` where it is set, else runs_dir/ADAPTER-BACKBONE-HASH.

    Raises ValueError if the directory holds a run of another identity.
    """
    digest = files.config_hash(known)
    name = f"{config['adapter']['name']}-{Path(config['model']['path']).name}-{digest}"
    directory = Path(config["output_dir"] or Path(config["runs_dir"]) / name)
    saved = directory / "identity.json"
    if saved.exists() and files.config_hash(files.read_json(saved)) != digest:
        raise ValueError(
            f"{directory} holds the run of another configuration; choose another output_dir"
        )
    return directory


def train_run(config: dict, on_progress: Progress) -> Path:
    """Train the run that `config` describes, unless it is trained already; returns its directory.

    A run that was interrupted goes on from its last state. The configuration's `row`, if any, is
    noted in the directory. Under `accelerate launch` every process calls this, and the main one
    decides and writes. Raises RuntimeError if another process has the directory in use.
    """
    known = identity(config)
    run_dir = run_directory(config, known)
    main = Accelerator().is_main_process
    with record.lock(run_dir) if main else nullcontext():
        done = [main and trained(run_dir, known, config)]
        if not broadcast_object_list(done)[0]:
            _train(config, known, run_dir, on_progress)
        if main and config["row"]:
            record.claim_row(run_dir, config["row"])
    return run_dir


def trained(run_dir: Path, known: dict, config: dict) -> bool:
    """Whether a run is trained already, or takes over the training of one beside it."""
    done = record.stage_record(run_dir, "train") or _share_training(run_dir, known, config)
    return bool(done)


def _train(config: dict, known: dict, run_dir: Path, on_progress: Progress) -> None:
    processes = Accelerator()
    main, digest = processes.is_main_process, files.config_hash(known)
    model, tokenizer, description = load_model(config["model"])
    with processes.main_process_first():  # the others find the encoded data in the cache
        train_examples, valid_examples = load_data(config, model, tokenizer)
    method, adapter = make_config(config["adapter"])
    attached = method.attach(model, adapter, config["seed"])
    recipe = TrainConfig(**config["train"])
    examples = (train_examples, valid_examples)
    if not main:
        train(model, attached, *examples, recipe, run_dir, config["seed"], digest)
        return
    open_run(run_dir, known, config)
    with record.stage(run_dir, "train") as entry:
        entry |= train(
            model, attached, *examples, recipe, run_dir, config["seed"], digest, on_progress
        )
        entry |= {"processes": processes.num_processes, "backbone": description}
        entry |= finish(run_dir, config, attached, description["sha256"], len(train_examples))
        entry["identity"] = digest
    (run_dir / checkpoint.STATE).unlink(missing_ok=True)


def load_data(config: dict, model, tokenizer) -> tuple[list, list]:
    """The training and validation examples of a configuration."""
    paths, n_positions = config["data"], model.config.n_positions
    return tuple(
        data.load_examples(paths[f"{split}_path"], tokenizer, n_positions)
        for split in ("train", "valid")
    )


def finish(run_dir: Path, config: dict, attached, backbone_sha256: str, n_examples: int) -> dict:
    """Save what a run has trained; returns what its record says of it."""
    _, adapter = make_config(config["adapter"])
    name, seed = config["adapter"]["name"], config["seed"]
    checkpoint.save_adapter(run_dir, name, adapter, attached, seed, backbone_sha256)
    planned = replace(TrainConfig(**config["train"]), max_steps=None).total_steps(n_examples)
    planned = planned if attached.parameters else 0
    return {"planned_steps": planned, "n_params": attached.n_trained}


def open_run(run_dir: Path, known: dict, config: dict) -> None:
    """Make a run's directory, with its identity and its configuration."""
    run_dir.mkdir(parents=True, exist_ok=True)
    files.write_json(run_dir / "identity.json", known)
    files.write_text(run_dir / "config.yaml", files.to_yaml(config))


def _share_training(run_dir: Path, known: dict, config: dict) -> bool:
    """Take the training of a finished run beside `run_dir` that differs only in what follows."""
    wanted = files.config_hash(known["training"])
    for path in sorted(Path(config["runs_dir"]).glob("*/identity.json")):
        trained = record.stage_record(path.parent, "train")
        if trained and files.config_hash(files.read_json(path)["training"]) == wanted:
            open_run(run_dir, known, config)
            for name in (LOG, checkpoint.WEIGHTS, checkpoint.CONFIG):
                with files.atomic(run_dir / name) as temporary:
                    shutil.copyfile(path.parent / name, temporary)
            shared = trained | {"shared_from": path.parent.name}
            files.write_json(run_dir / "environment.json", {"train": shared})
            return True
    return False


def decode_run(config: dict, run_dir: Path, on_progress: Progress) -> Path:
    """Decode the test set with a trained run, unless that is done already; returns the TSV.

    Raises ValueError if the directory holds other predictions, RuntimeError if another process has
    it in use.
    """
    output = Path(run_dir) / PREDICTIONS
    settings = {
        "decode": decode_settings(config),
        "test": files.file_sha256(Path(config["data"]["test_path"])),
    }
    with record.lock(run_dir):
        done = record.stage_record(run_dir, "decode")
        if done and output.exists():
            if done["settings"] == settings and done["sha256"] == files.file_sha256(output):
                return output
            raise ValueError(
                f"{output} was decoded with other settings, or changed since; write elsewhere with "
                "decode.output=FILE, or delete it to decode again"
            )
        with record.stage(run_dir, "decode") as entry:
            predictions = decode_file(config, run_dir, on_progress)
            write_predictions(output, predictions)
            entry |= {"settings": settings, "sha256": files.file_sha256(output)}
            entry["n_predictions"] = len(predictions)
    return output


def decode_file(config: dict, run_dir: Path | None, on_progress: Progress) -> list[tuple[str, str]]:
    """(MR as read, text) for every distinct context of `data.test_path`, in order.

    `run_dir` names a trained run; None is the bare backbone.
    """
    settings = decode.BeamConfig(
        **decode_settings(config), batch_size=config["decode"]["batch_size"]
    )
    prompts = data.read_prompts(config["data"]["test_path"])
    model, tokenizer, _ = load_model(config["model"], run_dir)
    texts = generate(model, tokenizer, [context for _, context in prompts], settings, on_progress)
    return [(mr, text) for (mr, _), text in zip(prompts, texts, strict=True)]


def generate(model, tokenizer, contexts: list[str], settings, on_progress: Progress) -> list[str]:
    """The decoded text of each linearised context."""
    prompts = data.encode_prompts(contexts, tokenizer)
    ends = decode.end_tokens(tokenizer)

    def report(done: int, total: int) -> None:
        on_progress(done, total, {})

    rows = settings.beam * settings.batch_size
    with torch.no_grad(), frozen_products(model, model.dtype, rows):
        outputs = decode.beam_search(model, prompts, settings, ends, report)
    return [decode.prediction_text(tokenizer, ids) for ids in outputs]


def decode_settings(config: dict) -> dict:
    """The decoding options that decide the output."""
    return {k: v for k, v in config["decode"].items() if k not in ("batch_size", "output")}


def load_model(model_config: dict, run_dir: Path | None = None):
    """(model, tokenizer, description): in eval mode, on its device, adapter attached."""
    directory = backbone.resolve(model_config["path"], model_config.get("revision"))
    model = backbone.load_backbone(directory)
    tokenizer = backbone.load_tokenizer(directory)
    description = backbone.describe(model, model_config["path"], directory)
    if run_dir is not None:
        checkpoint.load_adapter(run_dir, model, description["sha256"])
    return model.to(backbone.device()), tokenizer, description


def write_predictions(path: Path, rows: list[tuple[str, str]]) -> None:
    """Columns MR and output; a line break in an output becomes a space, an empty one is `""`."""
    lines = ["MR\toutput"] + [f"{_field(mr)}\t{_field(text)}" for mr, text in rows]
    files.write_text(path, "\n".join(lines) + "\n")


def _field(text: str) -> str:
    text = " ".join(text.splitlines()).replace("\t", " ")  # also at form feeds and the like
    return '"' + text.replace('"', '""') + '"' if text == "" or '"' in text else text


def _adapter(options: dict):
    """(name, config) with everything filled in that a variant decides."""
    _, adapter = make_config(options)
    return options["name"], adapter.resolved() if hasattr(adapter, "resolved") else adapter


def _model_identity(model_config: dict) -> dict:
    path = Path(model_config["path"])
    if path.is_dir():
        weights = path / "model.safetensors"
        check(weights.is_file(), f"{path} has no model.safetensors; is it a GPT-2 checkpoint?")
        return {"sha256": files.file_sha256(weights)}
    return {"path": model_config["path"], "revision": model_config.get("revision")}
