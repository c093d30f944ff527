"""What pages quote from runs, written there from the runs' files.

In a page stands `<!-- quote: KIND WORDS -->what is quoted<!-- end -->`; a table or list of lines
has the two marks on lines of their own. KIND is a function of QUOTES, WORDS its arguments; a word
`./NAME` is the file of that name beside the page.
"""

import functools
import math
import re
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import fmean, stdev
from statistics import median as middle

from eval import compare, records, samples
from eval.claims import hierarchical
from eval.metrics import ALL
from eval.tables import render
from eval.tables.lines import Table, plain_rows
from eval.tables.runs import Run
from eval.tables.study import Group, alike, groups_of, names_right
from solo.cli import listing
from solo.cli.file_figures import figure, found, median, read
from solo.cli.studies import definition, kind_of_entry, read_list
from solo.cli.tables import table_of
from solo.files import ROOT, read_json
from solo.standin.demo_data import write_demo_data

MARK = re.compile(r"<!-- quote: ([^>]*?) -->(.*?)<!-- end -->", re.DOTALL)
PAGES = (  # that quote
    "README.md", "data/backbones/standin12/README.md", "docs/scores.md", "docs/speed.md",
    "docs/walks.md", "results/collapse/README.md", "results/standin12/README.md",
    "results/standin12/protocol.md", "results/standin12_webnlg/README.md",
)  # fmt: skip
DEMO = ROOT / "results/demo/kept"  # the demo's runs, packed
STUDY = "standin12"  # of a run, unless its name is STUDY/NAME


def rewritten(text: str, folder: Path = ROOT) -> str:
    """A page of a folder with what it quotes as the runs have it now. Raises ValueError for an
    unknown mark."""

    def quote(match: re.Match) -> str:
        kind, *words = match[1].split()
        if kind not in QUOTES:
            raise ValueError(f"unknown quote {match[1]!r}; known: {', '.join(QUOTES)}")
        words = [str(folder / word) if word.startswith("./") else word for word in words]
        content = QUOTES[kind](*words)
        around = "\n" if match[2].startswith("\n") else ""
        return f"<!-- quote: {match[1]} -->{around}{content}{around}<!-- end -->"

    return MARK.sub(quote, text)


def demo_table() -> str:
    """The demo's table."""
    page = render.plain_markdown(table_of("demo", DEMO)).split("\n## ")[0]
    return "\n".join(line for line in page.splitlines() if line.startswith("|"))


def demo_outputs(place: str) -> str:
    """The MR at a place among the demo's test MRs, its reference and each row's output."""
    with tempfile.TemporaryDirectory() as folder:
        write_demo_data(Path(folder))
        decodings = [
            (row["label"], runs[0].decoding) for row, runs, _ in plain_rows(table_of("demo", DEMO))
        ]
        references = Path(folder) / "lora_format/test.txt"
        lines = samples.side_by_side(decodings, references, 3)
    starts = [k for k, line in enumerate(lines) if line.startswith("**")] + [len(lines)]
    block = lines[starts[int(place)] : starts[int(place) + 1]]
    return "\n".join(f"> {line}".rstrip() for line in "\n".join(block).strip().split("\n"))


def demo_listing() -> str:
    """The command that lists the demo's runs, and what it says of the best of them."""
    frame = listing.chosen(listing.read_folder(DEMO)[0], [], "BLEU")
    best = listing.rendered(frame, ["settings"]).splitlines()[:5]
    following = f"next: python -m eval.compare {' '.join(frame['directory'][:2])}"
    lines = "\n".join([*best, "[...]", following])
    lines = lines.replace("/kept/", "/runs/").replace(".json", "")  # as they are, unpacked
    return f"```\n$ python scripts/runs.py results/demo/runs --sort BLEU\n{lines}\n```"


def step_times(file: str) -> str:
    """Milliseconds of a training step in a benchmark's file: a line for each program."""
    entries = found(read(file), ["train", "found"])
    heads = {(entry["backbone"], entry["precision"]): None for entry in entries}
    times: dict[str, dict] = {}
    for entry in entries:
        of_program = times.setdefault(entry["program"], {})
        of_program[entry["backbone"], entry["precision"]] = f"{1000 * entry['s_per_step'][0]:.1f}"
    lines = [render.row_of(["program", *map(", ".join, heads)]), "|---|" + "---:|" * len(heads)]
    for program, of_program in times.items():
        cells = [of_program.get(head, render.MISSING) for head in heads]
        lines.append(render.row_of([program, *cells]))
    return "\n".join(lines)


