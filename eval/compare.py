"""Is the difference between two runs real? Paired bootstrap over the test MRs (Koehn 2004).

  python -m eval.compare RUN_A RUN_B

Segments are drawn with replacement, the same ones for both runs, and both are scored on each
sample, by every metric that both have. Printed: each score, the difference A - B with its 95 %
interval (percentiles), and the two-sided p-value, twice the share of samples in which the
difference has the other sign or is 0.
"""

import argparse
import functools
import json
import os
import sys
from collections import defaultdict, deque
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from solo.files import check_output, write_output
from solo.run_files import CONFIG, ENVIRONMENT, PREDICTIONS, STATISTICS

from . import records
from .command import Parser, at_least, check_folder, command, ending, program
from .formats import read_hypotheses
from .metrics import ALL, SETS
from .metrics.statistics import Statistics, read, save, scores, usable
from .readers import loose_key
from .score import score_files

SAMPLES, SEED = 10_000, 1
DATA_DIRS = {  # a data set's name: the environment variable that says where it is
    "e2e": "E2E_DATA_DIR",
    "e2e_raw": "E2E_DATA_DIR",
    "e2e_clean": "E2E_CLEAN_DIR",
    "webnlg": "WEBNLG_DATA_DIR",
}
FEW = 30  # MRs
FEW_MRS = (
    f"with fewer than {FEW} MRs the bootstrap finds too much: intervals are too narrow and p too "
    "small (of two equal systems 8 in 100 differ at p = 0.05 with 10 MRs, 16 with 5, all with one)"
)
_AT_ONCE = 1000  # samples scored together: their weights take 5 MB
_KEPT = 2 * 10**7  # weights that are kept, two bytes each


@dataclass(frozen=True, eq=False)
class Outputs:
    """A system's segment statistics and the MRs that they belong to, in the same order.

    references: sha256 of what it was scored against, None where that is not known.
    """

    name: str
    statistics: Statistics
    sources: list[str]
    references: str | None = None


@dataclass(frozen=True)
class Difference:
    """a, b: scores; low, high: 95 % interval of a - b; p: two-sided."""

    a: float
    b: float
    low: float
    high: float
    p: float


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
    is_run = run.is_dir() or records.is_packed(run)
    if references is not None and run.is_file() and not records.holds_run(run):
        is_run = False  # hypotheses as JSON
    predictions = records.predictions_of(run) if is_run else run
    if not predictions.is_file():
        raise FileNotFoundError(f"{predictions} does not exist; decode this run first")
    own = references is None
    references = references_of(run) if own else references
    as_evaluated = not partial and metrics is None
    if own and not references.exists() and records.is_packed(run) and as_evaluated:
        left = records.read(run, ENVIRONMENT)["evaluate"]["inputs"][PREDICTIONS]
        if left == records.sha256(predictions) and (scored := kept(run)):
            return scored  # its data lie elsewhere here, and are not needed
    if not references.exists():
        raise FileNotFoundError(f"{references} does not exist; run `make data`, or set --refs")
    sums = [records.sha256(path) for path in (predictions, references)]
    inputs = dict(zip(("predictions", "references"), sums, strict=True))
    scored = _read_statistics(run, inputs) if is_run and as_evaluated else None
    if scored is None:
        (result,) = score_files(references, [predictions], partial=partial, metrics=metrics)
        for note in result.scores["details"]["notes"] if not is_run else ():
            print(f"note: {note}", file=sys.stderr)
        scored = result.statistics, result.sources
        if run.is_dir() and own and as_evaluated:
            with suppress(OSError):  # it is there to save time
                save(run / STATISTICS, *scored, inputs)
    return Outputs(str(run), *scored, inputs["references"])


def decoding_of(run: Path) -> Path:
    """Where a run's predictions are: in its directory, or in the one that decode/ holds.

    A file is given back as it is. Raises ValueError if decode/ holds several: name one of them.
    """
    run = Path(run)
    decodings = sorted(run.glob("decode/*/"))
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


def in_order(a: Outputs, b: Outputs) -> Outputs:
    """b with its MRs in the order of a's, as `places` pairs them; itself, if they are.

    Raises ValueError if the MRs are not the same, or were scored against different references.
    """
    if None not in (a.references, b.references) and a.references != b.references:
        raise ValueError(
            f"{a.name} and {b.name} were scored against different references "
            f"({a.references[:12]} and {b.references[:12]}); name those of both with --refs"
        )
    order = places(a, b)
    if order == list(range(len(order))):
        return b
    statistics = {name: rows[order] for name, rows in b.statistics.items()}
    return replace(b, statistics=statistics, sources=[b.sources[i] for i in order])


