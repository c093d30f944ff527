"""The E2E NLG files: where they are, what they must contain, and how to get them.

Each data set's module says where its files come from, pinned to a commit and to a checksum.
"""

import http.client
import os
import ssl
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path

from solo.datasets import e2e, e2e_clean, e2e_raw
from solo.datasets.base import E2E_REMEDY
from solo.datasets.data import read_rows
from solo.files import ROOT, alone_with, file_sha256, write_text
from solo.rows import DATA_DIRS
from solo.triples import folder_sha256

Progress = Callable[[int, int | None], None]  # bytes here, bytes in all (None: not announced)

E2E_FILES = {  # path below the data folder: (address, sha256)
    file.name: (file.url, file.sha256)
    for file in sorted([*e2e.SOURCE.splits.values(), *e2e_raw.SOURCE.splits.values()])
}
E2E_CLEAN_FILES = {file.name: (file.url, file.sha256) for file in e2e_clean.SOURCE.splits.values()}
E2E_SUMS = {name: sha256 for name, (_, sha256) in E2E_FILES.items()}

HTTP_RETRY = {408, 429, 500, 502, 503, 504}  # the server may answer better in a moment
NETWORK_ERRORS = (
    urllib.error.URLError,
    ConnectionError,
    TimeoutError,
    ssl.SSLError,
    http.client.HTTPException,
)
TIMEOUT_S = 30
CHUNK = 1 << 16
LARGEST = 32 * 2**20  # bytes; three times E2E's training set, the largest file of all


def e2e_dir() -> Path:
    """The folder of the E2E data: E2E_DATA_DIR, or data/e2e below the project's root."""
    return _folder(DATA_DIRS["e2e"], "e2e")


def e2e_clean_dir() -> Path:
    """The same of the cleaned E2E data: E2E_CLEAN_DIR, or data/e2e-clean."""
    return _folder(DATA_DIRS["e2e_clean"], "e2e-clean")


def _folder(variable: str, name: str) -> Path:
    given = os.environ.get(variable)
    return Path(given) if given else ROOT / "data" / name


def check_file(path: Path, sha256: str | None, remedy: str = E2E_REMEDY) -> str:
    """The checksum of a data file, or of a folder of XML files; another one is a ValueError.

    With None for the expected checksum, any content will do. remedy: how the published file is had.
    Raises FileNotFoundError if there is nothing at `path`.
    """
    path = Path(path)
    if not (path.is_file() or path.is_dir()):
        raise FileNotFoundError(f"{path} is missing; {remedy}")
    found = folder_sha256(path) if path.is_dir() else file_sha256(path)
    if sha256 is not None and found != sha256:
        size = "a folder" if path.is_dir() else f"{path.stat().st_size} bytes"
        raise ValueError(
            f"{path} ({size}) is not the published file: expected sha256 {sha256}, found {found}; "
            "with data of your own set data.sha256.train=null (or valid, test), else move it away: "
            f"{remedy}"
        )
    return found


def verify(directory: Path, sums: Mapping[str, str] = E2E_SUMS, remedy: str = E2E_REMEDY) -> None:
    """Check every file of `sums` (path below `directory` -> sha256); errors as check_file's."""
    for name, sha256 in sums.items():
        check_file(Path(directory) / name, sha256, remedy)


def write_sums(directory: Path, sums: Mapping[str, str]) -> None:
    """Write SHA256SUMS in the format of sha256sum: top folder first, then by name."""
    names = sorted(sums, key=lambda name: (name.count("/"), name))
    write_text(directory / "SHA256SUMS", "".join(f"{sums[name]}  {name}\n" for name in names))


def download(
    url: str,
    path: Path,
    sha256: str,
    on_progress: Progress | None = None,
    attempts: int = 4,
    wait_s: float = 1.0,
    remedy: str = E2E_REMEDY,
) -> None:
    """Fetch `url` into `path`, going on where a broken download left its `.part` file.

    A file already there is only checked. After a network error it tries again, up to `attempts`
    times in a row without a byte received, waiting wait_s, 2 wait_s, 4 wait_s ... in between.
    `path` appears only once the checksum is right; another process that fetches it too is waited
    for. Raises FileNotFoundError when the server refuses (404 and the like), ConnectionError when
    the attempts are used up, ValueError when the checksum is wrong or the file is larger than
    LARGEST; then nothing of it is kept. remedy: as check_file's.
    """
    if path.exists():
        check_file(path, sha256, remedy)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    with alone_with(part):
        try:
            if not path.exists():  # the process that was waited for may have fetched it
                _fetch(url, path, part, sha256, on_progress, attempts, wait_s)
        finally:
            if part.exists() and part.stat().st_size == 0:
                part.unlink()
    check_file(path, sha256, remedy)


