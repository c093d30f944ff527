"""A run's record: where a number comes from, written beside it.

`environment.json` in a run directory holds one entry per finished stage (train, decode,
evaluate), each with the commit, the package versions, the hardware, the checksums of what it
read, and how long it took. Tables read it; nothing is inferred from file names.
"""

import importlib.metadata
import platform
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import torch
from filelock import FileLock, Timeout

from solo.errors import damaged
from solo.files import IN_CHECKOUT, ROOT, read_json, sync, write_json
from solo.run_files import ENVIRONMENT

PACKAGES = ("torch", "transformers", "peft", "accelerate", "safetensors", "pycocoevalcap")


def environment() -> dict:
    """Commit, package versions and hardware of this process, as a JSON-like dict."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    versions["torch"] = torch.__version__  # names its build, as PyPI's metadata do not
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    hardware = {"cpu": _cpu_name(), "threads": torch.get_num_threads(), "gpu": gpu}
    return {"commit": git("rev-parse", "HEAD"), "dirty": _dirty(), "versions": versions} | {
        "hardware": hardware
    }


def stage_record(run_dir: Path, stage: str) -> dict | None:
    """What `environment.json` says of a stage, or None if that stage has not finished."""
    path = Path(run_dir) / ENVIRONMENT
    entry = read_json(path).get(stage) if path.exists() else None
    if entry is None or isinstance(entry, dict):
        return entry
    raise damaged(path, f"{stage} is {entry!r}")


@contextmanager
def stage(run_dir: Path, name: str):
    """Time a stage and write its entry into `environment.json` when, and only when, it succeeds.

    Yields a dict to which the stage adds what it wants recorded (checksums, labels, counts). What
    it wrote is on the disk before the entry is: a power cut leaves no entry without its files.
    """
    path = Path(run_dir) / ENVIRONMENT
    entry = {"started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
    start = time.monotonic()
    yield entry
    entry["seconds"] = round(time.monotonic() - start, 1)
    stages = read_json(path) if path.exists() else {}
    for written in filter(Path.is_file, Path(run_dir).iterdir()):
        sync(written)
    write_json(path, stages | {name: entry | environment()})
    for place in (path, path.parent, path.parent.parent):
        sync(place)


@contextmanager
def lock(directory: Path, name: str | None = None, wait: bool = False):
    """Hold a directory; if another process holds it, RuntimeError at once, or `wait`.

    The operating system keeps the lock, on a file beside the directory, and drops it when the
    process ends, however it ends. The file is called after the directory, or by `name`, where
    directories of several names must exclude one another. Whoever holds it may take it again within
    the same process; yields whether it is the first time. Nothing in the directory is touched.
    """
    directory = Path(directory).resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(
        directory.parent / f".{name or directory.name}.lock", timeout=0, is_singleton=True
    )
    try:
        held.acquire(timeout=-1 if wait else 0)
    except Timeout:
        raise RuntimeError(
            f"{directory} is in use by another process; wait until that one ends, then run this "
            "again: what is done by then is not repeated"
        ) from None
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(directory.parent)) from error
    try:
        yield held.lock_counter == 1
    finally:
        held.release()


def git(*args: str) -> str | None:
    """What git says of this checkout; None outside one, without git, or where it refuses."""
    if not IN_CHECKOUT:  # another project's repository may lie around an installed package
        return None
    try:
        result = subprocess.run(["git", "-C", str(ROOT), *args], capture_output=True, text=True)
    except OSError:  # a machine without git
        return None
    return result.stdout.strip() if result.returncode == 0 else None


def _dirty() -> bool | None:
    status = git("status", "--porcelain", "--untracked-files=no")
    return None if status is None else bool(status)


def _cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        names = (line.partition(":")[2] for line in lines if line.startswith("model name"))
        return next(names).strip()
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()
