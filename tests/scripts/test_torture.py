"""The torture script's short form, and that it sees what it is to see."""

import os
import random
import subprocess
import sys
import threading

from scripts.checks import torture
from solo.cli.command import ROOT


def test_nothing_differs_is_traced_or_left_over_after_a_few_kills_and_bad_inputs():
    """In a process of its own, whose forks have one thread."""
    command = [sys.executable, "scripts/checks/torture.py", "--short"]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    counts = dict(line.split(": ") for line in result.stdout.splitlines() if ": " in line)
    assert int(counts["kills"]) >= 10 and int(counts["bad inputs"]) >= 5
    assert [counts[kind] for kind in ("differing results", "tracebacks", "leftovers")] == ["0"] * 3


def careless(world) -> None:
    """A stage that writes in place, a part of it beside, and goes on from whatever is there."""
    path = world.work / "numbers.txt"
    (world.work / ".tmp.part").write_text("part")
    number = len(path.read_text()) if path.exists() else 0
    path.write_text("x" * (number + 1))
    os.replace(world.work / ".tmp.part", world.work / "part.txt")


def broken(world) -> None:
    raise KeyError("what nobody caught")


def hanging(world) -> None:
    threading.Event().wait()


def test_the_script_sees_faults(tmp_path, monkeypatch):
    stages = {"careless": careless, "broken": broken, "hanging": hanging}
    monkeypatch.setattr(torture, "STAGES", stages)
    world, counts = torture.World(tmp_path), torture.Counts()
    world.work.mkdir()
    bench = torture.Bench("careless", world, counts)
    assert bench.replaces == 1 and counts.lines == []
    bench.killed("killed", [lambda: torture.at_replace(1, after=False)])
    bench.killed("killed", [lambda: torture.at_replace(1, after=True)])
    assert counts["kills"] == 2 and counts["differing results"] == 2
    (tmp_path / "work" / ".tmp.left").touch()
    counts.compare(bench.expected, world.work, "left")
    assert counts["leftovers"] == 1
    torture.torture("broken", world, counts, True, random.Random(0))
    assert counts["tracebacks"] == 1 and "what nobody caught" in counts.lines[-1]
    monkeypatch.setattr(torture, "PATIENCE", 0.5)
    torture.torture("hanging", world, counts, True, random.Random(0))
    assert counts["hangs"] == 1 and counts["tracebacks"] == 1
    assert "in hanging" in counts.lines[-1]  # where it was
