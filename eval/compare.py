"""Is the difference between two runs real? Paired bootstrap over the test MRs (Koehn 2004).

  python -m eval.compare RUN_A RUN_B

Segments are drawn with replacement, the same ones for both runs, and both are scored on each
sample, by every metric that both have. Printed: each score, the difference A - B with its 95 %
interval (percentiles), and the two-sided p-value, twice the share of samples in which the
difference has the other sign or is 0.
"""

import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from solo.files import write_output
from solo.rows import DATA_DIRS
from solo.run_files import CONFIG, ENVIRONMENT, PREDICTIONS, STATISTICS
from solo.triples import content_sha256

from . import records
from .bootstrap import SAMPLES, SEED, Outputs
from .claims import Difference, compare
from .command import at_least, command, ending, parser_of, program, typed
from .formats import read_hypotheses
from .markdown import table
from .metrics import ALL, SETS
from .metrics.statistics import Statistics, read, save, usable
from .readers import load
from .score import score_files

FEW = 30  # MRs
FEW_MRS = (
    f"with fewer than {FEW} MRs the bootstrap finds too much: intervals are too narrow and p too "
    "small (of two equal systems 8 in 100 differ at p = 0.05 with 10 MRs, 16 with 5, all with one)"
)


def outputs(
    run: Path,
    references: Path | None = None,
    partial: bool | None = None,
    metrics: str | None = None,
) -> Outputs:
    """Statistics of a run, packed or not, or of a file of hypotheses if `references` are given.

    A run's references are those of its configuration. The statistics of a run directory by them are
    written beside its predictions, where that is possible, and read from there the next time, if
    neither file has changed. partial, metrics: see :func:`eval.score.score_files`; with either the
    run is scored anew, and nothing is written.
    Raises FileNotFoundError or ValueError, and what scoring raises.
    """
    run = decoding_of(run)
    is_run, predictions = _hypotheses(run)
    if not predictions.is_file():
        raise FileNotFoundError(f"{predictions} does not exist; decode this run first")
    own = references is None
    references = references_of(run) if own else references
    as_evaluated = not partial and metrics is None
    if own and not references.exists() and records.is_packed(run) and as_evaluated:
        left = records.read(run, ENVIRONMENT)["evaluate"]["inputs"][PREDICTIONS]
        if left == content_sha256(predictions) and (scored := kept(run)):
            return scored  # its data lie elsewhere here, and are not needed
    if not references.exists():
        raise FileNotFoundError(f"{references} does not exist; run `make data`, or set --refs")
    sums = [content_sha256(path) for path in (predictions, references)]
    inputs = dict(zip(("predictions", "references"), sums, strict=True))
    scored = _read_statistics(run, inputs) if is_run and as_evaluated else None
    if scored is None:
        (result,) = score_files(references, [predictions], partial=partial, metrics=metrics)
        for note in result.scores["details"]["notes"] if not is_run else ():
            print(f"note: {note}", file=sys.stderr)
        scored = result.statistics, result.sources
        if run.is_dir() and own and as_evaluated:
            with suppress(OSError):  # it is there to save time
                if _evaluated_with(run, sums):
                    save(run / STATISTICS, *scored, inputs)
                else:
                    note = f"{run} was evaluated with other references than {references}"
                    print(f"note: {note}, with which it is compared", file=sys.stderr)
    return Outputs(str(run), *scored, inputs["references"])


def _hypotheses(run: Path) -> tuple[bool, Path]:
    """Whether it is a run, and its predictions; or the file of hypotheses itself."""
    is_run = run.is_dir() or records.holds_run(run)
    return is_run, records.predictions_of(run) if is_run else run


def _evaluated_with(run: Path, sums: list[str]) -> bool:
    """Whether a decoding was evaluated on files of these checksums, if at all."""
    recorded = (run / ENVIRONMENT).is_file()
    entry = records.read(run, ENVIRONMENT).get("evaluate", {}) if recorded else {}
    return sorted(entry.get("inputs", {}).values()) in ([], sorted(sums))


def files_of(runs: Sequence[Path], references: Path | None) -> list[Path]:
    """What a command on runs, or files of hypotheses, reads, which it must not replace."""
    found = [*runs, *([references] if references else [])]
    for run in runs:
        with suppress(OSError, ValueError, LookupError, TypeError):
            if run.is_dir() or records.is_packed(run):
                found += [records.predictions_of(decoding_of(run)), references_of(run)]
    return found


def decoding_of(run: Path) -> Path:
    """Where a run's predictions are: in its directory, or in the one that decode/ holds.

    A file is given back as it is. Raises ValueError if decode/ holds several: name one of them.
    """
    run = Path(run)
    decodings = records.decodings(run)
    if not decodings:
        return run
    if len(decodings) > 1:
        raise ValueError(
            f"{run} was decoded several times; name one: {', '.join(map(str, decodings))}"
        )
    return decodings[0]


