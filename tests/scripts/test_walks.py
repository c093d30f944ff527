"""The four walks of docs/walks.md: its commands, read from the page, in miniature."""

import re
import shlex
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

from solo.backbones.loading import load_tokenizer
from solo.standin.demo_data import write_demo_data
from solo.standin.pretrain import new_model

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/walks.md").read_text(encoding="utf-8")
WALKS = {
    part.split("\n", 1)[0]: re.findall(r"^\$ (.*)$", part, re.MULTILINE)
    for part in PAGE.split("\n## ")[1:]
}
RUN = re.compile(r"results/demo/runs/solo-[\w.-]+")
SMALL = ["train.max_steps=2", "train.warmup_steps=0", "decode.beam=2", "decode.max_new_tokens=8"]


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with a thin random backbone and data, in which the walks follow one another."""
    place = tmp_path_factory.mktemp("walks")
    write_demo_data(place / "data", train_rows=8, valid_rows=2, test_mrs=2)
    tokenizer = load_tokenizer(ROOT / "data/backbones/standin12")
    shape = {"n_layer": 4, "n_embd": 32, "n_head": 2, "n_positions": 256}
    new_model(shape, tokenizer, 1, "test: random").save_pretrained(place / "backbone")
    tokenizer.save_pretrained(place / "backbone")
    return place


def in_miniature(command: str, place: Path) -> list[str]:
    """A command of the page as the words that run it here."""
    if command == "make demo":
        command = f"python scripts/reproduce.py demo --rows solo --out {place}/demo"
    runs = sorted((place / "results/demo/runs").glob("solo-*"))
    command = RUN.sub(lambda _: str(runs[0]), command)
    words = shlex.split(re.sub(r"(?<![\w/])results/", f"{place}/results/", command))
    if any(word in words for word in ("scripts/reproduce.py", "scripts/tune.py", "scripts/run.py")):
        words += [*SMALL, f"model.path={place}/backbone", f"data.dir={place}/data"]
        if not any(word.startswith("runs_dir=") for word in words):
            words.append(f"runs_dir={place}/results/demo/runs")
    return words


def test_the_walks_one_after_the_other(place, run_script, capsys, monkeypatch):
    """In one test, since they use what the ones before made: two processes share tests out."""
    for command in sum(WALKS.values(), []):
        words = in_miniature(command, place)
        if words[:2] == ["python", "-c"]:
            monkeypatch.chdir(place)
            with warnings.catch_warnings():
                warnings.simplefilter("error")  # one that a user can do nothing about
                exec(words[2], {})
            assert capsys.readouterr().out.strip()
        elif words[0] == "echo" or words[1] == "-m":
            done = subprocess.run(
                command.replace("python", sys.executable, 1), shell=True, cwd=place,
                capture_output=True, text=True, env={"PYTHONPATH": str(ROOT), "PATH": ""},
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
        else:
            result = run_script(*words[1:])
            assert result.code == 0, result.err
            last = result.err.strip().splitlines()[-1]
            assert re.match("next: (python|what loads)", last), result.err
            assert not re.search("(?i)warning|traceback", result.err)


def test_the_walks_are_four_and_say_what_each_command_printed():
    assert len(WALKS) == 4 and all(WALKS.values())
    lines = "\n".join(re.findall(r"```\n(.*?)\n```", PAGE, re.DOTALL)).splitlines()
    commands = [k for k, line in enumerate(lines) if line.startswith("$ ")]
    assert [lines[k][2:] for k in commands] == sum(WALKS.values(), [])
    for k, following in zip(commands, [*commands[1:], len(lines)], strict=True):
        assert following > k + 1 or lines[k].startswith("$ echo "), lines[k]
