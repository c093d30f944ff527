"""Studies as configs/study lists them: resolved into a file, and scored."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from eval import samples
from eval.report import pictures
from eval.report.scores import of_table
from eval.tables import neighbours
from eval.tables.groups import Kind, claimed, groups_of
from eval.tables.lines import Table
from eval.tables.packed import hides_mrs, lacks_scores, score_again
from eval.tables.write import page_of, write_figures, write_table
from solo import files
from solo.cli.command import say
from solo.cli.compose import check_unread, key_of
from solo.cli.evaluate import evaluate_runs
from solo.cli.rows import OF_ONE_RUN, compose_row, reported_tables
from solo.cli.study_list import ADAPTER, Group, StudyList, kinds_of, read_list, recipe_of_entry
from solo.cli.tables import table_of
from solo.datasets import source_of
from solo.datasets.download import check_file
from solo.run_files import CONFIG, ENVIRONMENT
from solo.runs import carry, record
from solo.runs.config import RunConfig, data_file
from solo.runs.rates import at_edge
from solo.runs.run import Run, make_run, read_config, read_identity
from solo.runs.study import Job, Study, write_study
from solo.triples import triple_files

STUDIES = Path("data/study")
NEIGHBOURS = "neighbours"  # of a study's home: whole runs at the rates beside the chosen ones
SPLITS = ("train", "valid", "test")
N_OUTPUTS = 10  # of each run, in outputs.md
# What tells the runs of a list apart, or where they are found.
OF_THE_LIST = {
    "seed",
    "train",
    "train.lr",
    "train.epochs",
    "runs_dir",
    "output_dir",
    "adapter",
    "together",
}
LIST_REMEDY = "a study takes it from configs/study/{}.yaml; copy that to a study of your own"


def write(name: str, overrides: Sequence[str], carried: bool = False) -> tuple[Path, int]:
    """Resolve a study into data/study/NAME/study.json, if `carried` packed with its data; returns
    that path and the number of runs. Raises ValueError for an override of what the list says."""
    keys = set(map(key_of, overrides))
    of_list = OF_THE_LIST | {key for key in keys if key.startswith(ADAPTER)}
    check_unread(overrides, OF_ONE_RUN | of_list, LIST_REMEDY.format(name))
    path, study = STUDIES / name / "study.json", resolve(name, overrides)
    if carried:
        here, study = study, resolve(name, overrides, carried)
        pack(here.configs(), study.configs())
    write_study(path, study)
    return path, len(study.jobs)


def resolve(name: str, overrides: Sequence[str], carried: bool = False) -> Study:
    """The study of configs/study/NAME.yaml with every configuration resolved.

    carried: the data is taken from the folder that `pack` fills. Raises ValueError for whatever is
    wrong in a configuration.
    """
    listed = read_list(name)
    common = [*listed.overrides, f"runs_dir={listed.home}/runs"]
    common += [f"data.dir={STUDIES / name / carry.DATA}"] if carried else []

    @functools.cache
    def configuration(member: str) -> RunConfig:
        entry = listed.names[member]
        config = compose_row(entry.row, [*common, *entry.overrides, *overrides])
        if not carried:  # whose data need not be unpacked here
            make_run(config, planned=True)  # finds what is wrong with it
        return config

    def of_sweep(member: str, rates: Sequence[float]) -> list[RunConfig]:
        entry = listed.names[member]
        own = [*entry.overrides, *listed.sweep, *overrides, f"train.lr={rates[0]}"]
        own += [f"runs_dir={listed.home}/sweep", "row=null"]
        config = compose_row(entry.row, [*common, *own])
        trains = [replace(config.train, lr=float(rate)) for rate in rates]
        return [replace(config, train=train) for train in trains]

    def of_group(group: str, entry: Group) -> Iterator[Job]:
        sides, folder = (0,), {}
        if entry.neighbours:
            sides, folder = (-1, 1), {"runs_dir": f"{listed.home}/{NEIGHBOURS}"}
        for seed, member, side in itertools.product(entry.seeds, entry.names, sides):
            config = replace(configuration(member), seed=seed, **folder)
            yield Job(member, group, listed.rates_of.get(member, member), config, side)

    jobs = [job for group, entry in listed.groups.items() for job in of_group(group, entry)]
    wanted = {job.rate_of for job in jobs} & listed.rates.keys()
    sweeps = {
        member: of_sweep(member, rates)
        for member, rates in listed.rates.items()
        if member in wanted
    }
    return Study(Path(listed.home), jobs, sweeps, carried)


def pack(here: Sequence[RunConfig], there: Sequence[RunConfig]) -> None:
    """Copy the data of runs, compressed, to where they read it when a study carries it.

    here, there: the runs' configurations with the data of this machine, and with the carried one.
    Raises ValueError, before anything is copied, for data that are not all below one data.dir.
    """
    wanted = {
        (data_file(one, split), data_file(other, split)): (one.data, split)
        for one, other in zip(here, there, strict=True)
        for split in SPLITS
    }
    copies: dict[Path, Path] = {}
    for (path, target), (data, split) in wanted.items():
        check_file(path, data.sha256.get(split), source_of(path, data.name).remedy)
        for file in triple_files(path) if path.is_dir() else [path]:
            packed = target / file.relative_to(path)
            packed = packed.with_name(f"{packed.name}.xz")
            if path == target or copies.setdefault(packed, file) != file:
                raise ValueError(
                    f"--carry packs the files of one data.dir; {path} is none of them; name a "
                    "folder that has all of them (data.dir=DIR), and no file by itself"
                )
    carry.pack(copies)


def definition(name: str) -> dict:
    """What a table's definition has, with the row to compare with, the claims and the rates."""
    listed, reported = read_list(name), reported_tables()
    kinds = kinds_of(listed)
    labels = {row["row"]: row["label"] for table in reported.values() if "rows" in table
              for row in table["rows"]}  # fmt: skip
    rows = {}
    for entry in listed.names.values():
        label = entry.label or labels[entry.row]
        rows.setdefault(entry.row, {"row": entry.row, "label": label})
    claims = [[claim.question, kinds[claim.a], kinds[claim.b]] for claim in listed.claims]
    head = {"title": listed.title, "against": listed.against, "claims": claims}
    head |= {"metrics": listed.metrics} if listed.metrics else {}
    models = [o.partition("=")[2] for o in listed.overrides if key_of(o) == "model"]
    head |= {"backbone": models[-1]} if models else {}
    head |= dict(zip(("rates", "at_edge"), _chosen_rates(listed, kinds), strict=True))
    head["recipes"] = {
        kinds[name]: recipe_of_entry(entry, listed.overrides)
        for name, entry in listed.names.items()
    }
    head["outputs"] = [kinds[name] for name in listed.outputs]
    return head | {"rows": [*rows.values()]}


