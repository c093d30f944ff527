"""What the text points to is there: paths, links, and the launch lines of the configurations."""

import argparse
import importlib
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path

import pytest
import yaml

from solo.cli import studies
from solo.cli.compose import check_all, compose_config

ROOT = Path(__file__).resolve().parent.parent
if not (ROOT / ".git").exists():
    pytest.skip("no checkout of git: what is tracked is not known", allow_module_level=True)
TRACKED = subprocess.run(
    ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
).stdout.splitlines()
PLACES = {*TRACKED, *(str(parent) for file in TRACKED for parent in Path(file).parents)}
IGNORED = [line.strip("/") for line in (ROOT / ".gitignore").read_text().splitlines()]
# Written by a command and committed once somebody has run it.
GENERATED = ("results/figures", "results/tables/family.md")
TEXT = [
    file
    for file in TRACKED
    if Path(file).suffix in (".md", ".py", ".yaml", ".toml", ".cff", ".txt", "")
    and file[0] != "."
    and file != "tests/test_pointers.py"
]
ROOMS = "configs|data|docs|eval|results|scripts|solo|tests"
PATH = re.compile(rf"(?<![\w/.}}>-])(?:{ROOMS})/[\w./*<>{{}}-]+")
LINK = re.compile(r"\]\(([^)\s#]+)")
LAUNCH = re.compile(r"^\s*#\s*python (scripts/\w+\.py)(.*)$", re.M)


def is_there(path: str) -> bool:
    """Whether a path is tracked, is written by a command, or stands for several (NAME, {x}, *)."""
    names = path.split("/")
    if any(re.search(r"[<>{}]|^[A-Z]{2}[A-Z-]*(\.\w+)?$", name) for name in names[:-1]):
        return True
    if re.search(r"[<>{}]|(NAME|HASH|TABLE)", names[-1]):
        return "/".join(names[:-1]) in PLACES or is_there("/".join(names[:-1]))
    written = (*IGNORED, *GENERATED)
    if any(fnmatch(path, start) or path.startswith(f"{start}/") for start in written):
        return path != "data/README.md" or path in PLACES
    return path in PLACES or any(fnmatch(place, path) for place in PLACES if "*" in path)


@pytest.mark.parametrize("file", TEXT)
def test_every_path_in_the_text_exists(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    paths = {path.rstrip("./-") for path in PATH.findall(text)}
    assert not sorted(path for path in paths if not is_there(path))


@pytest.mark.parametrize("file", [file for file in TEXT if file.endswith(".md")])
def test_every_link_leads_to_a_file(file):
    text = (ROOT / file).read_text(encoding="utf-8")
    links = [link for link in LINK.findall(text) if not re.match(r"[a-z]+:", link)]
    assert not [link for link in links if not (ROOT / file).parent.joinpath(link).exists()]


ANCHOR = re.compile(r"\]\(([^)\s#]*)#([^)\s]+)\)")


def anchors(path: Path) -> set[str]:
    """The headings of a Markdown page, as GitHub makes anchors of them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    plain = (re.sub(r"\]\([^)]*\)", "]", head).lower() for head in heads)
    return {re.sub(r"[^\w\- ]", "", head).strip().replace(" ", "-") for head in plain}


@pytest.mark.parametrize("file", [file for file in TEXT if file.endswith(".md")])
def test_every_anchor_is_a_heading(file):
    home = (ROOT / file).parent
    found = ANCHOR.findall((ROOT / file).read_text(encoding="utf-8"))
    for link, anchor in found:
        if not re.match(r"[a-z]+:", link):
            assert anchor in anchors(home / link if link else ROOT / file), f"{link}#{anchor}"


def test_anchors_by_hand(tmp_path):
    (tmp_path / "a.md").write_text("# `make x`: what, and (why)\n\n## [Two](u) words\ntext # no\n")
    assert anchors(tmp_path / "a.md") == {"make-x-what-and-why", "two-words"}


def test_the_search_finds_what_is_not_there():
    for path in ("docs/none.md", "solo/none.py", "results/none/runs", "scripts/none*.py"):
        assert PATH.findall(f"see `{path}`, or") == [path] and not is_there(path)
    for path in ("solo/files.py", "results/runs", "configs/experiment/*/solo.yaml", "data/demo"):
        assert is_there(path), path


def test_no_text_points_to_notes_that_are_not_here():
    for file in TEXT:
        text = (ROOT / file).read_text(encoding="utf-8")
        assert not re.search(r"design( notes|:? section)", text), file


LINES = [
    (str(file.relative_to(ROOT)), *line)
    for file in sorted((ROOT / "configs").rglob("*.yaml"))
    for line in LAUNCH.findall(file.read_text(encoding="utf-8"))
]
HYDRA = {  # script: the configuration that it composes
    **dict.fromkeys(("train", "decode", "evaluate", "generate", "run"), "config"),
    "pretrain_backbone": "pretrain_backbone",
}


class Parsed(Exception):
    """Raised with the arguments that a script read, before it does anything."""


@pytest.fixture
def parsed(monkeypatch):
    """A function: what a script's parser makes of its arguments; SystemExit if it refuses them."""
    for name in ("parse_args", "parse_intermixed_args"):
        parse = getattr(argparse.ArgumentParser, name)

        def stop(self, *args, parse=parse):
            raise Parsed(parse(self, *args))

        monkeypatch.setattr(argparse.ArgumentParser, name, stop)

    def call(script: str, arguments: list[str]) -> argparse.Namespace:
        monkeypatch.setattr("sys.argv", [script, *arguments])
        with pytest.raises(Parsed) as caught:
            importlib.import_module(f"scripts.{script}").main()
        return caught.value.args[0]

    return call


@pytest.mark.parametrize(
    ("file", "script", "arguments"), LINES, ids=[f"{a}:{c}" for a, _, c in LINES]
)
def test_a_launch_line_works(file, script, arguments, parsed):
    """The script is there, its arguments parse, and what they lead to composes."""
    assert script in TRACKED
    name, arguments = Path(script).stem, shlex.split(arguments)
    if name in HYDRA:
        check_all(arguments, HYDRA[name])
        return
    args = parsed(name, arguments)
    if name == "study":
        study = Path(args.study).parent.name if args.what == "run" else args.study
        assert studies.read_list(study) and file == f"configs/study/{study}.yaml"
        if args.what == "run":
            assert Path(args.study) == studies.STUDIES / study / "study.json"
        if args.what == "write" and args.overrides:  # tests/scripts/test_studies.py resolves each
            assert studies.resolve(study, args.overrides).jobs


def test_every_kind_of_configuration_that_is_run_has_a_launch_line():
    files = {file for file, _, _ in LINES}
    for group in ("experiment", "pretrain", "study", "sweep"):
        for path in (ROOT / "configs" / group).rglob("*.yaml"):
            assert str(path.relative_to(ROOT)) in files, path


def test_a_backbone_of_our_own_can_be_made():
    """By a recipe of configs/pretrain; the one that is needed offline is there."""
    recipes = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs/pretrain").glob("*")]
    made = {recipe["output_dir"] for recipe in recipes}
    models = [yaml.safe_load(path.read_text()) for path in (ROOT / "configs/model").glob("*")]
    ours = {model["path"] for model in models if not model["path"].startswith("openai-community/")}
    assert ours <= made
    for row in ("demo/lora", "demo/none"):
        assert (ROOT / compose_config([f"experiment={row}"]).model.path / "config.json").is_file()
