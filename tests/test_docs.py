"""What README.md and docs/ say is so: open choices, counts, commands, paths, links, the example."""

import contextlib
import io
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
import yaml
from transformers import GPT2Config

from eval.tables.lines import load_reported
from solo.adapters import METHODS, make_config
from solo.adapters.solo import Config, preset
from solo.cli.command import TABLES
from solo.cli.compose import compose_config, expand
from solo.cli.rows import compose_rows, row_names, row_settings, settings_of, tables_named

ROOT = Path(__file__).resolve().parent.parent
SECTION = "## What the paper leaves open\n"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "results/README.md"]
ROOMS = ("configs", "docs", "eval", "scripts", "solo", "tests")


def choices() -> list[tuple[list[str], str, str]]:
    """(keys, default, devcode) of every line of the table; the last two as written."""
    text = (ROOT / "docs/reproduce.md").read_text(encoding="utf-8")
    text = text.split(SECTION)[1].split("\n## ")[0]
    lines = [line for line in text.splitlines() if line.startswith("| ") and "`" in line]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return [(quoted(key), default, devcode) for _, key, default, devcode, _ in cells]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def values(cell: str) -> list:
    return [yaml.safe_load(re.sub(r"^(\d)e", r"\1.0e", text)) for text in quoted(cell)]


SOLO = [c for c in choices() if c[0][0].startswith("adapter.") and quoted(c[2])]


@pytest.mark.parametrize(("keys", "default", "devcode"), SOLO, ids=[c[0][0] for c in SOLO])
@pytest.mark.parametrize("sparsity", [0.0, 0.4])
def test_the_variants_values(keys, default, devcode, sparsity):
    names = [key.removeprefix("adapter.") for key in keys]
    dense, _, sparse = devcode.partition("; sparse: ")
    expected = {"paper": default, "devcode": sparse if sparse and sparsity else dense}
    for variant, cell in expected.items():
        config = Config(variant=variant, sparsity=sparsity).resolved()
        assert [getattr(config, name) for name in names] == values(cell)


def test_every_key_that_a_variant_decides_is_there_once():
    keys = Counter(key for names, _, _ in choices() for key in names)
    decided = {*preset("paper", True), "start", "stride", "reach", "mask_seed", "sparsity"}
    assert decided <= {key.removeprefix("adapter.") for key in keys}
    assert [key for key, n in keys.items() if n > 1] == ["adapter.rank"]  # LoRA's, S and M


def test_the_recipes_values():
    recipe = yaml.safe_load((ROOT / "configs/train/default.yaml").read_text(encoding="utf-8"))
    table = {keys[0]: values(default) for keys, default, _ in choices()}
    open_keys = {key for key in table if key.startswith("train.")}
    assert len(open_keys) == 6
    assert all(table[key] == [recipe[key.removeprefix("train.")]] for key in open_keys)
    solo = yaml.safe_load((ROOT / "configs/adapter/solo.yaml").read_text(encoding="utf-8"))
    assert table["adapter.mask_seed"] == [solo["mask_seed"]]
    [(keys, default)] = [(keys, default) for keys, default, _ in choices() if "decode" in keys[0]]
    beam = yaml.safe_load((ROOT / "configs/decode/default.yaml").read_text(encoding="utf-8"))
    assert values(default) == [beam[key.removeprefix("decode.")] for key in keys]
    assert len(keys) == 4


def test_loras_ranks():
    ranks = [values(default) for keys, default, _ in choices() if keys == ["adapter.rank"]]
    rows = ("table1/lora_s", "table1/lora_m")
    assert ranks == [[settings["adapter"]["rank"]] for settings in row_settings(rows).values()]


def test_how_each_table_reads_s():
    [default] = [default for keys, default, _ in choices() if keys == ["adapter.sparsity"]]
    readings = {"masked": set(), "kept": set()}
    for name, table in load_reported().items():
        for row in table["rows"] if name.startswith("table") else []:
            if "s" in row:
                masked = settings_of(row["row"])["adapter"]["sparsity"]
                reading = {row["s"]: "masked", round(1 - row["s"], 6): "kept"}[masked]
                size = row["row"].split("_")[1].upper()
                readings[reading].add(f"Table 1's {size}" if name == "table1" else name[-1])
    said = dict(part.split(": ") for part in default.split("; "))
    for reading, where in readings.items():
        tables = sorted(part for part in where if len(part) == 1)
        [of_table1] = where - set(tables)
        assert said[reading] == f"Tables {', '.join(tables)}, {of_table1}"


