"""What pages quote from runs, written there from the runs' files.

In a page stands `<!-- quote: KIND WORDS -->what is quoted<!-- end -->`; a table or list of lines
has the two marks on lines of their own. KIND is a function of QUOTES, WORDS its arguments.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from eval import compare, records, samples
from eval.metrics import ALL
from eval.tables import render
from eval.tables.lines import lines_of, plain_rows
from eval.tables.runs import Run
from eval.tables.study import names_right
from solo.cli.studies import definition, read_list
from solo.cli.tables import table_of
from solo.files import ROOT, read_json
from solo.standin.demo_data import write_demo_data

MARK = re.compile(r"<!-- quote: ([^>]*?) -->(.*?)<!-- end -->", re.DOTALL)
PAGES = ("README.md", "results/standin12/README.md")  # that quote
DEMO = ROOT / "results/demo/kept"  # the demo's runs, packed
STUDY = "standin12"


def rewritten(text: str) -> str:
    """A page with what it quotes as the runs have it now. Raises ValueError for an unknown mark."""

    def quote(match: re.Match) -> str:
        kind, *words = match[1].split()
        if kind not in QUOTES:
            raise ValueError(f"unknown quote {match[1]!r}; known: {', '.join(QUOTES)}")
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


def study_table() -> str:
    """A line for each run of the study with its scores, names and validation loss."""
    names = [name for name in ALL if name not in ("chrF",)]
    lines, seen = [], {}
    for line in lines_of(table_of(STUDY, _home() / "runs", definition(STUDY))):
        for run in line.runs:
            seen.setdefault(run.name, (line.row["label"], run))
    metrics = [ALL[n] for n in names if all(n in run.scores for _, run in seen.values())]
    heads = ["stand-in", "trainable", "rate", *(m.head for m in metrics), "names right"]
    lines = [render.row_of([*heads, "validation loss"]), "|---|" + "---:|" * (len(heads))]
    for label, run in sorted(seen.values(), key=lambda pair: -pair[1].scores["BLEU"]):
        losses = [e["valid_loss"] for e in records.read_log(run.directory) if "valid_loss" in e]
        rate = f"{run.lr:g}" if run.n_params else render.MISSING
        cells = [label, f"{run.n_params:,}", rate]
        cells += [metric.shown(run.scores[metric.name]) for metric in metrics]
        lines.append(render.row_of([*cells, names_right([run]), f"{losses[-1]:.3f}"]))
    return "\n".join(lines)


def study_rates() -> str:
    """The validation losses of the study's sweeps, the best in bold."""
    lines = ["| sweep | rates and losses |", "|---|---|"]
    for path in sorted((_home() / "rates").glob("*.json")):
        values = read_json(path, ["best", "valid_losses"])
        cells = [
            f"{'**' * (lr == values['best'])}{lr:g} {'diverged' if loss is None else f'{loss:.3f}'}"
            f"{'**' * (lr == values['best'])}"
            for lr, loss in values["valid_losses"]
        ]
        lines.append(f"| {path.stem} | {', '.join(cells)} |")
    return "\n".join(lines)


def score(method: str, metric: str, digits: str = "1") -> str:
    """A score of the study's run of a method, as tables scale it."""
    value = records.read_scores(_run(method))[metric] * ALL[metric].scale
    return f"{value:.{digits}f}"


def lead(first: str, second: str) -> str:
    """By how much BLEU of one run is above that of another, with the interval over the test MRs."""
    sides = [compare.kept(_run(method)) for method in (first, second)]
    found = compare.compare(*sides)["BLEU"]
    middle, low, high = (100 * value for value in (found.a - found.b, found.low, found.high))
    return f"{middle:.1f} (95 % interval over the test MRs {low:.1f} to {high:.1f})"


def slots(method: str, what: str, form: str = "count") -> str:
    """How many slot values of the test MRs a run has missing or wrong (form: count, or percent of
    all), or how many of its outputs have every slot right."""
    counts = records.read(_run(method), records.SCORES)["details"]["slot_counts"]
    share = 100 * counts[what] / counts["slots"]
    return f"{counts[what]:,}" if form == "count" else f"{share:.1f} %"


def names(method: str) -> str:
    """The share of a run's outputs that have the MR's name."""
    [run] = [run for run in _runs() if run.directory == _run(method)]
    return names_right([run])


def lambdas(method: str) -> str:
    """The lowest and the highest lambda that a run ended with."""
    log = [e for e in records.read_log(_run(method)) if any("lambda" in key for key in e)]
    values = [value for key, value in log[-1].items() if key.startswith("lambda")]
    return f"{min(values):.2f} to {max(values):.2f}"


def _home() -> Path:
    return ROOT / "results" / STUDY


def _runs() -> list[Run]:
    return table_of(STUDY, _home() / "runs", definition(STUDY)).runs


def _run(name: str) -> Path:
    """The packed run of a name of the study. Raises ValueError unless there is one."""
    row = read_list(STUDY)["names"][name]["row"]
    found = [run.directory for run in _runs() if row in run.rows]
    if len(found) != 1:
        raise ValueError(f"{_home()}/runs has {len(found)} runs of {name}; a quote needs one")
    return found[0]


QUOTES: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        demo_table, demo_outputs, study_table, study_rates, score, lead, slots, names, lambdas,
    )
}  # fmt: skip