def log_table(file: str, *keys: str) -> str:
    """A line for each entry of a log that has all of the keys."""
    entries = [entry for entry in read(file) if all(key in entry for key in keys)]
    lines = [render.row_of([f"`{key}`" for key in keys]), "|---:" * len(keys) + "|"]
    for entry in entries:
        values = (entry[key] for key in keys)
        lines.append(render.row_of([f"{v:,}" if isinstance(v, int) else str(v) for v in values]))
    return "\n".join(lines)


def study_table(study: str = STUDY, *shown: str) -> str:
    """A line for each method of a study with its scores, names and validation loss, their means
    over its seeds.

    shown: names of metrics, `_` for a space; without any all that every run has but chrF.
    """
    groups = groups_of(_table(study))
    runs = [run for group in groups for run in group.runs]
    names = [*map(_metric, shown)] or [name for name in ALL if name != "chrF"]
    metrics = [ALL[name] for name in names if all(name in run.scores for run in runs)]
    named = any(names_right([run]) != render.MISSING for run in runs)
    heads = ["stand-in", "trainable", "rate", "seeds", *(m.head for m in metrics), "names right"]
    heads = [*heads[: None if named else -1], "validation loss"]
    lines = [render.row_of(heads), "|---|" + "---:|" * (len(heads) - 1)]
    for group in sorted(groups, key=lambda group: -_mean(group, metrics[0].name)):
        size, n_runs = group.runs[0].n_params, len(group.runs)
        cells = [group.label, f"{size:,}", f"{group.runs[0].lr:g}" if size else render.MISSING]
        cells += [str(n_runs), *(m.shown(_mean(group, m.name)) for m in metrics)]
        if n_runs > 1:
            cells[4] += (
                f" ± {metrics[0].shown(stdev(r.scores[metrics[0].name] for r in group.runs))}"
            )
        cells += [names_right(group.runs)] if named else []
        losses = fmean(_last_loss(run) for run in group.runs)
        lines.append(render.row_of([*cells, f"{losses:.3f}"]))
    return "\n".join(lines)


def _mean(group: Group, metric: str) -> float:
    return fmean(run.scores[metric] for run in group.runs)


def _last_loss(run: Run) -> float:
    return [e["valid_loss"] for e in records.read_log(run.directory) if "valid_loss" in e][-1]


def study_rates(study: str = STUDY) -> str:
    """The validation losses of a study's sweeps, the best in bold."""
    lines = ["| sweep | rates and losses |", "|---|---|"]
    for path in sorted((_home(study) / "rates").glob("*.json")):
        values = read_json(path, ["best", "valid_losses"])
        cells = [
            f"{'**' * (lr == values['best'])}{lr:g} {'diverged' if loss is None else f'{loss:.3f}'}"
            f"{'**' * (lr == values['best'])}"
            for lr, loss in values["valid_losses"]
        ]
        lines.append(f"| {path.stem} | {', '.join(cells)} |")
    return "\n".join(lines)


def hours(study: str = STUDY) -> str:
    """How many whole runs a study has, and what training and decoding took, as recorded."""
    spent = []
    for run in (run for group in groups_of(_table(study)) for run in group.runs if run.n_params):
        stages = {"train": run.directory, "decode": run.decoding}
        records_of = {stage: records.read(stages[stage], records.ENVIRONMENT) for stage in stages}
        spent.append(sum(records_of[stage][stage]["seconds"] for stage in stages) / 3600)
    minutes = " to ".join(f"{60 * end:.0f}" for end in (min(spent), max(spent)))
    return (
        f"{len(spent)} whole runs in {sum(spent):.1f} hours of one core, {minutes} minutes each "
        f"(median {60 * middle(spent):.0f})"
    )


def score(method: str, metric: str, digits: str = "1") -> str:
    """The mean of a score over a method's seeds, as tables scale it; `_` in it for a space."""
    metric = _metric(metric)
    return f"{_mean(_group(method), metric) * ALL[metric].scale:.{digits}f}"


def extent(method: str, metric: str, digits: str = "1") -> str:
    """The lowest and the highest of a score over a method's seeds."""
    values = [run.scores[_metric(metric)] for run in _group(method).runs]
    ends = (ALL[_metric(metric)].scale * end for end in (min(values), max(values)))
    return " to ".join(f"{end:.{digits}f}" for end in ends)


