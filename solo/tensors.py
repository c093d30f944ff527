"""Tensors in files: written atomically, copied strictly, never unpickled."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from solo.files import atomic, sync


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file atomically, so that it outlives a power cut too. OSError, with the
    file's name, where the disk is full."""
    on_cpu = {name: t.detach().contiguous().cpu() for name, t in tensors.items()}
    with atomic(path) as temporary:
        try:
            save_file(on_cpu, temporary, metadata)
        except SafetensorError as error:  # no kind of OSError
            raise OSError(f"{path} cannot be written ({error})") from error
        sync(temporary)


def copy_strictly(
    tensors: Mapping[str, Tensor], parameters: Mapping[str, Tensor], source: Path
) -> None:
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
