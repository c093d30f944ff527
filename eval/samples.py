"""Outputs of two runs side by side: where A is best and worst against B, and some at random.

  python -m eval.samples RUN_A RUN_B [--refs FILE] [--no-reference] [--out FILE]

By ROUGE-L of each MR, or chrF++ on WebNLG; ten MRs in all. Runs are directories or
packed (NAME.json).
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from solo.files import write_output

from . import bootstrap, compare, records
from .command import command, ending, parser_of, program, typed
from .formats import read_hypotheses
from .markdown import table
from .metrics import ALL
from .metrics.metric import Metric
from .metrics.slot_errors import marks, read_mr
from .metrics.statistics import Statistics
from .readers import load, places

BY = ("ROUGE_L", "chrF all")  # scores that mean something of a single segment
EACH = (3, 3, 4)  # best, worst, random
SEED = 1


def chosen(differences: np.ndarray) -> list[tuple[str, int]]:
    """(why, place) of the MRs to show, none twice: largest and smallest difference, random."""
    order = [int(i) for i in np.argsort(-differences, kind="stable")]
    best, worst, others = EACH
    picked = [("A best", i) for i in order[:best]]
    picked += [("A worst", i) for i in order[best:][::-1][:worst]]
    rest = sorted(set(order) - {i for _, i in picked})
    drawn = np.random.default_rng(SEED).permutation(len(rest))[:others]
    return picked + [("random", rest[i]) for i in sorted(drawn)]


def markdown(
    a: Path, b: Path, references: Path | None, names: Sequence[str], with_reference: bool = True
) -> str:
    """The page. ValueError if the runs have outputs for other MRs; raises what scoring raises."""
    for path in (a, b):
        if not (path.is_dir() or records.is_packed(path)):
            raise ValueError(f"{path} is no run; name a run directory, or a packed run (NAME.json)")
    sides = [compare.outputs(path, references) for path in (a, b)]
    references = references or compare.references_of(a)
    predictions = [records.predictions_of(compare.decoding_of(path)) for path in (a, b)]
    loaded = load(references, predictions, partial=None)
    texts = [_ordered(sides[0].sources, data.sources, data.hypotheses) for data in loaded]
    first = _ordered(sides[0].sources, loaded[0].sources, loaded[0].references)
    statistics = [sides[0].statistics, bootstrap.in_order(*sides).statistics]
    metric = _metric(statistics)
    alone = [
        metric.scale * metric.from_sums(rows, np.ones(len(rows)))
        for rows in (np.ascontiguousarray(of_side[metric.name]) for of_side in statistics)
    ]
    lines = [f"# Samples: {names[0]} (A) against {names[1]} (B)", ""]
    note = "; the reference is the first of several" if with_reference else ""
    lines += [f"By {metric.title} x {metric.scale} of each MR{note}.", ""]
    for why, i in chosen(alone[0] - alone[1]):
        lines += [f"**{why}**: {sides[0].sources[i]}", ""]
        lines += [f"- reference: {first[i][0]}"] if with_reference else []
        lines += [f"- A, {alone[0][i]:.1f}: {texts[0][i]}"]
        lines += [f"- B, {alone[1][i]:.1f}: {texts[1][i]}", ""]
    return "\n".join(lines)


def _metric(statistics: Sequence[Statistics]) -> Metric:
    for name in BY:
        if all(name in of_side for of_side in statistics):
            return ALL[name]
    raise ValueError(f"the two have no statistics of {' or '.join(BY)} in common; score them again")


def spaced(size: int, count: int) -> list[int]:
    """`count` places at equal distances among `size`, or all where these are fewer."""
    return list(dict.fromkeys(n * size // count for n in range(count)))


def side_by_side(decodings: Sequence[tuple[str, Path]], references: Path, count: int) -> list[str]:
    """Lines for `count` MRs at equal distances: the MR, its first reference, and each output.

    decodings: (label, decoding) of each run, all of the MRs in `references`. Raises what scoring
    raises.
    """
    loaded = load(references, [records.predictions_of(path) for _, path in decodings], partial=None)
    labels = [label for label, _ in decodings]
    sources = loaded[0].sources
    texts = [_ordered(sources, data.sources, data.hypotheses) for data in loaded]
    lines = []
    for i in spaced(len(sources), count):
        lines += [f"**{sources[i]}**", "", f"- reference: {loaded[0].references[i][0]}"]
        lines += [f"- {label}: {of_run[i]}" for label, of_run in zip(labels, texts, strict=True)]
        lines.append("")
    return lines


def outputs(decodings: Sequence[tuple[str, Path]], count: int) -> list[str]:
    """Lines for `count` MRs at equal distances: a table of each one's outputs, without a reference,
    with the slots that SER counts as missing, wrong, added or repeated.

    decodings: (label, decoding) of each run. None where outputs are kept without their MRs.
    """
    read = [read_hypotheses(records.predictions_of(path), []) for _, path in decodings]
    labels = [label for label, _ in decodings]
    sources, lines = read[0].sources, []
    texts = [_ordered(sources, of_run.sources, of_run.texts) for of_run in read]
    if records.hidden(sources):
        return []
    for i in spaced(len(sources), count):
        rows = [
            (label, of_run[i], _faults(sources[i], of_run[i]))
            for label, of_run in zip(labels, texts, strict=True)
        ]
        lines += [f"**{sources[i]}**", "", *table(("", "output", "slot errors"), rows), ""]
    return lines


def _ordered(wanted: Sequence[str], sources: Sequence[str], values: Sequence) -> list:
    """Values of MRs in the order of the wanted ones; an MR may come twice."""
    return [values[i] for i in places(wanted, sources)]


def _faults(source: str, text: str) -> str:
    """The slot errors of an output in words; empty where there is none, or the MR is not E2E's."""
    mr = read_mr(source)
    found = [mark for mark in marks(mr, text) if mark.kind != "right"] if mr else []
    return ", ".join(dict.fromkeys(f"{mark.kind}: {mark.slot}" for mark in found))


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after an error."""
    parser = parser_of("samples", __doc__)
    parser.add_argument("a", type=Path, help="run directory, or packed run")
    parser.add_argument("b", type=Path, help="the other one")
    parser.add_argument("--refs", type=Path, help="references (default: those of each run)")
    parser.add_argument("--no-reference", action="store_true", help="leave E2E's own texts out")
    parser.add_argument("--out", type=Path, help="write the page here")
    parser.add_argument("--force", action="store_true", help="replace any file there but an input")
    options = parser.parse_args(argv)
    if options.out:
        inputs = compare.files_of([options.a, options.b], options.refs)
        records.check_result("out", options.out, inputs, options.force)
    names = [run.stem if records.is_packed(run) else run.name for run in (options.a, options.b)]
    page = markdown(options.a, options.b, options.refs, names, not options.no_reference)
    if options.out:
        write_output(options.out, page)
    print(page)
    refs = ["--refs", options.refs] if options.refs else []
    following = typed(program("compare"), options.a, options.b, *refs)
    ending(filter(None, [options.out]), following)
    return 0


if __name__ == "__main__":
    sys.exit(main())