def places(a: Outputs, b: Outputs) -> list[int]:
    """For each of a's MRs its place among b's; the first of equal ones goes to the first.

    As in scoring, quotes and repeated spaces do not count. Raises ValueError if the MRs are not
    the same.
    """
    if a.sources == b.sources:
        return list(range(len(a.sources)))
    ours, theirs = ([loose_key(source) for source in of.sources] for of in (a, b))
    if ours == theirs:
        return list(range(len(ours)))
    if sorted(ours) != sorted(theirs):
        raise ValueError(
            f"{a.name} and {b.name} have outputs for other MRs ({len(a.sources)} and "
            f"{len(b.sources)}); compare runs on the same test set"
        )
    where: dict[str, deque[int]] = defaultdict(deque)
    for i, source in enumerate(theirs):
        where[source].append(i)
    return [where[source].popleft() for source in ours]


def draws(size: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    """Weights [some samples, size] of resamples of `size` segments, `samples` in all.

    A study asks for the same ones a hundred times, and to draw them takes longer than to use them:
    they are kept unless they are too many.
    """
    drawn = _kept_draws if size * samples <= _KEPT else _draws
    return (weights.astype(float) for weights in drawn(size, samples, seed))


@functools.lru_cache(2)
def _kept_draws(size: int, samples: int, seed: int) -> list[np.ndarray]:
    small = np.min_scalar_type(size)
    return [weights.astype(small) for weights in _draws(size, samples, seed)]


def _draws(size: int, samples: int, seed: int) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    for start in range(0, samples, _AT_ONCE):
        number = min(_AT_ONCE, samples - start)
        yield random.multinomial(size, np.full(size, 1 / size), size=number)


@functools.lru_cache(128)  # a study compares each of its runs several times
def drawn_scores(of: Outputs, samples: int, seed: int) -> dict[str, np.ndarray]:
    """The scores of each resample of a system's MRs, by metric, [samples]. They are shared."""
    parts = [scores(of.statistics, weights) for weights in draws(len(of.sources), samples, seed)]
    return {name: np.concatenate([part[name] for part in parts]) for name in of.statistics}


def compare(
    a: Outputs, b: Outputs, samples: int = SAMPLES, seed: int = SEED
) -> dict[str, Difference]:
    """Difference by metric, of those that both have statistics of.

    Raises ValueError if the two were not run on the same MRs, or share no metric.
    """
    if samples < 1:
        raise ValueError(f"{samples} samples; at least one is needed")
    common = [name for name in ALL if name in a.statistics and name in b.statistics]
    if not common:
        raise ValueError(f"{a.name} and {b.name} have no metric in common; score them again")
    sides = [a, in_order(a, b)]
    whole = [scores(side.statistics, np.ones((1, len(side.sources)))) for side in sides]
    first, second = (drawn_scores(side, samples, seed) for side in sides)
    differences = {}
    for name in common:
        scored = (float(side[name][0]) for side in whole)
        differences[name] = Difference(*scored, *interval_and_p(first[name] - second[name]))
    return differences


def interval_and_p(drawn: np.ndarray) -> tuple[float, float, float]:
    """(low, high, p) of a difference, from what it is in each sample: the 95 % interval, and the
    two-sided p-value. The observed difference counts as one sample, so that p is never 0."""
    low, high = (float(end) for end in np.percentile(drawn, [2.5, 97.5]))
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1
    return low, high, min(1.0, 2 * float(tail) / (len(drawn) + 1))


def markdown(differences: dict[str, Difference], names: Sequence[str] = ("A", "B")) -> str:
    """A line for each metric, as tables show its scores."""
    lines = [f"| metric | {names[0]} | {names[1]} | difference | 95 % interval | p |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name, difference in differences.items():
        metric = ALL[name]
        digits = metric.digits
        a, b, low, high = (
            metric.scale * value
            for value in (difference.a, difference.b, difference.low, difference.high)
        )
        cells = [f"{a:.{digits}f}", f"{b:.{digits}f}", f"{a - b:+.{digits}f}"]
        cells += [f"{low:+.{digits}f} to {high:+.{digits}f}", f"{difference.p:.4f}"]
        lines.append(f"| {metric.head} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


@command
def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after an error."""
    parser = Parser(
        prog=program("compare"),
        description=__doc__.replace("python -m eval.compare", program("compare")),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
        check_folder("json", options.json)
        inputs = [options.a, options.b, *([options.refs] if options.refs else [])]
        check_output(options.json, inputs, options.force)
    how = options.refs, options.partial, options.metrics
    sides = [outputs(path, *how) for path in (options.a, options.b)]
    differences = compare(*sides, options.samples, options.seed)
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
    refs = f" --refs {options.refs}" if options.refs else ""
    following = f"{program('samples')} {options.a} {options.b}{refs}"
    of_runs = all(records.is_packed(p) or p.is_dir() for p in (options.a, options.b))
    at_hand = options.refs or (of_runs and references_of(options.a).exists())
    of_runs &= not options.partial and bool(at_hand) and not records.hidden(sides[0].sources)
    ending(filter(None, [options.json]), *([following] if of_runs else []))
    return 0


if __name__ == "__main__":
    sys.exit(main())