def lead(first: str, second: str, metric: str = "BLEU") -> str:
    """By how much one method's mean score is above another's over the seeds that both have, with
    its interval over test MRs and, where there are several, seeds: that of the study's table if it
    has a claim about the two."""
    name, groups = _metric(metric), [_group(method) for method in (first, second)]
    runs = alike(*(group.runs for group in groups))
    a, b = (ALL[name].scale * fmean(run.scores[name] for run in side) for side in runs)
    study, _ = _study_and_name(first)
    ends = _interval_claimed(study, [group.label for group in groups], name)
    if ends is None:
        sides = [[compare.kept(run.decoding) for run in side] for side in runs]
        found = hierarchical(*sides, samples=2000)[name]
        ends = ALL[name].scale * found.low, ALL[name].scale * found.high
    over = "seeds and test MRs" if len(runs[0]) > 1 else "the test MRs, one seed"
    return f"{a - b:.1f} (95 % interval over {over}: {ends[0]:.1f} to {ends[1]:.1f})"


def _interval_claimed(study: str, labels: list[str], metric: str) -> tuple[float, float] | None:
    """The interval of the difference of two rows, of the claims in a study's table.md."""
    page = (_home(study) / "table.md").read_text(encoding="utf-8")
    _, found, claims = page.partition("\n## Claims\n")
    lines = [line for line in claims.split("\n## ")[0].splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    if not found or cells[0][3] != metric:
        return None
    for _, difference, _, _, interval, *_ in cells[2:]:
        low, high = (float(end.replace("\N{MINUS SIGN}", "-")) for end in interval.split(" to "))
        if difference == " - ".join(labels):
            return low, high
        if difference == " - ".join(reversed(labels)):
            return -high, -low
    return None


def slots(method: str, what: str, form: str = "count") -> str:
    """How many slot values of the test MRs a method's runs have missing or wrong, all seeds
    together (form: count, or percent of all), or what share of their outputs has every slot right
    (what: right)."""
    found = [records.read(run.directory, records.SCORES)["details"] for run in _group(method).runs]
    count = sum(details["slot_counts"][what] for details in found)
    of_all = [d["n_segments"] if what == "right" else d["slot_counts"]["slots"] for d in found]
    return f"{count:,}" if form == "count" else f"{100 * count / sum(of_all):.1f} %"


def brevity(method: str, what: str) -> str:
    """The lowest and the highest over a method's seeds: words of an output (what: words), as BLEU
    counts them, or BLEU without its penalty for short outputs (what: precision)."""
    values = []
    for run in _group(method).runs:
        counts = compare.kept(run.decoding).statistics["BLEU"]
        length, closest = counts[:, 0].sum(), counts[:, 1].sum()  # eval/metrics/bleu.py
        penalty = min(1.0, math.exp(1 - closest / length))
        values.append(
            length / len(counts) if what == "words" else 100 * run.scores["BLEU"] / penalty
        )
    return " to ".join(sorted({f"{end:.1f}" for end in (min(values), max(values))}, key=float))


def names(method: str) -> str:
    """The share of outputs that have the MR's name, of all seeds."""
    return names_right(_group(method).runs)


def lambdas(method: str) -> str:
    """The lowest and the highest lambda that a method's runs ended with."""
    values = []
    for run in _group(method).runs:
        log = [e for e in records.read_log(run.directory) if any("lambda" in key for key in e)]
        values += [value for key, value in log[-1].items() if key.startswith("lambda")]
    return f"{min(values):.2g} to {max(values):.2g}"


def _metric(word: str) -> str:
    """A metric's name; in a quote `_` stands for its space."""
    return word if word in ALL else word.replace("_", " ")


def _home(study: str) -> Path:
    return ROOT / "results" / study


@functools.cache  # a page asks for it dozens of times
def _table(study: str) -> Table:
    return table_of(study, _home(study) / "runs", definition(study))


def _study_and_name(name: str) -> tuple[str, str]:
    study, _, member = name.rpartition("/")
    return study or STUDY, member


def _group(name: str) -> Group:
    """The runs of a name of a study. ValueError unless there are some."""
    study, member = _study_and_name(name)
    kind = kind_of_entry(read_list(study)["names"][member])
    found = [group for group in groups_of(_table(study)) if group.kind == kind]
    if not found:
        raise ValueError(f"{_home(study)}/runs has no run of {member}; a quote needs one")
    return found[0]


QUOTES: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        demo_table, demo_outputs, demo_listing, study_table, study_rates, hours, score, extent,
        lead, slots, brevity, names, lambdas, figure, median, step_times, log_table,
    )
}  # fmt: skip
