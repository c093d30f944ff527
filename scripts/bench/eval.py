"""Time the evaluation, beside the official script where a checkout of it is given.

  python scripts/bench/eval.py --refs testset_w_refs.csv --hyps A.tsv B.tsv --rounds 5
  python scripts/bench/eval.py --refs R.csv --hyps A.tsv --official e2e-metrics --python PYTHON

Runs `python -m eval.score` and `measure_scores.py -p` (tuetschek/e2e-metrics; needs a Java on the
PATH and its own packages in PYTHON) in turn on each system, compares their figures, and times all
systems in one call of ours as well. Prints medians and the spread of the paired ratios.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tqdm import tqdm

from eval.metrics import METRICS
from solo.cli.command import one_line_errors, plain_parser
from solo.runs.record import environment

OFFICIAL = [name for name, metric in METRICS.items() if not metric.optional]


def _run(command: list, folder: Path) -> tuple[float, str]:
    start = time.perf_counter()
    done = subprocess.run(list(map(str, command)), cwd=folder, capture_output=True, text=True)
    seconds = time.perf_counter() - start
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise RuntimeError(f"{command[1]} failed with exit code {done.returncode}: {last}")
    return seconds, done.stdout


def ours(refs: Path, hyps: list[Path]) -> tuple[float, list[dict]]:
    """Seconds and scores of one call for any number of systems."""
    with tempfile.TemporaryDirectory() as folder:
        output = Path(folder, "scores.json")
        command = [sys.executable, "-m", "eval.score", "--refs", refs, "--hyps", *hyps]
        seconds, _ = _run([*command, "--json", output], ROOT)
        found = json.loads(output.read_text(encoding="utf-8"))
    return seconds, found if isinstance(found, list) else [found]


def official(checkout: Path, python: str, refs: Path, hyps: Path) -> tuple[float, dict]:
    """Seconds and scores (four decimals) of the official script for one system."""
    seconds, text = _run([python, "measure_scores.py", "-p", refs, hyps], checkout)
    lines = (line.split(": ") for line in text.splitlines() if ": " in line)
    return seconds, {name: float(value) for name, value in lines if name in OFFICIAL}


def _spread(values: list[float]) -> str:
    return f"{median(values):.2f} ({min(values):.2f} to {max(values):.2f}, n={len(values)})"


def _compared(name: str, found: dict, expected: dict) -> list[str]:
    """A line for each figure that differs in its four decimals."""
    return [
        f"{name}: {metric} is {found[metric]:.4f}, officially {expected[metric]:.4f}"
        for metric in OFFICIAL
        if f"{found[metric]:.4f}" != f"{expected[metric]:.4f}"
    ]


def bench(refs: Path, hyps: list[Path], rounds: int, checkout: Path | None, python: str) -> None:
    """Print the table; raises RuntimeError at the end if a figure differs."""
    hardware = environment()["hardware"]
    print(f"{hardware['cpu']}, {hardware['threads']} threads")
    ratios, mine, theirs, together, differing = [], [], [], [], []
    print("\t".join(("system", "round", "ours s", "official s", "ratio", "figures")))
    for number, hyp in tqdm([(n, h) for n in range(1, rounds + 1) for h in hyps], unit="pair"):
        seconds, (found,) = ours(refs, [hyp])
        mine.append(seconds)
        cells = [hyp.stem, str(number), f"{seconds:.2f}"]
        if checkout:
            other, expected = official(checkout, python, refs, hyp)
            theirs.append(other)
            ratios.append(other / seconds)
            wrong = _compared(hyp.stem, found, expected)
            differing += wrong
            cells += [f"{other:.2f}", f"{ratios[-1]:.2f}", "differ" if wrong else "equal"]
        print("\t".join(cells), flush=True)
    print(f"one system a call: ours {_spread(mine)} s")
    if checkout:
        print(f"one system a call: official {_spread(theirs)} s, ratio {_spread(ratios)}")
    if len(hyps) > 1:
        together = [ours(refs, hyps)[0] / len(hyps) for _ in range(rounds)]
        print(f"{len(hyps)} systems in one call: ours {_spread(together)} s a system")
    if checkout and together:
        faster = [median(theirs) / seconds for seconds in together]
        print(f"{len(hyps)} systems in one call: ratio to the official median {_spread(faster)}")
    if differing:
        raise RuntimeError("; ".join(dict.fromkeys(differing)))


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--refs", type=Path, required=True)
    parser.add_argument("--hyps", type=Path, required=True, nargs="+")
    parser.add_argument("--rounds", type=int, default=5, help="paired runs of each system")
    parser.add_argument("--official", type=Path, metavar="DIR", help="checkout of e2e-metrics")
    parser.add_argument("--python", default=sys.executable, help="Python with its packages")
    args = parser.parse_args()
    with one_line_errors():
        if args.official and not (args.official / "measure_scores.py").is_file():
            raise FileNotFoundError(f"{args.official} holds no measure_scores.py")
        refs, hyps = args.refs.resolve(), [path.resolve() for path in args.hyps]
        bench(refs, hyps, args.rounds, args.official, args.python)


if __name__ == "__main__":
    main()
