"""What pages quote from runs, written there from the runs' files.

In a page stands `<!-- quote: KIND WORDS -->what is quoted<!-- end -->`; a table or list of lines
has the two marks on lines of their own. KIND is a function of QUOTES, WORDS its arguments; a word
`./NAME` is the file of that name beside the page.
"""

import re
import tempfile
from collections.abc import Callable
from pathlib import Path

from eval import samples
from eval.markdown import table
from eval.tables import render
from eval.tables.lines import plain_rows
from solo.cli import listing, study_quotes
from solo.cli.file_quotes import figure, found, median, read
from solo.cli.tables import table_of
from solo.files import ROOT
from solo.standin.demo_data import write_demo_data

MARK = re.compile(r"<!-- quote: ([^>]*?) -->(.*?)<!-- end -->", re.DOTALL)
PAGES = (  # that quote
    "README.md", "data/backbones/standin12/README.md", "docs/scores.md", "docs/speed.md",
    "docs/speed_notes.md",
    "docs/walks.md", "results/collapse/README.md", "results/standin12/README.md",
    "results/standin12/rows.md", "results/standin12/protocol.md",
    "results/standin12_webnlg/README.md", "results/standin24/README.md",
)  # fmt: skip
DEMO = ROOT / "results/demo/kept"  # the demo's runs, packed


def rewritten(text: str, folder: Path = ROOT) -> str:
    """A page of a folder with what it quotes as the runs have it now. Raises ValueError for an
    unknown mark, or one without its end."""

    def quote(match: re.Match) -> str:
        kind, *words = match[1].split()
        if kind not in QUOTES:
            raise ValueError(f"unknown quote {match[1]!r}; known: {', '.join(QUOTES)}")
        words = [str(folder / word) if word.startswith("./") else word for word in words]
        content = QUOTES[kind](*words)
        around = "\n" if match[2].startswith("\n") else ""
        return f"<!-- quote: {match[1]} -->{around}{content}{around}<!-- end -->"

    begun, whole = text.count("<!-- quote:"), len(MARK.findall(text))
    if begun != whole:
        raise ValueError(f"{begun} quotes begin and {whole} end; each needs its <!-- end -->")
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
    rows = [
        [program, *(of_program.get(head, render.MISSING) for head in heads)]
        for program, of_program in times.items()
    ]
    head = ["program", *map(", ".join, heads)]
    return "\n".join(table(head, rows, "l" + "r" * len(heads)))


def log_table(file: str, *keys: str) -> str:
    """A line for each entry of a log that has all of the keys."""
    entries = [entry for entry in read(file) if all(key in entry for key in keys)]
    rows = [
        [f"{v:,}" if isinstance(v, int) else str(v) for v in (entry[key] for key in keys)]
        for entry in entries
    ]
    return "\n".join(table([f"`{key}`" for key in keys], rows, "r" * len(keys)))


QUOTES: dict[str, Callable[..., str]] = {
    function.__name__: function
    for function in (
        demo_table, demo_outputs, demo_listing, figure, median, step_times, log_table,
        *study_quotes.QUOTED,
    )
}  # fmt: skip
