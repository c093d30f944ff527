"""Choose a learning rate by validation loss: scripts/tune.py experiment=demo/solo

Trains what the overrides say at every rate of configs/sweep/lr.yaml, or at those of
train.lr=1e-3,1e-2, and compares: no test set, no scores. The loss is that after the last step, from
which the test set is decoded too, its mean over the seeds (seed=1,2). Any method, data and place:
  scripts/tune.py adapter=solo model=standin12 data=own data.train_path=FILE data.valid_path=FILE \\
    data.test_path=FILE train.max_steps=500 train.warmup_steps=50 runs_dir=results/mine
What is trained is not trained again. Without overrides it compares the finished runs of a folder
that differ in learning rate and seed alone:
  scripts/tune.py --runs results/mine     (default: results/runs)
"""

import argparse
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli import tuning
from solo.cli.command import RESULTS, one_line_errors, plain_parser, progress_bar, say
from solo.cli.compose import check_unread, compose_config, expand, in_checkout, key_of, with_rates
from solo.cli.schema import OF_ENTRY_POINTS
from solo.cli.terminal import show_line
from solo.files import as_typed
from solo.options import check
from solo.runs.run import Run, make_run
from solo.runs.runner import ended, run_all
from solo.runs.sharing import pays

NONE = "no two finished runs in {} differ in their learning rate alone; train some: {}"
TRAIN = "python scripts/tune.py experiment=table1/solo_s"


def sweep(overrides: list[str]) -> list[Run]:
    """The runs of a sweep, all configurations checked."""
    check_unread(overrides, {*OF_ENTRY_POINTS, "decode.output"}, "tune.py trains, and compares")
    rates = with_rates(["sweep=lr"])[1:]
    overrides = [*overrides, *(r for r in rates if key_of(r) not in map(key_of, overrides))]
    configs = [compose_config(combination) for combination in expand(overrides)]
    several = len({config.train.lr for config in configs}) > 1
    check(several, "one rate alone is no sweep; give several: train.lr=1e-3,1e-2")
    return [make_run(config) for config in configs]


def parsed() -> argparse.Namespace:
    parser = plain_parser(__doc__)
    parser.add_argument("--runs", type=Path, help="compare finished runs in a folder")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides, as for scripts/run.py")
    args = parser.parse_intermixed_args()
    if args.runs and args.overrides:
        parser.error("--runs compares what is there; a new sweep goes into runs_dir=DIR")
    return args


def main() -> None:
    args = parsed()
    failures: list[str] = []
    with one_line_errors():
        folder = args.runs or RESULTS / "runs"
        if args.overrides:
            runs = sweep(in_checkout(args.overrides, sweeping=True))
            folder = runs[0].directory.parent
            outcome = run_all(runs, progress_bar, "trained", train_together=pays(), say=say)
            failures = outcome.unexpected
            trained, left_out = tuning.read_runs(run.directory for run in runs if ended(run))
        else:
            trained, left_out = tuning.read_trained(folder)
        for line in left_out:
            say(line)
        text, chosen = tuning.report(trained)
        check(bool(text), NONE.format(as_typed(folder), TRAIN))
        for line in text.splitlines():
            show_line(line)
        after = f"python scripts/runs.py {as_typed(folder)}"
        if args.overrides:
            same = [o for o in args.overrides if key_of(o) not in ("train.lr", "seed")]
            if len(expand(same)) == 1:  # each of several settings has a best rate of its own
                after = shlex.join(["python", "scripts/run.py", *same, f"train.lr={chosen[-1]:g}"])
        n_trained = sum(run.valid_loss is not None for run in trained)
        ending([f"{n_trained} trained runs in {as_typed(folder)}"], after)
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