def _fetch(
    url: str,
    path: Path,
    part: Path,
    sha256: str,
    on_progress: Progress | None,
    attempts: int,
    wait_s: float,
) -> None:
    failures = 0
    while not (part.exists() and file_sha256(part) == sha256):
        before = part.stat().st_size if part.exists() else 0
        try:
            _receive(url, part, on_progress)
            break
        except NETWORK_ERRORS as error:
            code = getattr(error, "code", None)
            if code == 416:  # the part is longer than the file itself: start over
                os.truncate(part, 0)
            elif code is not None and code not in HTTP_RETRY:
                raise FileNotFoundError(
                    f"{url} cannot be had: the server answers {error}; put the file at {path} "
                    "yourself, or set E2E_DATA_DIR (the cleaned E2E: E2E_CLEAN_DIR) to a folder "
                    "that holds it"
                ) from error
            gained = part.exists() and part.stat().st_size > before
            failures = 1 if gained else failures + 1
            if failures >= attempts:
                raise ConnectionError(
                    f"{url}: no connection in {attempts} attempts ({error}); run again to go on "
                    "from there, or set E2E_DATA_DIR (the cleaned E2E: E2E_CLEAN_DIR) to a folder "
                    "that holds it"
                ) from error
            time.sleep(wait_s * 2 ** (failures - 1))
    found = file_sha256(part)
    if found != sha256:
        part.unlink()
        raise ValueError(
            f"{path.name} from {url} has the wrong checksum: expected sha256 {sha256}, found "
            f"{found}; the download was deleted, run again, and if this comes back, put the "
            f"file at {path} yourself"
        )
    os.replace(part, path)


def _receive(url: str, part: Path, on_progress: Progress | None) -> None:
    """One request: append to `part` if the server sends the rest only, else write it anew."""
    have = part.stat().st_size if part.exists() else 0
    # A compressed answer would make byte ranges and lengths speak of other bytes than ours.
    headers = {"Accept-Encoding": "identity", "User-Agent": "solo-connection-reproduction"}
    if have:
        headers["Range"] = f"bytes={have}-"
    request = urllib.request.Request(url, headers=headers)
    with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:
        resumed = answer.status == 206
        if resumed and not answer.headers.get("Content-Range", "").startswith(f"bytes {have}-"):
            os.truncate(part, 0)
            raise ConnectionError("the server sent another range of bytes than asked for")
        done = have if resumed else 0
        length = answer.headers.get("Content-Length")
        total = done + int(length) if (length or "").isdigit() else None
        _check_size(total or 0, url, part)
        with open(part, "ab" if resumed else "wb") as file:
            while chunk := answer.read(CHUNK):
                done += len(chunk)
                _check_size(done, url, part)
                file.write(chunk)
                if on_progress:
                    on_progress(done, total)
    if total is not None and done < total:
        raise ConnectionError(f"the connection broke after {done} of {total} bytes")


def _check_size(size: int, url: str, part: Path) -> None:
    """Raise ValueError, and empty the part, for more than any published file has: no disk is filled
    by what would only be found to be another file in the end."""
    if size > LARGEST:
        os.truncate(part, 0)
        raise ValueError(
            f"{url} is larger than {LARGEST:,} bytes, which no file of the data sets is; "
            "nothing of it was kept, put the file there yourself"
        )


def prepare_e2e(
    directory: Path | None = None,
    progress_for: Callable[[str], Progress] | None = None,
    files: Mapping[str, tuple[str, str]] = E2E_FILES,
) -> Path:
    """Have the E2E files ready and checked; returns their folder.

    Without `directory`, a folder named by E2E_DATA_DIR is checked and used as it is, no network.
    Otherwise what is missing is downloaded into `directory` (default: data/e2e) and SHA256SUMS
    written. `progress_for(name)` gives the callback for one file. Errors: download's, verify's.
    """
    return _prepare(directory, DATA_DIRS["e2e"], e2e_dir(), files, progress_for)


def prepare_e2e_clean(
    directory: Path | None = None,
    progress_for: Callable[[str], Progress] | None = None,
    files: Mapping[str, tuple[str, str]] = E2E_CLEAN_FILES,
) -> Path:
    """The same of the cleaned E2E files, E2E_CLEAN_DIR and data/e2e-clean."""
    remedy = e2e_clean.SOURCE.remedy
    return _prepare(directory, DATA_DIRS["e2e_clean"], e2e_clean_dir(), files, progress_for, remedy)


def _prepare(
    directory: Path | None,
    variable: str,
    default: Path,
    files: Mapping[str, tuple[str, str]],
    progress_for: Callable[[str], Progress] | None,
    remedy: str = E2E_REMEDY,
) -> Path:
    sums = {name: sha256 for name, (_, sha256) in files.items()}
    if directory is None and os.environ.get(variable):
        verify(default, sums, remedy)
        return default
    directory = Path(directory) if directory else default
    for name, (url, sha256) in files.items():
        report = progress_for(name) if progress_for else None
        download(url, directory / name, sha256, report, remedy=remedy)
    write_sums(directory, sums)
    return directory


def count_examples(path: Path, name: str | None = None) -> tuple[int, int]:
    """(rows, distinct MRs) of a data file."""
    rows = read_rows(path, name)
    return len(rows), len({row.mr for row in rows})
