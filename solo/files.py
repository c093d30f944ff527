"""Files: written atomically, read with one-line errors, known by their content.

The scorer (eval/) shares this file with the rest; PyYAML is all it needs.
"""

import fcntl
import functools
import hashlib
import json
import os
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import yaml

from solo.errors import damaged

ROOT = Path(__file__).resolve().parent.parent
SETTLED_NS = 2 * 10**9  # the coarsest times of a file, of FAT
IN_CHECKOUT = (ROOT / "configs").is_dir()  # else the package is installed, and ROOT others' place
_CACHE = ROOT / "data/cache" if IN_CHECKOUT else Path("~/.cache/solo-connection").expanduser()
OUTPUTS = _CACHE / "outputs.txt"  # checksums of what went where the user said
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # the former is ten times as fast
LONGEST, DEEPEST = 10**5, 50  # of YAML: characters, levels; a run's has some thousand, and four
TEMPORARY = ".tmp"  # so begin the names of files that are not complete
LEFT = re.compile(r"\.tmp(\..+|[A-Za-z0-9]{6})")  # the second form is safetensors'


@contextmanager
def atomic(path: Path):
    """Yield a temporary path beside `path`; it takes the name `path` only if the block succeeds.

    The temporary file is locked by its writer: a second writer of `path` waits, unless the block
    puts another file in its place (safetensors does, under a run's own lock), and what a kill left
    behind is written over. `path` may be a link to the file that is meant. Raises ValueError
    if there is something else than a regular file; an OSError names `path`.
    """
    path = Path(os.path.realpath(path))
    check_regular(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}.{path.name}")
    try:
        with alone_with(temporary):
            try:
                os.truncate(temporary, 0)
                mode = temporary.stat().st_mode
                yield temporary
                temporary.chmod(mode)  # safetensors leaves files that nobody else may read
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise
    except OSError as error:
        if error.errno and error.filename in (None, temporary, str(temporary)):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise


@contextmanager
def alone_with(path: Path) -> Iterator[None]:
    """Hold an incomplete file, made empty if there is none, once no other process holds it."""
    while True:
        with open(path, "ab") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, path):  # else its last writer has given it its name, or given up
                yield
                return


def _is_at(file, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), os.stat(path))
    except FileNotFoundError:
        return False


def clean(directory: Path) -> None:
    """Remove the files that killed writers left in `directory`, not below it.

    The caller holds it, and knows that it is this program's: a user's folder may have such names.
    """
    for path in Path(directory).iterdir():
        if LEFT.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Wait until the disk holds a file, or the names in a directory, whatever the power does."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def check_regular(path: Path) -> None:
    """Raise ValueError if something is at `path` that is no regular file (a device, a folder)."""
    if Path(path).exists() and not Path(path).is_file():
        raise ValueError(f"{path} is no regular file, and is not replaced; name another output")


def check_empty(path: Path) -> None:
    """Raise ValueError unless `path` is free, or an empty folder: an output that is a folder.

    Nor may it be a link, whose place a folder cannot take, or lie below what is no folder.
    """
    path = Path(path)
    if path.is_symlink():
        raise ValueError(f"{path} is a link; name the folder itself, or another output")
    for parent in path.absolute().parents:
        if os.path.lexists(parent) and not parent.is_dir():
            raise ValueError(
                f"{parent} is no folder, and {path} lies below it; name another output"
            )
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise ValueError(f"{path} is there already; name another output")


def check_output(path: Path, inputs: Iterable[Path] = (), force: bool = False) -> None:
    """Raise ValueError if an output that the user named would replace what must not be lost.

    That is: no regular file; one of `inputs`; and a file below a folder of `inputs` or, unless
    `force`, anywhere else that write_output has not written.
    """
    path = Path(path)
    check_regular(path)
    if not path.exists():
        return
    for given in map(Path, inputs):
        if given.is_file() and given.samefile(path):
            raise ValueError(f"{path} is an input of this command; name another output")
    if file_sha256(path) in _noted():
        return
    folders = [given.resolve() for given in map(Path, inputs) if given.is_dir()]
    if any(folder in path.resolve().parents for folder in folders):
        raise ValueError(f"{path} is a file that this command works with; name another output")
    if not force:
        raise ValueError(
            f"{path} is there already, and not as this program wrote it; name another output, or "
            "replace it with force=true (of a script with dashes: --force)"
        )


