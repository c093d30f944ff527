"""Atomic writing: a reader sees the old file or the new one, never half of it."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path


def replace(path: Path, write: Callable[[Path], object]) -> None:
    """Let `write` fill a temporary file beside `path`, then give it that name.

    The temporary file has the same suffix, by which some writers choose the format.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=path.suffix)
    os.close(handle)
    try:
        write(Path(temporary))
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # mkstemp gives 0600
        os.replace(temporary, path)
    finally:
        Path(temporary).unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8."""
    replace(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))