def _chosen_rates(listed: StudyList, kinds: dict[str, Kind]) -> tuple[dict[Kind, float], set[Kind]]:
    """({kind: the rate that a study's sweeps chose}, the kinds where that is at an edge)."""
    chosen, edges = {}, set()
    for name, kind in kinds.items():
        of_sweep = listed.rates_of.get(name, name)
        path = files.ROOT / listed.home / "rates" / f"{of_sweep}.json"
        if not path.is_file():
            continue
        values = files.read_json(path, ["best", "valid_losses"])
        chosen[kind], tried = values["best"], [lr for lr, _ in values["valid_losses"]]
        edges |= {kind} if at_edge(values["best"], tried) else set()
    return chosen, edges


def _score_packed(folder: Path, references: Path) -> None:
    """Give the packed runs the scores that came since; without the references, or their own MRs,
    they stay as they are, which is told."""
    older = [path for path in sorted(folder.glob("*.json")) if lacks_scores(path)]
    if older and not references.exists():
        say(f"{len(older)} runs in {folder} lack newer scores; {references} is not here to score")
        return
    if hidden := [path for path in older if hides_mrs(path)]:
        say(f"{len(hidden)} runs in {folder} lack newer scores; they are kept without their MRs")
    if again := [path for path in older if path not in hidden]:
        score_again(again, references)


def score(name: str) -> tuple[str, Path]:
    """Score every decoded run of a study and write its table, pictures and, in outputs.md, what
    the compared runs say; the table's text, and where it is."""
    listed = read_list(name)
    home = Path(listed.home)
    references = compose_row(listed.against, listed.overrides).evaluate
    decoded = []
    folders = [home / "runs", home / NEIGHBOURS]
    for path in [path for folder in folders for path in sorted(folder.glob(f"*/{ENVIRONMENT}"))]:
        config, directory = read_config(path.parent / CONFIG), path.parent
        if not Path(config.evaluate.references).exists():  # it ran elsewhere
            config = replace(config, evaluate=references)
        # its weights may have stayed there, and its data's files, whose checksums are known
        run = Run(config, read_identity(directory), directory, planned=True)
        if record.stage_record(run.decoding, "decode"):
            decoded.append(run)
    evaluate_runs(decoded)
    for folder in folders:
        _score_packed(folder, Path(references.references))
    table = table_of(name, home / "runs", definition(name))
    for line in claims_left_out(listed, table):
        say(line)
    write_figures(table, home)
    _write_pictures(table, home)
    if page := outputs_page(table):
        files.write_output(home / "outputs.md", page)
    if (home / NEIGHBOURS).is_dir():
        beside = table_of(name, home / NEIGHBOURS, definition(name))
        files.write_output(home / f"{NEIGHBOURS}.md", neighbours.markdown(table, beside))
    return write_table(table, home), page_of(table, home)


def claims_left_out(listed: StudyList, table: Table) -> list[str]:
    """A line for each claim of a study's list that its page has to leave out."""
    groups, kinds, lines = groups_of(table), kinds_of(listed), []
    there, answers = {group.kind for group in groups}, claimed(table, groups)
    for claim, (question, _, words) in zip(listed.claims, answers, strict=True):
        missing = [name for name in (claim.a, claim.b) if kinds[name] not in there]
        if missing:  # which are better known by their names in the list
            names = " and ".join(dict.fromkeys(missing))
            words = f"no run in {listed.home}/runs is of {names}"
        lines += [f"the claim {question!r} is left out: {words}"] if words else []
    return lines


def _write_pictures(table: Table, home: Path) -> None:
    """The report's: of scores over parameters (NAME-SCORE.svg), of rates (NAME-rates.svg)."""
    scores = of_table(table)
    drawn = [*pictures.of_table(scores), *pictures.of_rates([home / "rates"], [scores])]
    for picture in drawn:
        files.write_output(home / f"{picture.name}.svg", picture.paper.decode())


def outputs_page(table: Table) -> str:
    """Outputs of the methods that a study lists for it; empty where their MRs are not kept."""
    shown = table.definition["outputs"]
    groups = sorted(
        (group for group in groups_of(table) if group.kind in shown),
        key=lambda group: shown.index(group.kind),
    )
    decodings = [(group.label, group.runs[0].decoding) for group in groups]
    lines = samples.outputs(decodings, N_OUTPUTS) if groups else []
    title = f"# What they say: {table.definition['title']}"
    number = sum(line.startswith("**") for line in lines)
    note = f"To {number} MRs of the test set, at equal distances; of each method its first seed."
    return "\n".join([title, "", note, "", *lines]) if lines else ""