def write_output(path: Path, content: str | Callable[[Path], object]) -> None:
    """Write an output that the user named, noted for `check_output`: a text, or what `content`
    writes into the temporary file that it gets, whose suffix is that of `path`."""
    with atomic(path) as temporary:
        if isinstance(content, str):
            temporary.write_bytes(content.encode("utf-8"))
        else:
            content(temporary)
        line = file_sha256(temporary) + "\n"
    with suppress(OSError):  # without the note the next one asks for force
        OUTPUTS.parent.mkdir(parents=True, exist_ok=True)
        if line not in _noted():
            with open(OUTPUTS, "a", encoding="utf-8") as file:
                file.write(line)


def _noted() -> str:
    return OUTPUTS.read_text(encoding="utf-8") if OUTPUTS.exists() else ""


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 atomically, with plain line feeds on every platform: checksums depend on it."""
    with atomic(path) as temporary:
        temporary.write_bytes(text.encode("utf-8"))


def write_json(path: Path, value) -> None:
    """Write `value` as indented JSON, atomically. NaN and infinity are refused (ValueError)."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path, keys: Iterable[str] = (), kind: type = dict):
    """Read JSON of a kind, a dict with at least `keys`, or a list; a missing or damaged file is a
    one-line error that names it."""
    try:
        value = json.loads(Path(path).read_text(encoding="utf-8"))
        if not isinstance(value, kind):
            raise ValueError(f"it holds no {'mapping' if kind is dict else 'list'}")
        if missing := [key for key in keys if key not in value]:
            raise ValueError(f"it has no {missing[0]!r}")
        return value
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{path} is missing; run the stage that writes it") from error
    except (ValueError, RecursionError) as error:  # JSON's own errors, and bytes that are no text
        raise damaged(path, error) from error


def read_json_lines(path: Path) -> list[dict]:
    """The entries of a JSON-lines log; a missing or broken file is a one-line error."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} is missing; run the stage that writes it")
    try:
        return [json.loads(line) for line in Path(path).read_text(encoding="utf-8").splitlines()]
    except (ValueError, RecursionError) as error:
        raise damaged(path, error) from error


def to_yaml(value) -> str:
    """`value` as YAML, keys in their order."""
    return yaml.safe_dump(value, sort_keys=False, allow_unicode=True)


def plain_yaml(text: str):
    """What YAML holds. ValueError, soon, for what no run writes and no machine can bear: aliases,
    of which a line may stand for gigabytes, and depth, which makes each further token slower."""
    if len(text) > LONGEST:
        raise ValueError(f"it has {len(text):,} characters; at most {LONGEST:,} are read")
    depth = 0
    for event in yaml.parse(text, Loader=LOADER):
        if isinstance(event, yaml.AliasEvent):
            raise ValueError("it has aliases, which a run never writes")
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(f"it has more than {DEEPEST} levels; a run has few")
    return yaml.load(text, Loader=LOADER)


def read_yaml(path: Path):
    """Read YAML; a missing or broken file is a one-line error that names it."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"{path} not found; is this the directory of a run?")
    try:
        return plain_yaml(Path(path).read_text(encoding="utf-8"))
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise damaged(path, error) from error


def once_read(size: int) -> Callable:
    """A decorator of a function of a path: its last `size` answers are kept, each for as long as
    the file cannot have changed. They are shared, so nobody may change them.

    It has not if the file is the same, and so is the time of its last change (ctime), which nobody
    can set. A file that was changed a moment ago is read again: file systems' clocks are coarse.
    """

    def decorate(read: Callable[[Path], Any]) -> Callable[[Path], Any]:
        kept = functools.lru_cache(size)(lambda path, *status: read(path))

        @functools.wraps(read)
        def read_once(path: Path):
            status = os.stat(path)
            if time.time_ns() - status.st_ctime_ns < SETTLED_NS:
                return read(path)
            when = (status.st_dev, status.st_ino, status.st_size, status.st_ctime_ns)
            return kept(Path(path), *when)

        read_once.cache_info = kept.cache_info
        return read_once

    return decorate


@once_read(256)
def file_sha256(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A mapping of mappings as one, its keys joined by dots."""
    joined = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            joined |= flat(value, f"{prefix}{key}.")
        else:
            joined[f"{prefix}{key}"] = value
    return joined


def as_typed(path: Path) -> str:
    """A path as a user types it: relative to the checkout where it is inside."""
    path = Path(path).resolve()
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)


def file_name(text: str) -> str:
    """A text as a part of a file's name or an address: other signs than letters, digits, `.` and
    `_` are one dash."""
    return re.sub(r"[^A-Za-z0-9._]+", "-", text)


def config_hash(config) -> str:
    """Eight hex digits that identify a JSON-like configuration, whatever the order of its keys."""
    text = json.dumps(config, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:8]
