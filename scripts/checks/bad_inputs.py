"""Inputs that must be refused in one line, for the torture script: damaged files, wrong options."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from scripts.checks import refusals
from scripts.checks.tiny import World, made

OPTIONS = """
data.train_path=nowhere data.valid_path=/dev/null data.test_path=null data.sha256=x
data.sha256.train=abc data.name=e2e_raw data.dir=nowhere evaluate.references=nowhere
model.path=nowhere model.path=/dev/null model.path=null model.path=a/b/c model.path=data/demo
adapter.rank=999999999 adapter.span=99 adapter.start=99 adapter=nope train.batch_size=99999999999
decode.max_new_tokens=160 decode.batch_size=99999999999 runs_dir=/dev/null/x output_dir=/dev/null
output_dir=scripts output_dir=README.md +train.foo=1 seed=1.5 nope
""".split()  # after the command line of a training that would succeed
DAMAGES: dict[str, bytes | None] = {  # what a file holds instead; None: it is a folder
    "empty": b"", "garbage": bytes(range(256)) * 4, "null": b"null", "a list": b"[1, 2]",
    "an object": b"{}", "cut short": b"", "a folder": None, "deep": b"[" * 100_000,
}  # fmt: skip
SCORES = [  # references, hypotheses, further arguments
    ("nowhere", "data/testset_w_refs.csv", ""), ("data/testset_w_refs.csv", "nowhere", ""),
    ("data", "predictions.tsv", ""), ("data/lora_format/test.txt", "data", ""),
    ("/dev/null", "predictions.tsv", ""), ("data/lora_format/test.txt", "/dev/null", ""),
    ("data/lora_format/train.txt", "predictions.tsv", ""),
    ("data/lora_format/test.txt", "backbone/model.safetensors", ""),
    ("backbone/model.safetensors", "predictions.tsv", ""),
    ("data/lora_format/test.txt", "predictions.tsv", "--json /dev/full"),
    ("data/lora_format/test.txt", "predictions.tsv", "--json data/lora_format/test.txt"),
    ("data/lora_format/test.txt", "predictions.tsv", "--json predictions.tsv"),
    ("data/lora_format/test.txt", "predictions.tsv", "--segments predictions.tsv"),
    ("data/lora_format/test.txt", "predictions.tsv", "--json data/trainset.csv"),
    ("data/lora_format/test.txt", "predictions.tsv", "--json nowhere/scores.json"),
    ("data/lora_format/test.txt", "predictions.tsv", "--nope"),
    ("data/lora_format/test.txt", "predictions.tsv", "--refs-format nope"),
]  # fmt: skip


# What a run writes anew when it goes on, whatever comes of that.
REWRITTEN = ("run/config.yaml", "run/identity.json", "run/train_log.jsonl")


@dataclass(frozen=True)
class Bad:
    """A command that must be refused. damage: what is done to the files in world.work before. text:
    of the line that it gives; empty: any error."""

    what: str
    script: str
    arguments: list[str]
    damage: Callable[[], None] = lambda: None
    text: str = ""


def damaged(path: Path, kind: str) -> None:
    content = DAMAGES[kind]
    if kind == "cut short":
        content = path.read_bytes()[: path.stat().st_size // 2]
    path.unlink()
    if content is None:
        path.mkdir()
    else:
        path.write_bytes(content)


def lay_out(world: World, finished: Path) -> None:
    """A finished run, its data and its backbone in world.work, where they may be damaged."""
    shutil.rmtree(world.work)
    world.work.mkdir()
    for name in ("data", "backbone"):
        shutil.copytree(world.folder / name, world.work / name)
    shutil.copytree(finished, world.work / "run")
    config = world.work / "run" / "config.yaml"
    text = config.read_text()
    for name in ("data", "backbone"):
        text = text.replace(str(world.folder / name), str(world.work / name))
    config.write_text(text)
    [predictions] = finished.glob("decode/*/predictions.tsv")
    shutil.copy(predictions, world.work / "predictions.tsv")


def bad_inputs(world: World, finished: Path) -> Iterator[Bad]:
    """The list."""
    work, run = world.work, world.work / "run"
    train = [
        "data=demo", f"data.dir={work}/data", f"model.path={work}/backbone",
        "adapter.rank=4", "adapter.start=1", "train.batch_size=4", "train.epochs=2",
        "train.warmup_steps=1", "train.log_every=1", "train.save_every=2", "decode.beam=2",
        "decode.max_new_tokens=5", f"runs_dir={work}/runs", "adapter.sparsity=0",
    ]  # fmt: skip
    for option in OPTIONS:
        yield Bad(option, "scripts/run.py", [*train, option])
    [decoding] = (path.name for path in (finished / "decode").iterdir())
    train = ["scripts/run.py", *train]
    decode = ["scripts/decode.py", f"run={run}", "decode.beam=3"]
    evaluate = ["scripts/evaluate.py", f"run={run}"]
    files = {
        "run/config.yaml": decode, "run/identity.json": decode, "run/environment.json": decode,
        "run/adapter.json": decode, "run/adapter.safetensors": decode,
        f"run/decode/{decoding}/predictions.tsv": evaluate,
        f"run/decode/{decoding}/environment.json": evaluate,
        f"run/decode/{decoding}/metrics.json": evaluate,
        "run/train_log.jsonl": ["scripts/tune.py", "--runs", str(work)],
        "data/lora_format/train.txt": train, "data/lora_format/valid.txt": train,
        "data/lora_format/test.txt": decode, "backbone/config.json": train,
        "backbone/model.safetensors": train, "backbone/tokenizer.json": train,
    }  # fmt: skip
    for name, (script, *arguments) in files.items():
        for kind in DAMAGES:
            yield Bad(f"{name} {kind}", script, arguments, partial(damaged, work / name, kind))
    for name in ("config.yaml", "identity.json", "environment.json", "train_log.jsonl"):
        for kind in DAMAGES:
            table = ["demo", "--runs", str(work), "--out", str(work / "out")]
            damage = partial(damaged, run / name, kind)
            yield Bad(f"table of {name} {kind}", "scripts/tables.py", table, damage)
    for kind in DAMAGES:
        state = [*train[1:], f"output_dir={run}"]
        yield Bad(f"state {kind}", "scripts/train.py", state, partial(_interrupted, run, kind))
    for references, hypotheses, more in SCORES:
        files = ["--refs", str(work / references), "--hyps", str(work / hypotheses)]
        options = [part if part[0] == "-" else str(work / part) for part in more.split()]
        yield Bad(f"score {references} {hypotheses} {more}", "eval.score", [*files, *options])
    for output in ("/dev/null", work / "data/lora_format/test.txt", work / "run/config.yaml", work):
        yield Bad(f"decode to {output}", decode[0], [*decode[1:], f"decode.output={output}"])
    for script, arguments, text in refusals.cases():
        yield Bad(" ".join([script, *arguments]), script, arguments, text=text)


def _interrupted(run: Path, kind: str) -> None:
    (run / "environment.json").unlink()
    state = run / "training_state.safetensors"
    shutil.copy(run / "adapter.safetensors", state)
    damaged(state, kind)


def feed(world: World, counts, start, wait, short: bool) -> None:
    """Give the bad inputs to the program, one by one."""
    finished = made(world, "decoded" if short else "done").directory
    output = world.folder / "output.txt"
    lay_out(world, finished)
    chosen = list(bad_inputs(world, finished))[:: 60 if short else 1]
    for number, bad in enumerate(chosen):
        if number % 50 == 0:
            counts.show(f"bad inputs, {number} of {len(chosen)}")
        lay_out(world, finished)
        bad.damage()
        before = _bytes(world.work)
        output.write_bytes(b"")
        code = wait(start(partial(refusals.execute, bad.script, bad.arguments), output))
        text = output.read_text(errors="replace")
        counts["bad inputs"] += 1
        counts["bad inputs taken"] += code == 0
        counts.ended(bad.what, code, text, (0, 1, 2))
        if bad.text and (wrong := refusals.wrong(code, text, bad.text)):
            counts.fault("other refusals", f"{bad.what}: {wrong}")
        elif code and not any(word in text for word in ("error: ", "left out")):
            counts.fault("tracebacks", f"{bad.what}: exit code {code}", text)
        after = _bytes(world.work)
        changed = [name for name in before if after.get(name) != before[name]]
        if code and (changed := [name for name in changed if not name.endswith(REWRITTEN)]):
            counts.fault("differing results", f"{bad.what}: {', '.join(changed)}", text)
        if left := [name for name in after if name.rpartition("/")[2].startswith(".tmp")]:
            counts.fault("leftovers", f"{bad.what}: {', '.join(left)}")


def _bytes(folder: Path) -> dict[str, bytes]:
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".lock"]
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}
