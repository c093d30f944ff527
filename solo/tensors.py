"""Tensors in files: written atomically, copied strictly, never unpickled."""

import hashlib
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
    check_names_and_shapes(tensors, parameters, source)
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[name])


def check_names_and_shapes(
    tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], source: Path | str
) -> None:
    """Raise ValueError, naming the `source` of `tensors`, unless they are just those expected."""
    for problem, names in (
        ("lacks", set(expected) - set(tensors)),
        ("has an unexpected", set(tensors) - set(expected)),
    ):
        if names:
            raise ValueError(f"{source} {problem} tensor {min(names)!r} ({len(names)} in all)")
    for name, tensor in expected.items():
        if tensors[name].shape != tensor.shape:
            raise ValueError(
                f"{source}: tensor {name!r} has shape {tuple(tensors[name].shape)}, "
                f"the adapter {tuple(tensor.shape)}"
            )


def tensors_sha256(tensors: Mapping[str, Tensor]) -> str:
    """Hex sha256 of names, shapes, types and values, whatever the order."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(torch.uint8).numpy())
    return digest.hexdigest()
