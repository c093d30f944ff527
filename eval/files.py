"""Atomic writing: a reader sees the old file or the new one, never half of it."""

import fcntl
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it that name.

    The temporary file has the same suffix, by which some writers choose the format. It is locked by
    its writer: a second writer of `path` waits, and what a kill left behind is written over. `path`
    may be a link to the file that is meant. Raises ValueError if there is something else than a
    regular file.
    """
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file, and is not replaced; name another output")
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".tmp.{path.name}")
    while True:
        with open(temporary, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not _is_at(file, temporary):
                continue  # its last writer has given it its name, or given up
            try:
                os.truncate(temporary, 0)
                write(temporary)
                return os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def check_output(path: Path, inputs: Iterable[Path], ours: Callable[[str], bool], force: bool):
    """Raise ValueError if `path` is no regular file, one of `inputs` or, unless `force`, a file
    whose text is not `ours`."""
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is no regular file, and is not replaced; name another output")
    if any(given.exists() and path.exists() and given.samefile(path) for given in inputs):
        raise ValueError(f"{path} is an input of this command; name another output")
    if path.exists() and not force and not ours(path.read_text("utf-8", errors="replace")):
        raise ValueError(
            f"{path} is there already, and this program did not write it; name another output, or "
            "replace it with --force"
        )


def replace_own(path: Path, text: str) -> None:
    """replace_text, but ValueError for a file that does not begin as this program's do."""
    start = re.split("[:,\n]", text)[0]
    if path.is_file() and not path.read_text("utf-8", errors="replace").startswith(start):
        raise ValueError(
            f"{path} is not what this program wrote, and is not replaced; move it away, or choose "
            "another --out"
        )
    replace_text(path, text)


def replace_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
