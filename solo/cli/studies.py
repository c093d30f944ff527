"""Studies as configs/study lists them: resolved into a file, and scored."""

import functools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from eval.tables.report import write_figures, write_table
from solo import files
from solo.cli.command import CONFIGS
from solo.cli.compose import compose_values
from solo.cli.evaluate import evaluate_runs
from solo.cli.rows import compose_row
from solo.cli.tables import table_of
from solo.datasets.download import check_file
from solo.options import make
from solo.runs import carry, record
from solo.runs.config import RunConfig, data_file
from solo.runs.run import make_run, open_run
from solo.runs.study import Job, Study, write_study
from solo.standin import corpus, plain

STUDIES = Path("data/study")
SPLITS = ("train", "valid", "test")


def read_list(name: str) -> dict:
    """configs/study/NAME.yaml. Raises ValueError for an unknown one."""
    names = sorted(path.stem for path in (CONFIGS / "study").glob("*.yaml"))
    if name not in names:
        raise ValueError(f"unknown study {name!r}; known: {', '.join(names)}")
    return files.read_yaml(CONFIGS / "study" / f"{name}.yaml")


def write(name: str, overrides: Sequence[str]) -> str:
    """Resolve a study into data/study/NAME/study.json, packed with its data if it carries it."""
    listed, here = read_list(name), compose_row("standin/none", [])
    folder = STUDIES / name
    for split in SPLITS:
        check_file(data_file(here, split), here.data.sha256[split])
    shorten(data_file(here, "valid"), folder / "valid_short.txt", listed["sweep"]["valid_every"])
    study = resolve(name, overrides)
    if listed["carry"]:
        pack(folder, backbone_recipe(listed["pretrain"], []), here)
    write_study(folder / "study.json", study)
    return f"{folder / 'study.json'}: {len(study.jobs)} runs"


def resolve(name: str, overrides: Sequence[str]) -> Study:
    """The study of configs/study/NAME.yaml with every configuration resolved.

    Raises ValueError for whatever is wrong in a configuration.
    """
    listed = read_list(name)
    of_runs = [o for o in overrides if not o.startswith("pretrain.")]
    of_backbone = [o for o in overrides if o not in of_runs]
    home, carried = Path(listed["home"]), listed["carry"]
    paths = [f"corpus_dir={STUDIES / name}/corpus", f"tokenizer={STUDIES / name}/tokenizer"]
    of_backbone += [f"pretrain.{path}" for path in paths] if carried else []
    backbone = backbone_recipe(listed["pretrain"], of_backbone)
    common = [f"runs_dir={home}/runs", f"model.path={backbone['output_dir']}"]
    common += [f"data.dir={STUDIES / name}/e2e"] if carried else []
    common += [*listed["overrides"], *of_runs]

    @functools.cache
    def configuration(member: str, seed: int = 1) -> RunConfig:
        entry = listed["names"].get(member, {"row": f"standin/{member}", "overrides": []})
        config = compose_row(entry["row"], [*common, *entry["overrides"], f"seed={seed}"])
        if Path(backbone["output_dir"]).is_dir():
            make_run(config, planned=True)  # finds what is wrong with it
        return config

    jobs = [
        Job(member, group, listed["rates_of"].get(member, member), configuration(member, seed))
        for group, members in listed["groups"].items()
        for seed in members["seeds"]
        for member in members["names"]
    ]
    sweeps = {
        member: [of_sweep(configuration(member), listed, name, rate) for rate in rates]
        for member, rates in listed["rates"].items()
    }
    return Study(home, jobs, sweeps, listed["together"], carried, backbone)


def of_sweep(config: RunConfig, listed: dict, name: str, rate: float) -> RunConfig:
    """A run's configuration as one of its sweep: shorter, another rate, fewer validation lines."""
    shorter = listed["sweep"]
    steps = {"max_steps": shorter["steps"], "warmup_steps": shorter["warmup_steps"]}
    data = replace(
        config.data,
        valid_path=str(STUDIES / name / "valid_short.txt"),
        sha256=config.data.sha256 | {"valid": None},
    )
    recipe = replace(config.train, **steps, lr=rate)
    sweep_dir = f"{listed['home']}/sweep"
    return replace(config, row=None, runs_dir=sweep_dir, train=recipe, data=data)


def backbone_recipe(name: str, overrides: Sequence[str]) -> dict:
    """The recipe configs/pretrain/NAME.yaml with overrides, checked."""
    values = compose_values([f"pretrain={name}", *overrides], "pretrain_backbone")["pretrain"]
    make(plain.Recipe, values, "pretrain")
    return values


def shorten(path: Path, target: Path, every: int) -> None:
    """Write every so many-th line of a file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    files.write_text(target, "".join(lines[::every]))


def pack(folder: Path, recipe: dict, here: RunConfig) -> None:
    """Copy what pretraining and runs read, E2E's files compressed: as a whole below 64 MiB.

    recipe, here: of the backbone and of a run on this machine.
    """
    texts = corpus.find_files(recipe["corpus_dir"], recipe["train_files"] + recipe["valid_files"])
    copies = {folder / "corpus" / path.name: path for path in texts}
    vocabulary = corpus.find_files(recipe["tokenizer"], ["*.json", "*.txt"])
    copies |= {folder / "tokenizer" / path.name: path for path in vocabulary}
    for split in SPLITS:
        path = data_file(here, split)
        copies[folder / "e2e" / "lora_format" / f"{path.name}.xz"] = path
    carry.pack(copies)


def score(name: str) -> str:
    """Score every decoded run of a study and write its table and pictures; the table's text."""
    home = Path(read_list(name)["home"])
    references = compose_row("standin/none", []).evaluate
    decoded = []
    for path in sorted((home / "runs").glob("*/environment.json")):
        run = open_run(path.parent)
        if not Path(run.config.evaluate.references).is_file():  # it ran elsewhere
            run = open_run(path.parent, replace(run.config, evaluate=references))
        if record.stage_record(run.decoding, "decode"):
            decoded.append(run)
    evaluate_runs(decoded)
    table = table_of("standin", home / "runs")
    write_figures(table, home)
    return write_table(table, home)
