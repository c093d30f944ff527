"""Is the difference between two runs real? Paired bootstrap over the test MRs (Koehn 2004).

  python -m eval.compare RUN_A RUN_B

Segments are drawn with replacement, the same ones for both runs, and both are scored on each
sample. Printed: each score, the difference A - B with its 95 % interval (percentiles), and the
two-sided p-value, twice the share of samples in which the difference has the other sign or is 0.
"""

import argparse
import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml

from eval.files import replace_text
from eval.metrics.statistics import read, save, scores
from eval.metrics.systems import METRICS
from eval.score import score_files

STATISTICS = "statistics.json"  # of a run directory
SAMPLES, SEED = 10_000, 1
_AT_ONCE = 1000  # samples scored together: their weights take 5 MB


@dataclass(frozen=True)
class Outputs:
    """A system's segment statistics ([segments, columns]) and the MRs that they belong to."""

    name: str
    rows: np.ndarray
    sources: list[str]


@dataclass(frozen=True)
class Difference:
    """a, b: scores; low, high: 95 % interval of a - b; p: two-sided."""

    a: float
    b: float
    low: float
    high: float
    p: float


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def outputs(run: Path, references: Path | None = None) -> Outputs:
    """Statistics of a run directory, or of a file of hypotheses if `references` are given.

    A run directory's references are those of its config.yaml. Its statistics are written beside
    its predictions and read from there the next time, if neither file has changed.
    Raises FileNotFoundError or ValueError, and what scoring raises.
    """
    run = Path(run)
    predictions = run / "predictions.tsv" if run.is_dir() else run
    if not predictions.is_file():
        raise FileNotFoundError(f"{predictions} does not exist; decode this run first")
    if references is None:
        references = references_of(run)
    if not references.is_file():
        raise FileNotFoundError(f"{references} does not exist; run `make data`, or set --refs")
    inputs = {"predictions": _sha256(predictions), "references": _sha256(references)}
    path = run / STATISTICS if run.is_dir() else None
    found = read(path, inputs) if path else None
    if found is None:
        (result,) = score_files(references, [predictions])
        found = result.statistics, result.sources
        if path:
            save(path, *found, inputs)
    return Outputs(str(run), *found)


def references_of(run: Path) -> Path:
    """The references that a run directory's config.yaml names. FileNotFoundError: no such run."""
    config = Path(run) / "config.yaml"
    if not config.is_file():
        raise FileNotFoundError(f"{run} is no run directory; name its references with --refs")
    settings = yaml.safe_load(config.read_text(encoding="utf-8"))
    return Path(settings["evaluate"]["references"])


def kept(run: Path) -> Outputs | None:
    """Statistics that evaluation left in a run directory, None without; starts nothing."""
    run = Path(run)
    environment = json.loads((run / "environment.json").read_text(encoding="utf-8"))
    inputs = dict(environment["evaluate"]["inputs"])
    predictions = inputs.pop("predictions.tsv")
    [references] = inputs.values()
    found = read(run / STATISTICS, {"predictions": predictions, "references": references})
    return Outputs(run.name, *found) if found else None


def in_order(a: Outputs, b: Outputs) -> np.ndarray:
    """The rows of b in the order of a's MRs. Raises ValueError if the MRs are not the same."""
    if a.sources == b.sources:
        return b.rows
    where = {source: i for i, source in enumerate(b.sources)}
    if len(where) != len(b.sources) or sorted(a.sources) != sorted(b.sources):
        raise ValueError(
            f"{a.name} and {b.name} have outputs for other MRs ({len(a.sources)} and "
            f"{len(b.sources)}); compare runs on the same test set"
        )
    return b.rows[[where[source] for source in a.sources]]


def compare(a: Outputs, b: Outputs, samples: int = SAMPLES, seed: int = SEED) -> dict:
    """Difference by metric. Raises ValueError if the two were not run on the same MRs."""
    if samples < 1:
        raise ValueError(f"{samples} samples; at least one is needed")
    sides, size = (a.rows, in_order(a, b)), len(a.rows)
    whole = [scores(rows, np.ones((1, size))) for rows in sides]
    random = np.random.default_rng(seed)
    drawn: dict[str, list] = {name: [] for name in METRICS}
    for start in range(0, samples, _AT_ONCE):
        number = min(_AT_ONCE, samples - start)
        weights = random.multinomial(size, np.full(size, 1 / size), size=number)
        first, second = (scores(rows, weights) for rows in sides)
        for name in METRICS:
            drawn[name].append(first[name] - second[name])
    found = {}
    for name in METRICS:
        values = np.concatenate(drawn[name])
        low, high = np.percentile(values, [2.5, 97.5])
        # The observed sample counts as one, so that p is never 0.
        tail = min((values <= 0).sum(), (values >= 0).sum()) + 1
        scored = (float(side[name][0]) for side in whole)
        p = min(1.0, 2 * float(tail) / (samples + 1))
        found[name] = Difference(*scored, float(low), float(high), p)
    return found


def markdown(found: dict[str, Difference], names: Sequence[str] = ("A", "B")) -> str:
    """A line for each metric; BLEU, METEOR and ROUGE-L x 100."""
    lines = [f"| metric | {names[0]} | {names[1]} | difference | 95 % interval | p |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for name, of_metric in found.items():
        factor, digits = (1, 3) if name in ("NIST", "CIDEr") else (100, 2)
        a, b, low, high = (
            factor * value for value in (of_metric.a, of_metric.b, of_metric.low, of_metric.high)
        )
        cells = [f"{a:.{digits}f}", f"{b:.{digits}f}", f"{a - b:+.{digits}f}"]
        cells += [f"{low:+.{digits}f} to {high:+.{digits}f}", f"{of_metric.p:.4f}"]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code, 2 after an error."""
    parser = argparse.ArgumentParser(
        prog="python -m eval.compare",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("a", type=Path, help="run directory, or a file of hypotheses")
    parser.add_argument("b", type=Path, help="the other one")
    parser.add_argument("--refs", type=Path, help="references (default: those of each run)")
    parser.add_argument("--samples", type=int, default=SAMPLES, help=f"default: {SAMPLES}")
    parser.add_argument("--seed", type=int, default=SEED, help=f"default: {SEED}")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the numbers here")
    options = parser.parse_args(argv)
    try:
        sides = [outputs(path, options.refs) for path in (options.a, options.b)]
        found = compare(*sides, options.samples, options.seed)
        if options.json:
            content = {"a": str(options.a), "b": str(options.b), "samples": options.samples}
            content |= {"seed": options.seed, "n_segments": len(sides[0].rows)}
            content |= {name: vars(of_metric) for name, of_metric in found.items()}
            replace_text(options.json, json.dumps(content, indent=2) + "\n")
    except (ValueError, OSError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(
        f"A: {options.a}\nB: {options.b}\n{len(sides[0].rows)} MRs, {options.samples:,} samples\n"
    )
    print(markdown(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
