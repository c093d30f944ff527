"""Kills, starts at once, full disks and bad inputs; what must hold is counted.

  python scripts/checks/torture.py           every stage, every os.replace, all bad inputs
  python scripts/checks/torture.py --short   a few of each, which is what the tests run

A killed stage is started again, and must end with the bytes of one that nothing disturbed, with no
file more. A bad input must give one line, `error: ...`, and leave its files as they were. Faults
are printed as they are found, exit code 1 if there is one. The stages run on a random GPT-2 of two
blocks and generated data; each try is a fork of this process, so that Python starts only once.
"""

import faulthandler
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

# A fork has the thread that forked alone: whoever then waits for another one waits forever.
os.environ |= {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}

import torch  # noqa: E402 (which reads the variables)

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from scripts.checks import bad_inputs
from scripts.checks.tiny import STAGES, World, made, make_world, serve
from solo.cli.command import one_line_errors, plain_parser, say
from solo.runs import record

CLOCK = ("started", "seconds", "tokens_per_s", "resumed")  # what two runs of one thing differ in
SHORT = ["data", "download", "pretraining", "alone", "sweep"]  # scores and pictures take long
PATIENCE = 120  # seconds until a fork hangs; on an idle machine a stage takes two
HUNG = "Timeout ("  # what faulthandler writes then, before the traces
SHOWN = ("kills", "bad inputs", "differing results", "tracebacks", "hangs", "leftovers")
Kill = Callable[[], None]  # called in the fork, it sees to the fork's end


def at_replace(number: int, after: bool) -> None:
    """End this process, as SIGKILL does, before or after its call `number` of os.replace."""
    replace, calls = os.replace, Counter()

    def counting(*paths) -> None:
        calls["replace"] += 1
        due = calls["replace"] == number
        if due and not after:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(*paths)
        if due:
            os.kill(os.getpid(), signal.SIGKILL)

    os.replace = counting


def at_time(seconds: float) -> None:
    """End this process after so many seconds; nothing of Python runs then."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def start(task: Callable[[], None], output: Path, kill: Kill = lambda: None) -> int:
    """Fork a process that does `task` as a command does; returns its id.

    One that hangs ends itself after PATIENCE, and says where it was: HUNG is in its output.
    """
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with open(output, "ab", buffering=0) as file:
            for stream in (1, 2):
                os.dup2(file.fileno(), stream)
        faulthandler.dump_traceback_later(PATIENCE, exit=True, file=2)
        sys.stdout = sys.stderr = open(output, "a", buffering=1)
        kill()
        with one_line_errors():
            task()
        code = 0
    except SystemExit as done:
        code = done.code if isinstance(done.code, int) else int(bool(done.code))
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        os._exit(code)


def wait(pid: int) -> int:
    """The exit code of a fork, negative for the signal that ended it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder but the locks, without what the clock decides."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not (path.name[0] == "." and path.suffix == ".lock"):
            content = path.read_bytes()
            if path.suffix in (".json", ".jsonl"):
                lines = map(_without_clock, content.splitlines())
                content = b"\n".join(filter(None, lines))  # "resumed" is not in every record
            found[str(path.relative_to(folder))] = content
    return found


def _without_clock(line: bytes) -> bytes:
    """A line of JSON: a key of a file that has many lines, or a whole entry of a log."""
    if line.startswith(b"{") and line.endswith(b"}"):
        entry = json.loads(line)
        return json.dumps({k: v for k, v in entry.items() if k not in CLOCK}).encode()
    return b"" if line.strip().startswith(tuple(f'"{key}":'.encode() for key in CLOCK)) else line


class Counts(Counter):
    """What happened, and a line for each thing that must not be."""

    def __init__(self):
        super().__init__()
        self.lines: list[str] = []

    def fault(self, kind: str, what: str, output: str = "") -> None:
        self[kind] += 1
        self.lines.append(f"{kind}: {what}\n{output[-1500:]}".rstrip())
        print(self.lines[-1], flush=True)

    def ended(self, what: str, code: int, output: str, allowed: Collection[int] = (0,)) -> None:
        """Count a process that hung, or ended as no command may end."""
        if HUNG in output:
            self.fault("hangs", what, output[output.index(HUNG) :][:1500])  # the place comes first
        elif code not in allowed or "Traceback" in output:
            self.fault("tracebacks", f"{what}: exit code {code}", output)

    def show(self, where: str = "") -> None:
        """Print what is counted so far."""
        numbers = [f"{kind}: {self[kind]}" for kind in dict.fromkeys([*SHOWN, *sorted(self)])]
        if where:
            say(f"{where}; {', '.join(numbers)}")
        else:
            print("\n".join(numbers), flush=True)

    def compare(self, expected: dict[str, bytes], folder: Path, what: str) -> None:
        """Count what differs, and what is left over."""
        got = contents(folder)
        differing = [name for name in expected if got.get(name) != expected[name]]
        if differing:
            self.fault("differing results", f"{what}: {', '.join(differing)}")
        if left := sorted(got.keys() - expected.keys()):
            self.fault("leftovers", f"{what}: {', '.join(left)}")


