"""Which run is it? What decides a run's numbers, and the short name that stands for it.

The name is a hash of what differs from a table of defaults (defaults.json). The table is written
down once for each version and does not follow the code: a new option enters it with the value that
all earlier runs had without knowing it, so their names stay; and a default that changes in the code
changes the names of the runs that get the new value, and of no others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import Any

from solo.backbones.loading import REMEDY
from solo.datasets import kind_of, source_of
from solo.datasets.download import check_file
from solo.files import config_hash, file_sha256, flat, read_json
from solo.options import check
from solo.runs.config import RunConfig, data_file

VERSION = 1
DEFAULTS = Path(__file__).parent / "defaults.json"
# Options of the recipe and of the decoding that change nothing but speed and files.
NO_EFFECT = ("log_every", "save_every", "valid_batch_size", "compile", "tracker")
NO_EFFECT_ON_OUTPUTS = ("batch_size", "output")
# Entries of a backbone's config.json that say nothing of what it computes.
LABELS = ("_name_or_path", "architectures", "dtype", "stand_in", "torch_dtype",
          "transformers_version")  # fmt: skip
UNKNOWN = object()
GPT2_END = "<|endoftext|>"  # what a tokenizer of GPT-2 ends a text with, named or not


def training_identity(config: RunConfig, planned: bool = False) -> dict[str, Any]:
    """What decides the trained weights, JSON-like.

    With `planned`, a data file that is not there is taken to have the checksum that the
    configuration names. Raises ValueError for a file that is not what the configuration says,
    FileNotFoundError for one that is missing.
    """
    recipe = {k: v for k, v in asdict(config.train).items() if k not in NO_EFFECT}
    return {
        "model": model_identity(config.model.path, config.model.revision),
        "data": data_identity(config, "train", planned) | data_identity(config, "valid", planned),
        "adapter": {"name": config.method} | asdict(resolved(config.adapter)),
        "train": recipe | {"betas": list(recipe["betas"])},
        "seed": config.seed,
    }


def decoding_identity(config: RunConfig, planned: bool = False) -> dict[str, Any]:
    """What decides the outputs of a trained run, JSON-like. Raises as training_identity does."""
    options = {k: v for k, v in asdict(config.decode).items() if k not in NO_EFFECT_ON_OUTPUTS}
    return {"decode": options} | data_identity(config, "test", planned)


def resolved(adapter: Any) -> Any:
    """A method's options with everything filled in that a preset of them leaves open."""
    return adapter.resolved() if hasattr(adapter, "resolved") else adapter


def data_identity(config: RunConfig, split: str, planned: bool) -> dict[str, str]:
    """A split's file by content, and as which data set it is read: that decides its rows, too."""
    kind = kind_of(data_file(config, split), config.data.name)
    return {split: data_sha256(config, split, planned), f"{split}_kind": kind}


def data_sha256(config: RunConfig, split: str, planned: bool) -> str:
    """The checksum of a split's file, which must be the expected one where one is named."""
    path, expected = data_file(config, split), config.data.sha256.get(split)
    if planned and expected and not path.exists():
        return expected
    return check_file(path, expected, source_of(path, config.data.name).remedy)


def model_identity(path: str, revision: str | None) -> dict[str, Any]:
    """Weights, config and tokenizer of a local backbone by content; a hub's by name and commit."""
    directory = Path(path)
    if not directory.is_dir():
        return {"path": path, "revision": revision}
    weights = directory / "model.safetensors"
    check(weights.is_file(), f"{path} has no model.safetensors; {REMEDY}")
    shape, end = read_json(directory / "config.json"), _end_token(directory)
    adds, tokens = _added_by_tokenizer(directory), _named_tokens(directory, end)
    return (
        {
            "weights": file_sha256(weights),
            "config": config_hash({k: v for k, v in shape.items() if k not in LABELS}),
            "tokenizer": config_hash([file_sha256(file) for file in _tokenizer_files(directory)]),
        }
        | ({} if end == GPT2_END else {"end_token": end})
        | ({"tokenizer_adds": adds} if adds else {})
        | ({"tokenizer_tokens": tokens} if tokens else {})
    )


