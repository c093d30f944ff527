"""A run's log, which grows line by line and survives a kill."""

import json
from collections.abc import Callable
from pathlib import Path

from solo import files


class Log:
    """A JSON-lines log: appended line by line, cut back when a run goes on from a state.

    Of several processes only the main one (`main`) writes it. `listener` hears of every entry.
    """

    def __init__(self, path: Path, main: bool = True):
        self.path, self.main = path, main
        self.listener: Callable[[dict], None] = lambda entry: None

    def keep_until(self, step: int) -> None:
        """Drop what was written after `step` (everything at step 0) and a line cut short."""
        if not self.main:
            return
        lines = self.path.read_bytes().splitlines() if self.path.exists() else []
        kept = []
        for line in lines:
            try:
                if json.loads(line)["step"] <= step and step > 0:
                    kept.append(line + b"\n")
            except (ValueError, TypeError, LookupError, RecursionError):
                break  # the line that a kill cut short, or something else than an entry
        with files.atomic(self.path) as temporary:
            temporary.write_bytes(b"".join(kept))

    def write(self, entry: dict) -> None:
        """Append one entry."""
        if self.main:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")
            self.listener(entry)

    def sync(self) -> None:
        """Wait until the disk holds it; a state must not be ahead of its log."""
        if self.main:
            files.sync(self.path)