def references_of(run: Path) -> Path:
    """The references that a run's configuration names; where that file is not there, the one in the
    folder that an environment variable names for such data.

    Raises FileNotFoundError where there is no run, ValueError for one that names none.
    """
    run = Path(run)
    for home in (run, run.parent.parent):  # of DIR/decode/HASH
        if records.is_packed(run) or (run.is_dir() and (home / CONFIG).is_file()):
            config = records.read(home, CONFIG)
            if "evaluate" not in config:
                raise ValueError(f"{home} names no references; name them with --refs")
            return _at_hand(Path(config["evaluate"]["references"]), config.get("data", {}))
    raise FileNotFoundError(f"{run} is no run directory; name its references with --refs")


def _at_hand(path: Path, data: dict) -> Path:
    folder = os.environ.get(DATA_DIRS.get(data.get("name"), ""))
    if path.exists() or not folder or not path.is_relative_to(data["dir"]):
        return path
    return Path(folder) / path.relative_to(data["dir"])


def kept(run: Path) -> Outputs | None:
    """Statistics that evaluation left of a run's predictions, None without; starts nothing."""
    run = decoding_of(run)
    inputs = dict(records.read(run, ENVIRONMENT)["evaluate"]["inputs"])
    predictions = inputs.pop(PREDICTIONS)
    [references] = inputs.values()
    scored = _read_statistics(run, {"predictions": predictions, "references": references})
    return Outputs(run.name, *scored, references) if scored else None


def _read_statistics(run: Path, inputs: dict[str, str]) -> tuple[Statistics, list[str]] | None:
    """(statistics, MRs) of a packed run or of a decoding's directory, None if not of `inputs`.

    A packed run's MRs are those of its predictions, in that order.
    """
    if not records.is_packed(run):
        return read(run / STATISTICS, inputs)
    sources = read_hypotheses(records.predictions_of(run), []).sources
    return usable(records.read(run, STATISTICS) | {"sources": sources}, inputs)


def markdown(differences: dict[str, Difference], names: Sequence[str] = ("A", "B")) -> str:
    """A line for each metric, as tables show its scores."""
    rows = []
    for name, difference in differences.items():
        metric = ALL[name]
        low, high = (metric.shown(end, "+") for end in (difference.low, difference.high))
        cells = [metric.head, metric.shown(difference.a), metric.shown(difference.b)]
        cells += [metric.shown(difference.a - difference.b, "+"), f"{low} to {high}"]
        rows.append([*cells, f"{difference.p:.4f}"])
    head = ["metric", *names, "difference", "95 % interval", "p"]
    return "\n".join(table(head, rows, "lrrrrr"))


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after an error."""
    parser = parser_of("compare", __doc__)
    parser.add_argument("a", type=Path, help="run directory, packed run, or file of hypotheses")
    parser.add_argument("b", type=Path, help="the other one")
    parser.add_argument("--refs", type=Path, help="references (default: those of each run)")
    parser.add_argument("--metrics", choices=SETS, help="default: by the references")
    parser.add_argument("--partial", action="store_true", help="both may lack the same MRs")
    parser.add_argument("--samples", type=at_least(1), default=SAMPLES, help=f"default: {SAMPLES}")
    parser.add_argument("--seed", type=at_least(0), default=SEED, help=f"default: {SEED}")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers here")
    parser.add_argument("--force", action="store_true", help="let OUT replace any file but inputs")
    options = parser.parse_args(argv)
    if options.json:
        inputs = files_of([options.a, options.b], options.refs)
        records.check_result("json", options.json, inputs, options.force)
    if options.refs and options.refs.is_file():  # pair by pair their orders have to agree
        files = [_hypotheses(decoding_of(path))[1] for path in (options.a, options.b)]
        load(options.refs, files, partial=True, failures={})  # other errors come with the scores
    how = options.refs, options.partial, options.metrics
    sides = [outputs(path, *how) for path in (options.a, options.b)]
    differences = compare(*([side] for side in sides), samples=options.samples, seed=options.seed)
    if options.json:
        content = {"a": str(options.a), "b": str(options.b), "samples": options.samples}
        content |= {"seed": options.seed, "n_segments": len(sides[0].sources)}
        content |= {name: vars(of_metric) for name, of_metric in differences.items()}
        write_output(options.json, json.dumps(content, indent=2) + "\n")
    print(f"A: {options.a}\nB: {options.b}")
    print(f"{len(sides[0].sources)} MRs, {options.samples:,} samples\n")
    print(markdown(differences))
    if len(sides[0].sources) < FEW:
        print(f"\nnote: {FEW_MRS}", file=sys.stderr)
    refs = ["--refs", options.refs] if options.refs else []
    following = typed(program("samples"), options.a, options.b, *refs)
    of_runs = all(records.is_packed(p) or p.is_dir() for p in (options.a, options.b))
    at_hand = options.refs or (of_runs and references_of(options.a).exists())
    of_runs &= not options.partial and bool(at_hand) and not records.hidden(sides[0].sources)
    ending(filter(None, [options.json]), *([following] if of_runs else []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
