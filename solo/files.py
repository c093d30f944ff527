"""Files: written atomically, read with one-line errors, known by their content."""

import functools
import hashlib
import json
import os
import tempfile
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


@contextmanager
def atomic(path: Path):
    """Yield a temporary path beside `path`; it takes the name `path` only if the block succeeds."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        yield Path(name)
        os.chmod(name, 0o644)  # mkstemp makes it private
        os.replace(name, path)
    finally:
        Path(name).unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically, with plain line feeds on every platform: checksums depend on it."""
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path):
    """Read JSON; a missing or broken file is a one-line error that names it."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; run the stage that writes it") from error
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and run again") from error


def read_lines(path: Path) -> list[dict]:
    """The entries of a JSON-lines log; a missing or broken file is a one-line error."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing; run the stage that writes it")
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); train this run again") from error


class Log:
    """A JSON-lines log: appended line by line, cut back when a run goes on from a state.

    Of several processes only the main one (`main`) writes it.
    """

    def __init__(self, path: Path, main: bool = True):
        self.path, self.main = path, main

    def keep_until(self, step: int) -> None:
        """Drop what was written after `step` (everything at step 0) and a line cut short."""
        if not self.main:
            return
        lines = self.path.read_text("utf-8").splitlines() if self.path.exists() else []
        kept = []
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                break  # the line that a kill cut short
            if entry["step"] <= step and step > 0:
                kept.append(line + "\n")
        write_text(self.path, "".join(kept))

    def write(self, entry: dict) -> None:
        """Append one entry."""
        if self.main:
            with open(self.path, "a", encoding="utf-8") as file:
                file.write(json.dumps(entry) + "\n")


def to_yaml(value) -> str:
    """`value` as YAML, keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path):
    """Read YAML; a missing or broken file is a one-line error that names it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} not found; is this the directory of a run?")
    try:
        text = Path(path).read_text(encoding="utf-8")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text)):
            raise ValueError("it has aliases, which a run never writes")  # a line may be gigabytes
        return yaml.safe_load(text)
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ValueError(f"{path} is damaged ({' '.join(str(error).split())})") from error


def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes, read once as long as nobody writes the file."""
    status = os.stat(path)
    return _sha256_of(str(path), status.st_ino, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256_of(path: str, *status: int) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def config_hash(config) -> str:
    """Eight hex digits that identify a JSON-like configuration, whatever the order of its keys."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
