"""What a run keeps: the trained parameters, and nothing of the backbone (full fine-tuning aside).

`adapter.safetensors` holds exactly what is trained, `adapter.json` how to build the rest again:
method, options, seed, checksums of the backbone and of the drawn tensors.
"""

from dataclasses import asdict
from pathlib import Path

from safetensors.torch import load_file

from solo.adapters import make_config
from solo.adapters.base import OTHER_DRAWS, Method
from solo.errors import damaged
from solo.files import file_sha256, read_json, write_json
from solo.run_files import ADAPTER, WEIGHTS
from solo.runs import record
from solo.tensors import copy_strictly, save_tensors, tensors_sha256

KEYS = ("method", "options", "seed", "backbone_sha256", "fixed_sha256", "weights_sha256")


def save_adapter(
    directory: str | Path, name: str, config, attached: Method, seed: int, backbone_sha256: str
) -> None:
    """Write the two adapter files; the JSON comes last and holds the weights' checksum.

    name, config, seed: what `attached` was made with. backbone_sha256: `fingerprint` of the bare
    model. Raises OSError where they cannot be written.
    """
    directory = Path(directory)
    save_tensors(directory / WEIGHTS, dict(attached.parameters), {"format": "pt"})
    write_json(
        directory / ADAPTER,
        {
            "method": name,
            "options": asdict(config),
            "seed": seed,
            "n_params": attached.n_trained,
            "events": attached.events,
            "backbone_sha256": backbone_sha256,
            "fixed_sha256": tensors_sha256(attached.fixed),
            "weights_sha256": file_sha256(directory / WEIGHTS),
        },
    )


def trained(directory: Path) -> dict | None:
    """The record of a finished training; None where it has not finished or its adapter is gone."""
    entry = record.stage_record(directory, "train")
    return entry if all((Path(directory) / name).is_file() for name in (WEIGHTS, ADAPTER)) else None


def read_saved(directory: Path) -> dict:
    """How to build a run's adapter again. Raises ValueError for a damaged file."""
    path = Path(directory) / ADAPTER
    saved = read_json(path, KEYS)
    if not isinstance(saved["options"], dict):
        raise damaged(path, f"options is {saved['options']!r}")
    if type(saved["seed"]) is not int:
        raise damaged(path, f"seed is {saved['seed']!r}")
    return saved


def load_adapter(directory: str | Path, model, backbone_sha256: str) -> Method:
    """Attach the adapter saved in `directory` to `model`, strictly.

    Raises ValueError if it was trained on another backbone, if its weights are not those that were
    saved, if the drawn tensors (masks, frozen matrices) come out otherwise on this machine, or for
    the first missing, unexpected or misshapen tensor; FileNotFoundError without the files. The
    model is left as it was.
    """
    directory = Path(directory)
    saved = read_saved(directory)
    if saved["backbone_sha256"] != backbone_sha256:
        raise ValueError(
            f"{directory} was trained on another backbone (sha256 {saved['backbone_sha256'][:12]}; "
            f"this one has {backbone_sha256[:12]}); set model.path to the one it was trained on"
        )
    if not (directory / WEIGHTS).is_file():
        raise FileNotFoundError(f"{directory / WEIGHTS} is missing; train this run again")
    if file_sha256(directory / WEIGHTS) != saved["weights_sha256"]:
        raise ValueError(
            f"{directory / WEIGHTS} is damaged or not this run's; move it away, and train it again"
        )
    method, config = make_config({"name": saved["method"], **saved["options"]})
    attached = method.attach(model, config, saved["seed"])
    try:
        if tensors_sha256(attached.fixed) != saved["fixed_sha256"]:
            raise ValueError(f"{directory}: {OTHER_DRAWS}")
        _replay(attached, saved.get("events", []), directory / ADAPTER)
        copy_strictly(load_file(directory / WEIGHTS), attached.parameters, directory / WEIGHTS)
    except ValueError:
        attached.detach()
        raise
    return attached


def _replay(attached: Method, events, source: Path) -> None:
    try:
        attached.replay(events)
    except (TypeError, LookupError, AttributeError, RuntimeError) as error:
        raise damaged(source, f"events: {error}") from error
