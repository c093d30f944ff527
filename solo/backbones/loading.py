"""The frozen backbone that every method adapts: loaded strictly, without dropout, fingerprinted."""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
import transformers
from transformers.utils import logging as transformers_logging

from solo.backbones import BACKBONES, without_dropout
from solo.backbones.shapes import config_class, model_class
from solo.files import file_sha256, read_json

REMEDY = "transformers' save_pretrained(DIR, max_shard_size='99GB') writes what is needed"
CONSTANTS_OF_OTHERS = (  # as CONSTANTS, of types without a line in BACKBONES
    ".attn.bias", ".attn.masked_bias", ".attention.bias", ".attention.masked_bias",
    ".rotary_emb.inv_freq",
)  # fmt: skip
HUB_FILES = ("config.json", "model.safetensors", "tokenizer*", "vocab.json", "merges.txt",
             "special_tokens_map.json", "added_tokens.json")  # fmt: skip


def resolve(path: str, revision: str | None = None) -> Path:
    """The local directory of a checkpoint: `path` itself, or the hub's copy of that name.

    Raises FileNotFoundError if `path` is neither a directory nor a name the hub (or its cache)
    knows, OSError if the cache cannot be written. The hub's directory name is the commit, which the
    run's record keeps.
    """
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(path, revision=revision, allow_patterns=HUB_FILES))
    except Exception as error:  # the hub raises many kinds; to the user they are two
        if isinstance(error, OSError) and error.filename:
            place = f"{error.strerror} (the hub's cache is there; HF_HOME names another place)"
            raise OSError(error.errno, place, str(error.filename)) from error
        raise FileNotFoundError(
            f"no checkpoint at model.path={path}: not a local directory, and the hub gave "
            f"{type(error).__name__}; set model.path=DIR to a directory with config.json, "
            "model.safetensors and the tokenizer files"
        ) from error


def load_backbone(directory: Path) -> transformers.PreTrainedModel:
    """Load a backbone from a directory in float32, with every dropout at 0, in eval mode.

    Raises FileNotFoundError for a missing file, ValueError for another architecture, for a
    truncated file, and for the first key that is missing, unexpected, or of another shape.
    """
    directory = Path(directory)
    for name in ("config.json", "model.safetensors"):
        if not (directory / name).is_file():
            raise FileNotFoundError(f"{directory} has no {name}; {REMEDY}")
    kind = read_json(directory / "config.json").get("model_type")
    if kind not in BACKBONES:
        raise ValueError(
            f"{directory} holds a model of type {kind!r}; supported: {', '.join(BACKBONES)}"
        )
    config = without_dropout(config_class(kind).from_pretrained(directory))
    try:
        model, report = load_with_report(model_class(config), directory, config=config)
    except Exception as error:
        raise ValueError(
            f"{directory}/model.safetensors cannot be loaded as {kind} ({error}); "
            "fetch or write the checkpoint again"
        ) from error
    check_report(report, kind, directory)
    return model


def load_with_report(
    source_class, source: str | Path, **options
) -> tuple[transformers.PreTrainedModel, dict]:
    """(a model in float32, in eval mode; transformers' report of its keys, for `check_report`).

    source_class: a class of transformers with `from_pretrained`, which gets `options` and whose
    errors are let through. Nothing is printed.
    """
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()  # what it would warn of is an error of check_report
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # a second or two of a file that is there
    try:
        model, report = source_class.from_pretrained(
            source,
            dtype=torch.float32,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # so that they are reported, and refused by check_report
            **options,
        )
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()
    return model.eval(), report


def check_report(report: dict, kind: str, source: str | Path) -> None:
    """Raise ValueError for the first key of a checkpoint that is missing, unexpected or of another
    shape: transformers fills gaps at random and drops what is too much. kind: its model_type."""
    constants = BACKBONES[kind].CONSTANTS if kind in BACKBONES else CONSTANTS_OF_OTHERS
    for problem in ("missing_keys", "unexpected_keys", "mismatched_keys"):
        keys = sorted(map(str, report.get(problem, ())))
        keys = [key for key in keys if not key.endswith(constants)]
        if keys:
            raise ValueError(
                f"{source} does not fit its config.json: {len(keys)} "
                f"{problem.replace('_', ' ')}, the first is {keys[0]}; fetch or write it again "
                "(from a model with a method: method.merge() before save_pretrained)"
            )


def load_tokenizer(directory: Path):
    """The tokenizer of a checkpoint. ValueError if it is empty or has no end-of-text token."""
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(directory)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{directory} has no usable tokenizer ({str(error).splitlines()[0]}); "
            "it needs tokenizer.json, or vocab.json and merges.txt"
        ) from error
    if len(tokenizer) < 2 or tokenizer.eos_token_id is None:
        raise ValueError(
            f"the tokenizer of {directory} has {len(tokenizer)} entries and end token "
            f"{tokenizer.eos_token!r}; it needs tokenizer.json, or vocab.json and merges.txt"
        )
    return tokenizer


def device() -> torch.device:
    """Where models run: the accelerator (CUDA, MPS, ...) if there is one, else the CPU."""
    return torch.accelerator.current_accelerator(check_available=True) or torch.device("cpu")


def take_device(number: int) -> None:
    """Let this process, the `number`-th of several, work on an accelerator of its own where there
    are as many; else they take turns. Without it all work on the first."""
    if (count := torch.accelerator.device_count()) > 1:
        torch.accelerator.set_device_index(number % count)


def fingerprint(model: torch.nn.Module) -> str:
    """Hex sha256 over the names and bytes of all parameters: which weights, wherever stored."""
    digest = hashlib.sha256()
    for name, parameter in sorted(model.named_parameters()):
        digest.update(name.encode())
        digest.update(parameter.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()


def sizes_of(shape) -> dict[str, int]:
    """What tells the size of a backbone, by the names that records of runs have."""
    names = {"n_layer": "num_hidden_layers", "n_embd": "hidden_size"}
    names |= {"n_head": "num_attention_heads", "vocab_size": "vocab_size"}
    return {short: getattr(shape, name) for short, name in names.items()}


def describe(model: transformers.PreTrainedModel, path: str, directory: Path) -> dict:
    """What a run records of its backbone. `stand_in`: the label that pretraining left, or None."""
    config = model.config
    stand_in = getattr(config, "stand_in", None)
    return {
        "path": path,
        "commit": directory.name if not Path(path).is_dir() else None,  # the hub's
        "file_sha256": file_sha256(directory / "model.safetensors"),
        "sha256": fingerprint(model),
        "stand_in": stand_in,
        "model_type": config.model_type,
        "shape": sizes_of(config),
    }
