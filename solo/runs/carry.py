"""To a machine that gets the checkout alone, and back: data packed to take along, results to keep.

Such a machine (a lent GPU) takes and returns little: everything is compressed, and what comes back
is sorted by what is worth keeping.
"""

import lzma
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from itertools import chain
from pathlib import Path

from solo.files import atomic
from solo.run_files import WEIGHTS

DATA = "data"  # the folder beside a study's file where the data lies that it carries
BUNDLE, MOST = 15 * 2**20, 4  # bytes of a .tar file; how many of them


def pack(copies: Mapping[Path, Path]) -> None:
    """Copy {target: source}; a target with another suffix than its source is compressed."""
    for target, source in copies.items():
        opener = lzma.open if target.suffix != source.suffix else open
        with atomic(target) as temporary, opener(temporary, "wb") as file:
            file.write(source.read_bytes())


def unpack(folder: Path) -> None:
    """Write the compressed files below `folder` uncompressed beside themselves."""
    for packed in sorted(folder.rglob("*.xz")):
        content, target = lzma.decompress(packed.read_bytes()), packed.with_suffix("")
        if not target.exists() or target.read_bytes() != content:  # not of an earlier packing
            with atomic(target) as temporary:
                temporary.write_bytes(content)


def bundle(home: Path, out: Path) -> list[str]:
    """Tar what is worth keeping of `home` into `out`; a line for each file written.

    All but weights first, then adapters; weights of full fine-tuning, and of a sweep, stay here.
    """
    everything = [path for path in sorted(home.rglob("*")) if path.is_file()]
    everything = [path for path in everything if path.name[0] != "."]
    kept = [path for path in everything if path.suffix != ".safetensors"]
    kept += [
        path
        for path in everything
        if path.name == WEIGHTS
        and path.parent.parent.name in ("runs", "neighbours")
        and not path.parent.name.startswith("full-")
    ]
    parts: list[list[Path]] = []
    size = BUNDLE
    for path, length in _sizes(kept):
        room = 2048 + -(-length // 512) * 512  # headers of a long name, content
        if size + room > BUNDLE:
            parts.append([])
            size = 10240  # the end of a .tar
        parts[-1].append(path)
        size += room
    lines = []
    for number, paths in enumerate(parts[:MOST]):
        target = out / f"{home.name}_{number}.tar"
        with atomic(target) as temporary, tarfile.open(temporary, "w") as tar:
            for path in paths:
                with suppress(FileNotFoundError):  # as in _sizes
                    tar.add(path)
        lines.append(f"{target}: {len(paths)} files, {target.stat().st_size / 2**20:.1f} MiB")
    left = sum(path.name == WEIGHTS for path in everything)
    left -= sum(path.name == WEIGHTS for path in chain.from_iterable(parts[:MOST]))
    files = sum(path.name != WEIGHTS for path in chain.from_iterable(parts[MOST:]))
    told = f"{left} runs' weights left out" if left else "no weights left out"
    return [*lines, told + (f", and {files} other files" if files else "")]


def _sizes(paths: Iterable[Path]) -> Iterator[tuple[Path, int]]:
    """(path, its bytes) of those that are still there: runs go on meanwhile, and what a decoding
    has found so far goes when it ends."""
    for path in paths:
        with suppress(FileNotFoundError):
            yield path, path.stat().st_size