class Bench:
    """A stage, what it writes undisturbed, and how to try it. world.work is emptied each time."""

    def __init__(self, name: str, world: World, counts: Counts):
        self.name, self.world, self.counts = name, world, counts
        self.task = partial(STAGES[name], world)
        self.output = world.folder / "output.txt"
        self.clear()
        tally = world.folder / "tally.txt"
        began = time.monotonic()
        self.finish("undisturbed", lambda: _count_replaces(tally))
        self.seconds = time.monotonic() - began
        self.replaces = len(tally.read_text())
        tally.unlink()
        self.expected = contents(world.work)

    def clear(self) -> None:
        for path in self.world.work.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        self.output.write_bytes(b"")

    def finish(self, what: str, prepare: Kill = lambda: None) -> None:
        """Let the stage run to its end, and count a traceback anywhere since `clear`."""
        code = wait(start(self.task, self.output, prepare))
        text = self.output.read_text(errors="replace")
        self.counts.ended(f"{self.name}, {what}", code, text)

    def killed(self, what: str, kills: Sequence[Kill]) -> None:
        """Kill the stage so many times, start it once more, compare."""
        self.clear()
        for kill in kills:
            self.counts["kills"] += wait(start(self.task, self.output, kill)) < 0
        self.finish(what)
        self.counts.compare(self.expected, self.world.work, f"{self.name}, {what}")

    def at_once(self, number: int) -> None:
        """Start the stage several times at once: what one may not do, it says in a line."""
        self.clear()
        pids = [start(self.task, self.output) for _ in range(number)]
        codes = [wait(pid) for pid in pids]
        text = self.output.read_text(errors="replace")
        allowed = (0, 1) if "in use by another process" in text else (0,)
        for code in codes:
            self.counts.ended(f"{self.name}, at once", code, text, allowed)
        self.finish("after several at once")
        self.counts["starts at once"] += number
        self.counts.compare(self.expected, self.world.work, f"{self.name}, several at once")

    def full_disk(self, share: float) -> None:
        """Give the stage too small a disk, then a large one."""
        self.clear()
        size = max(8192, int(share * sum(map(len, self.expected.values()))))
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(self.world.work)]
        if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
            self.counts["full disks left out, no right to mount"] += 1
            return
        try:
            code = wait(start(self.task, self.output))
            self.counts["full disks"] += 1
            text = self.output.read_text(errors="replace")
            allowed = (0, 1) if "No space left" in text else (0,)
            self.counts.ended(f"{self.name}, full disk", code, text, allowed)
            larger = ["mount", "-o", "remount,size=512m", str(self.world.work)]
            subprocess.run(larger, check=True)
            self.finish("after a full disk")
            self.counts.compare(self.expected, self.world.work, f"{self.name}, full disk")
        finally:
            subprocess.run(["umount", str(self.world.work)], check=True)


def _count_replaces(tally: Path) -> None:
    replace = os.replace

    def counting(*paths) -> None:
        replace(*paths)
        with open(tally, "a") as file:
            file.write("x")

    os.replace = counting
    tally.touch()


def torture(name: str, world: World, counts: Counts, short: bool, draws: random.Random) -> None:
    """Everything for one stage."""
    bench = Bench(name, world, counts)
    counts.show(f"{name}, {bench.replaces} calls of os.replace in {bench.seconds:.2f} s")
    if not bench.expected:
        return  # a fault that is counted
    places = [(number + 1, after) for number in range(bench.replaces) for after in (False, True)]
    for number, after in draws.sample(places, 2) if short else places:
        what = f"killed {'after' if after else 'before'} os.replace {number}"
        bench.killed(what, [partial(at_replace, number, after)])
    for _ in range(1 if short else 15):
        times = [draws.uniform(0, bench.seconds) for _ in range(draws.choice((1, 1, 2, 3)))]
        what = f"killed after {', '.join(f'{seconds:.3f}' for seconds in times)} s"
        bench.killed(what, [partial(at_time, seconds) for seconds in times])
    for number in () if short else (2, 3, 5):
        bench.at_once(number)
    for share in () if short else (0.02, 0.2, 0.4, 0.6, 0.8, 0.95):
        bench.full_disk(share)


def main(argv: Sequence[str] | None = None) -> int:
    parser = plain_parser(__doc__)
    parser.add_argument("--short", action="store_true", help="a few of each")
    parser.add_argument("--stages", help=f"comma-separated; default: {', '.join(STAGES)}")
    parser.add_argument("--no-inputs", action="store_true", help="leave the bad inputs out")
    parser.add_argument("--seed", type=int, default=0, help="of the random times (default: 0)")
    args = parser.parse_args(argv)
    torch.set_num_threads(1)  # a fork has one thread
    known = record.environment()
    record.environment = lambda: known  # git is asked once, not in every fork
    counts, began = Counts(), time.monotonic()
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        world = make_world(Path(folder))
        world.address = serve(world.folder / "data")
        for until in ("decoded",) if args.short else ("decoded", "done"):
            made(world, until)  # in this process, so that forks find it
        stages = SHORT if args.short else list(STAGES)
        for name in stages if args.stages is None else filter(None, args.stages.split(",")):
            torture(name, world, counts, args.short, random.Random(args.seed))
        if not args.no_inputs:
            bad_inputs.feed(world, counts, start, wait, args.short)
    counts.show()
    print(f"{time.monotonic() - began:.0f} s")
    return 1 if counts.lines else 0


if __name__ == "__main__":
    sys.exit(main())