def test_the_list_of_methods_has_every_count():
    """docs/methods.md against the closed forms, with the defaults of configs/adapter."""
    text = (ROOT / "docs/methods.md").read_text(encoding="utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ")][1:]
    found = {row[0].strip("| "): int(row[4].replace(",", "")) for row in rows}
    expected = {}
    for name in METHODS:
        options = yaml.safe_load((ROOT / f"configs/adapter/{name}.yaml").read_text())
        options.pop("defaults")
        method, config = make_config(options)
        expected[name] = method.n_params(GPT2Config(), config)
    assert found == expected


def fenced(page: Path, language: str = "") -> list[str]:
    """The blocks of code of a page that are marked as of this language, or not marked."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    return [block for marked, block in blocks if marked == language]


def commands() -> list[list[str]]:
    """The words of every line of a shell block and of every command between backticks."""
    lines = []
    for page in PAGES:
        lines += [line for block in fenced(page) for line in block.splitlines()]
        lines += re.findall(r"`((?:make|python) [^`]+)`", page.read_text(encoding="utf-8"))
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


COMMANDS = commands()


def after(word: str, words: list[str]) -> str | None:
    """What follows `word` in a command."""
    return words[words.index(word) + 1] if word in words[:-1] else None


def test_the_readme_is_short():
    assert len(PAGES[0].read_text(encoding="utf-8").splitlines()) <= 120


def test_every_target_and_every_script_in_a_command_exists():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z0-9%-]+):", makefile, re.MULTILINE))
    targets |= {f"reproduce-{table}" for table in (*TABLES, "all")}
    targets |= {f"study-{path.stem}" for path in (ROOT / "configs/study").glob("*.yaml")}
    used = {after("make", words) for words in COMMANDS} - {None}
    assert len(used) > 10 and used <= targets, used - targets
    # A phony target finds no pattern rule: make would have nothing to do for it, and not say so.
    for target in sorted(t for t in targets - {"setup"} if "%" not in t):
        done = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0 and "othing to be done" not in done.stdout, target
    scripts = {word for words in COMMANDS for word in words if word.endswith(".py")}
    missing = [name for name in scripts if not (ROOT / name).is_file()]
    assert len(scripts) > 10 and not missing
    modules = {after("-m", words) for words in COMMANDS if words[:2] == ["python", "-m"]}
    assert modules and all((ROOT / f"{m.replace('.', '/')}.py").is_file() for m in modules)


def of_tables(words: list[str]) -> list[str]:
    """The arguments of scripts/reproduce.py, the table first; none for another command."""
    if "scripts/reproduce.py" in words:
        return words[words.index("scripts/reproduce.py") + 1 :]
    target = after("make", words) or ""
    options = [word.removeprefix("ARGS=").split() for word in words if word.startswith("ARGS=")]
    return [target[len("reproduce-") :], *sum(options, [])] if target[:10] == "reproduce-" else []


TABLE_COMMANDS = {" ".join(c): c for c in map(of_tables, COMMANDS) if c}
RUN_COMMANDS = {
    " ".join(words): words
    for words in COMMANDS
    if {"scripts/train.py", "scripts/run.py"} & {*words} and "data=NAME" not in words
}


@pytest.mark.parametrize("words", TABLE_COMMANDS.values(), ids=TABLE_COMMANDS)
def test_a_table_has_the_rows_and_options_that_a_command_names(words):
    chosen = after("--rows", words)
    rows = row_names(tables_named(words[0]), chosen)
    options = [w for w in words if "=" in w and not w.startswith("hydra")]
    if options:
        assert compose_rows(rows, options)


@pytest.mark.parametrize("words", RUN_COMMANDS.values(), ids=RUN_COMMANDS)
def test_a_run_has_the_options_that_a_command_names(words):
    for combination in expand([w for w in words if "=" in w and not w.startswith("hydra")]):
        compose_config(combination)


def test_every_path_and_every_link_leads_somewhere():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", text):
            assert (page.parent / target).exists(), f"{page.name}: {target}"
        for path in re.findall(rf"`((?:{'|'.join(ROOMS)})/[\w./]+)`", text):
            assert "NAME" in path or (ROOT / path).exists(), f"{page.name}: {path}"


def test_the_readmes_example_runs():
    [example] = fenced(PAGES[0], "python")
    names: dict = {}
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(example, names)
    count = re.search(r"# ([\d,]+): the paper's 0.12M", example)[1]
    assert printed.getvalue() == f"{count}\n"
    assert names["logits"].shape == (1, 3, 50257)
