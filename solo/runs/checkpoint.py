"""What a run keeps: the trained parameters, and nothing of the backbone (full fine-tuning aside).

`adapter.safetensors` holds exactly what is trained, `adapter_config.json` how to build the rest
again: method, options, seed, checksums of the backbone and of the drawn tensors. A training state
is one safetensors file (parameters, optimizer moments, random state) with its step in the header,
replaced atomically. Nothing is unpickled.
"""

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from solo.adapters import make_config
from solo.adapters.base import Method
from solo.files import atomic, file_sha256, read_json, write_json

WEIGHTS, CONFIG, STATE = "adapter.safetensors", "adapter_config.json", "training_state.safetensors"


def save_adapter(
    directory: Path, name: str, config, attached: Method, seed: int, backbone_sha256: str
) -> None:
    """Write the two adapter files; the JSON comes last and holds the weights' checksum."""
    directory = Path(directory)
    _save(directory / WEIGHTS, dict(attached.parameters), {"format": "pt"})
    write_json(
        directory / CONFIG,
        {
            "method": name,
            "options": asdict(config),
            "seed": seed,
            "n_params": attached.n_trained,
            "events": attached.events,
            "backbone_sha256": backbone_sha256,
            "fixed_sha256": _tensors_sha256(attached.fixed),
            "weights_sha256": file_sha256(directory / WEIGHTS),
        },
    )


def load_adapter(directory: Path, model, backbone_sha256: str) -> Method:
    """Attach the adapter saved in `directory` to `model`, strictly.

    Raises ValueError if it was trained on another backbone, if its weights are not those that were
    saved, if the drawn tensors (masks, frozen matrices) come out otherwise on this machine, or for
    the first missing, unexpected or misshapen tensor. The model is left as it was.
    """
    directory = Path(directory)
    saved = read_json(directory / CONFIG)
    if saved["backbone_sha256"] != backbone_sha256:
        raise ValueError(
            f"{directory} was trained on another backbone (sha256 {saved['backbone_sha256'][:12]}; "
            f"this one has {backbone_sha256[:12]}); set model.path to the one it was trained on"
        )
    if not (directory / WEIGHTS).is_file():
        raise FileNotFoundError(f"{directory / WEIGHTS} is missing; train this run again")
    if file_sha256(directory / WEIGHTS) != saved["weights_sha256"]:
        raise ValueError(f"{directory / WEIGHTS} is damaged or not this run's; train it again")
    method, config = make_config({"name": saved["method"], **saved["options"]})
    attached = method.attach(model, config, saved["seed"])
    try:
        if _tensors_sha256(attached.fixed) != saved["fixed_sha256"]:
            raise ValueError(
                f"the masks or frozen matrices of {directory} cannot be drawn again with this "
                "version of torch; use the version in its environment.json"
            )
        attached.replay(saved.get("events", []))
        copy_strictly(load_file(directory / WEIGHTS), attached.parameters, directory / WEIGHTS)
    except ValueError:
        attached.detach()
        raise
    return attached


def copy_strictly(tensors: dict, parameters: dict, source: Path) -> None:
    """Copy `tensors` into `parameters`; ValueError unless names and shapes are the same."""
    for problem, names in (
        ("lacks", set(parameters) - set(tensors)),
        ("has an unexpected", set(tensors) - set(parameters)),
    ):
        if names:
            raise ValueError(f"{source} {problem} tensor {min(names)!r} ({len(names)} in all)")
    for name, parameter in parameters.items():
        if tensors[name].shape != parameter.shape:
            raise ValueError(
                f"{source}: tensor {name!r} has shape {tuple(tensors[name].shape)}, "
                f"the adapter {tuple(parameter.shape)}"
            )
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def random_state() -> dict[str, torch.Tensor]:
    """The state of this process's random generators, (n,) bytes each."""
    state = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def save_state(
    path: Path,
    attached: Method,
    optimizer: torch.optim.Optimizer,
    counters: dict,
    random: dict[str, torch.Tensor],
) -> None:
    """Write everything that the rest of a training run depends on, atomically, into one file.

    `counters` is a JSON-like dict (step, identity of the run, ...) and goes into the header;
    `random` holds what random_state() gives, a row for each process: (processes, n). Raises
    FloatingPointError, leaving the last good state, if a parameter is not finite.
    """
    tensors = {}
    for name, parameter in attached.parameters.items():
        if not torch.isfinite(parameter).all():
            raise FloatingPointError(
                f"{name} is not finite after step {counters['step']}; the state before is kept"
            )
        tensors[f"parameter/{name}"] = parameter
        for key, value in optimizer.state.get(parameter, {}).items():
            tensors[f"optimizer/{key}/{name}"] = value
    tensors |= {f"schedule/{name}": tensor for name, tensor in attached.state.items()}
    tensors |= {f"random/{kind}": rows for kind, rows in random.items()}
    counters = counters | {"events": attached.events}
    _save(path, tensors, {"counters": json.dumps(counters)})


def read_counters(path: Path) -> dict:
    """The counters of a training state, without reading its tensors."""
    with safe_open(path, framework="pt") as file:
        return json.loads(file.metadata()["counters"])


def load_state(
    path: Path, attached: Method, optimizer: torch.optim.Optimizer, process: int = 0
) -> None:
    """Put a saved state back: what a schedule has done, parameters, optimizer moments, and this
    process's random state."""
    tensors = load_file(path)
    attached.replay(read_counters(path)["events"])
    for prefix, into in (("parameter/", attached.parameters), ("schedule/", attached.state)):
        saved = {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
        copy_strictly(saved, into, path)
    for key, value in tensors.items():
        if key.startswith("optimizer/"):
            _, slot, name = key.split("/", 2)
            parameter = attached.parameters[name]
            value = value if slot == "step" else value.to(parameter.device)
            optimizer.state[parameter][slot] = value
    torch.set_rng_state(tensors["random/cpu"][process].clone())
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"][process].clone())


def _save(path: Path, tensors: dict, metadata: dict[str, str]) -> None:
    tensors = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}
    with atomic(path) as temporary:
        save_file(tensors, temporary, metadata)


def _tensors_sha256(tensors: dict[str, torch.Tensor]) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
