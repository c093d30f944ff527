"""Atomic writing: a reader sees the old file or the new one, never half of it."""

import fcntl
import os
from collections.abc import Callable
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


def replace_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
