"""The E2E NLG files: where they are, what they must contain, and how to get them.

Each data set's module says where its files come from, pinned to a commit and to a checksum.
"""

import logging
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from solo.datasets import e2e, e2e_clean, e2e_raw
from solo.datasets.base import E2E_REMEDY
from solo.datasets.data import read_rows
from solo.files import ROOT, write_text
from solo.rows import DATA_DIRS
from solo.triples import content_sha256

E2E_FILES = {  # path below the data folder: (address, sha256)
    file.name: (file.url, file.sha256)
    for file in sorted([*e2e.SOURCE.splits.values(), *e2e_raw.SOURCE.splits.values()])
}
E2E_CLEAN_FILES = {file.name: (file.url, file.sha256) for file in e2e_clean.SOURCE.splits.values()}
E2E_SUMS = {name: sha256 for name, (_, sha256) in E2E_FILES.items()}

RETRIES = 3  # after the first attempt; pooch waits a second more before each


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
    found = content_sha256(path)
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


def check_sums(directory: Path, names: Iterable[str]) -> None:
    """ValueError where SHA256SUMS is not to be replaced: it lists others than files of `names`."""
    path = directory / "SHA256SUMS"
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    others = sorted({line.partition("  ")[2] for line in lines if line.strip()} - {*names})
    if others:
        raise ValueError(
            f"{path} has checksums of other files ({others[0]}), and is not replaced; move it "
            "away, or choose another --dir"
        )


def write_sums(directory: Path, sums: Mapping[str, str]) -> None:
    """Write SHA256SUMS in the format of sha256sum: top folder first, then by name."""
    check_sums(directory, sums)
    names = sorted(sums, key=lambda name: (name.count("/"), name))
    write_text(directory / "SHA256SUMS", "".join(f"{sums[name]}  {name}\n" for name in names))


def download(
    url: str,
    path: Path,
    sha256: str,
    progress: bool = False,
    retries: int = RETRIES,
    remedy: str = E2E_REMEDY,
) -> None:
    """Fetch `url` into `path` by pooch, with a progress bar if asked for.

    A file already there is only checked. `path` appears only once the checksum is right. Raises
    ConnectionError where the file cannot be had, ValueError when the checksum is wrong; then
    nothing of it is kept. remedy: as check_file's.
    """
    if path.exists():
        check_file(path, sha256, remedy)
        return
    import pooch  # here: nothing else needs it, nor requests
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    files = pooch.create(
        path.parent, "", registry={path.name: f"sha256:{sha256}"}, urls={path.name: url},
        retry_if_failed=retries,
    )  # fmt: skip
    by_hand = (
        f"put the file at {path} yourself, or set E2E_DATA_DIR (the cleaned E2E: E2E_CLEAN_DIR) to "
        "a folder that holds it"
    )
    try:
        files.fetch(path.name, progressbar=progress)
    except requests.RequestException as error:
        raise ConnectionError(f"{url} cannot be had ({error}); {by_hand}") from error
    except ValueError as error:  # of pooch, which has removed what it got
        words = " ".join(str(error).split())
        raise ValueError(f"{path.name} from {url}: {words}; run again, or {by_hand}") from error
    path.chmod(0o666 & ~_umask())  # pooch's is a temporary file's, for its owner alone


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def prepare_e2e(
    directory: Path | None = None,
    progress: bool = False,
    files: Mapping[str, tuple[str, str]] = E2E_FILES,
) -> Path:
    """Have the E2E files ready and checked; returns their folder.

    Without `directory`, a folder named by E2E_DATA_DIR is checked and used as it is, no network.
    Otherwise what is missing is downloaded into `directory` (default: data/e2e) and SHA256SUMS
    written. progress: whether to draw bars. Errors: download's, verify's.
    """
    return _prepare(directory, DATA_DIRS["e2e"], e2e_dir(), files, progress)


def prepare_e2e_clean(
    directory: Path | None = None,
    progress: bool = False,
    files: Mapping[str, tuple[str, str]] = E2E_CLEAN_FILES,
) -> Path:
    """The same of the cleaned E2E files, E2E_CLEAN_DIR and data/e2e-clean."""
    remedy = e2e_clean.SOURCE.remedy
    return _prepare(directory, DATA_DIRS["e2e_clean"], e2e_clean_dir(), files, progress, remedy)


def _prepare(
    directory: Path | None,
    variable: str,
    default: Path,
    files: Mapping[str, tuple[str, str]],
    progress: bool,
    remedy: str = E2E_REMEDY,
) -> Path:
    sums = {name: sha256 for name, (_, sha256) in files.items()}
    if directory is None and os.environ.get(variable):
        verify(default, sums, remedy)
        return default
    directory = Path(directory) if directory else default
    check_sums(directory, sums)
    for name, (url, sha256) in files.items():
        download(url, directory / name, sha256, progress, remedy=remedy)
    write_sums(directory, sums)
    return directory


def count_examples(path: Path, name: str | None = None) -> tuple[int, int]:
    """(rows, distinct MRs) of a data file."""
    rows = read_rows(path, name)
    return len(rows), len({row.mr for row in rows})
