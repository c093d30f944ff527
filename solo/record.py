"""A run's record: where a number comes from, written beside it.

`environment.json` in a run directory holds one entry per finished stage (train, decode,
evaluate), each with the commit, the package versions, the hardware, the checksums of what it
read, and how long it took. Tables read it; nothing is inferred from file names.
"""

import functools
import hashlib
import importlib.metadata
import json
import os
import platform
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import torch
import yaml
from filelock import FileLock, Timeout

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("torch", "transformers", "datasets", "accelerate", "safetensors", "pycocoevalcap")


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
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not valid JSON ({error}); delete it and run again") from error


def read_lines(path: Path) -> list[dict]:
    """The entries of a JSON-lines log; a missing or broken file is a one-line error."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing; run the stage that writes it")
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is damaged ({error}); train this run again") from error


def to_yaml(value) -> str:
    """`value` as YAML, keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def read_yaml(path: Path):
    """Read YAML; a missing file is a one-line error that names it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} not found; is this the directory of a run?")
    return yaml.safe_load(Path(path).read_text(encoding="utf-8"))


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


def environment() -> dict:
    """Commit, package versions and hardware of this process, as a JSON-like dict."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    hardware = {"cpu": _cpu_name(), "threads": torch.get_num_threads(), "gpu": gpu}
    return {"commit": _git("rev-parse", "HEAD"), "dirty": _dirty(), "versions": versions} | {
        "hardware": hardware
    }


def stage_record(run_dir: Path, stage: str) -> dict | None:
    """What `environment.json` says of a stage, or None if that stage has not finished."""
    path = Path(run_dir) / "environment.json"
    return read_json(path).get(stage) if path.exists() else None


@contextmanager
def stage(run_dir: Path, name: str):
    """Time a stage and write its entry into `environment.json` when, and only when, it succeeds.

    Yields a dict to which the stage adds what it wants recorded (checksums, labels, counts).
    """
    path = Path(run_dir) / "environment.json"
    entry = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    start = time.monotonic()
    yield entry
    entry["seconds"] = round(time.monotonic() - start, 1)
    stages = read_json(path) if path.exists() else {}
    write_json(path, stages | {name: entry | environment()})


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


@contextmanager
def lock(directory: Path):
    """Hold a run directory; RuntimeError at once if another process holds it.

    The operating system keeps the lock, on a file beside the directory, and drops it when the
    process ends, however it ends. Whoever holds it may take it again within the same process.
    """
    directory = Path(directory).resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(directory.parent / f".{directory.name}.lock", timeout=0, is_singleton=True)
    try:
        held.acquire()
    except Timeout:
        raise RuntimeError(
            f"{directory} is in use by another process; wait until that one ends, then run this "
            "again: what is done by then is not repeated"
        ) from None
    try:
        yield
    finally:
        held.release()


def claim_row(run_dir: Path, row: str) -> None:
    """Note that a run fills a table row; one run may fill rows of several tables."""
    path = Path(run_dir) / "rows.json"
    rows = read_json(path) if path.exists() else []
    if row not in rows:
        write_json(path, [*rows, row])


def _git(*args: str) -> str | None:
    try:
        result = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True)
    except OSError:  # a machine without git
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _dirty() -> bool | None:
    status = _git("status", "--porcelain", "--untracked-files=no")
    return None if status is None else bool(status)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
        return next(names).strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
