"""An error as one line that a user can act on; the scorer shares this file with the rest."""

import errno
from json import JSONDecodeError

REMEDIES = {  # of the system's errors
    errno.ENOSPC: "free some space; the same command then goes on",
    errno.EDQUOT: "free some space; the same command then goes on",
    errno.EFBIG: "raise the limit of a file's size (ulimit -f); the same command then goes on",
    errno.EACCES: "choose a place that you may read and write, or change its permissions",
    errno.EPERM: "choose a place that you may read and write, or change its permissions",
    errno.EROFS: "choose a place that can be written to",
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path",
    errno.EEXIST: "a file is there already; move it away, or choose another place",
    errno.EISDIR: "name a file, not a folder",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EMFILE: "raise the limit of open files (ulimit -n)",
}
OWN_ERRORS = (ValueError, OSError, RuntimeError, ArithmeticError)  # with a message for the user
STRANGE = (RecursionError, NotImplementedError, ZeroDivisionError, UnicodeError, JSONDecodeError)
SHOWS_WHERE = "; HYDRA_FULL_ERROR=1 in the environment shows where"
LESS = "lower train.batch_size or decode.batch_size, or take less data"
TOO_LARGE = ("out of memory", "can't allocate memory")  # what torch says, in lower case


def damaged(
    path: object, what: object, remedy: str = "restore it, or move it away and repeat what wrote it"
) -> ValueError:
    """The error of a file that a run wrote and that holds something else now, `what` in words."""
    return ValueError(f"{path} is damaged ({' '.join(str(what).split())}); {remedy}")


def in_words(error: BaseException, where: str = "", less: str = LESS) -> str:
    """An error as one line: what this project raises as it is, others with file, kind, remedy.

    where: SHOWS_WHERE if the caller keeps that promise; it follows an error that nobody foresaw.
    less: what to do where the memory is too small.
    """
    text = " ".join(line.strip() for line in str(error).splitlines() if line.strip())
    if isinstance(error, OSError) and error.errno is not None and error.strerror:
        place = f"{error.filename}: " if error.filename is not None else ""
        remedy = REMEDIES.get(error.errno)
        return f"{place}{error.strerror}" + (f"; {remedy}" if remedy else "")
    if isinstance(error, MemoryError) or any(words in text.lower() for words in TOO_LARGE):
        return f"too little memory; {less}"
    if isinstance(error, OWN_ERRORS) and not isinstance(error, STRANGE) and text:
        return text
    return f"{type(error).__name__}: {text}{where}"