def check_same_model(trained: Mapping[str, Any], path: str, revision: str | None) -> None:
    """Raise ValueError for a local backbone with the weights file of the trained run's, and another
    config or tokenizer. trained: of its identity, the model. Other weights are compared when they
    are loaded."""
    found = model_identity(path, revision)
    if "weights" in trained and found.get("weights") == trained["weights"]:
        check(
            found == trained,
            f"{path} has the weights of the backbone that this run was trained on, but another "
            "config.json or tokenizer; set model.path to the one it was trained on",
        )


def _named_tokens(directory: Path, end: str) -> list[str]:
    """Tokens beside the end of text that only the files beside a tokenizer's own name: they are
    taken out of a text before anything else."""
    own, known = directory / "tokenizer.json", {GPT2_END, end}
    if own.is_file():
        known |= {token["content"] for token in read_json(own).get("added_tokens", [])}
    named = set()
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        options = read_json(directory / name) if (directory / name).is_file() else {}
        for key, value in options.items():
            if key.endswith(("_token", "_special_tokens")) or key == "added_tokens_decoder":
                named.update(_texts(value))
    if (directory / "added_tokens.json").is_file():
        named.update(read_json(directory / "added_tokens.json"))  # {token: id}
    return sorted(named - known)


def _texts(value: Any) -> Iterator[str]:
    """The tokens in a value of a tokenizer's config: texts, or mappings whose content is one."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for each in [value["content"]] if "content" in value else value.values():
            yield from _texts(each)
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)


def _tokenizer_files(directory: Path) -> list[Path]:
    """The one file that holds a whole tokenizer or, in older checkpoints, the two that do."""
    for names in (["tokenizer.json"], ["vocab.json", "merges.txt"]):
        if all((directory / name).is_file() for name in names):
            return [directory / name for name in names]
    raise ValueError(
        f"{directory} has no tokenizer; it needs tokenizer.json, or vocab.json and merges.txt"
    )


def _added_by_tokenizer(directory: Path) -> list[str]:
    """What its config tells it, beside its own file, to put before every text; or, where that file
    would add something, not to: transformers drops it as soon as the config says anything."""
    file, own = directory / "tokenizer_config.json", directory / "tokenizer.json"
    options = read_json(file) if file.is_file() else {}
    adds = [key for key in ("add_bos_token", "add_prefix_space") if options.get(key) is True]
    told = {"add_bos_token", "add_eos_token"} & options.keys()
    if told and not options.get("add_bos_token") and own.is_file():
        adds += ["nothing"] * ('"TemplateProcessing"' in own.read_text(encoding="utf-8"))
    return adds


def _end_token(directory: Path) -> str:
    """The end of text, which older checkpoints name beside the tokenizer's own file."""
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        file = directory / name
        token = read_json(file).get("eos_token") if file.is_file() else None
        if token:
            return token["content"] if isinstance(token, dict) else token
    return GPT2_END


def short_name(identity: Mapping[str, Any]) -> str:
    """Eight hex digits for an identity: a hash of its differences from the table of defaults."""
    return config_hash({"version": VERSION} | _differences(identity))


def same(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two identities are one; of some hundred thousand runs two may share a short name."""
    return _differences(one) == _differences(other)


def _differences(identity: Mapping[str, Any]) -> dict[str, Any]:
    method = identity.get("adapter", {}).get("name")
    defaults = _flat(default_values(method))
    return {k: v for k, v in _flat(identity).items() if defaults.get(k, UNKNOWN) != v}


@cache
def _table() -> dict[str, Any]:
    table = read_json(DEFAULTS)
    check(table["version"] == VERSION, f"{DEFAULTS.name} has version {table['version']}")
    return table


def default_values(method: str | None) -> dict[str, Any]:
    """The table's part for a method: {"train": ..., "adapter": ..., and so on}."""
    table = _table()
    return table | {"adapter": table["adapter"].get(method, {})}


def has_defaults(method: str) -> bool:
    """Whether the table knows a method. The names of its runs are others as soon as it does."""
    return method in _table()["adapter"]


def _flat(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: _plain(value) for key, value in flat(values).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 1 and 1.0 are one rate
    return list(value) if isinstance(value, tuple) else value
