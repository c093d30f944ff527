"""Choose a learning rate by validation loss: scripts/tune.py, after scripts/train.py sweep=lr ...

Reads the training logs of finished runs and nothing else: no test set, no scores. Runs that differ
in learning rate and seed alone are compared; the loss is that after the last step, from which the
test set is decoded too, its mean over the seeds.
  --runs DIR   where the runs are (default: results/runs)
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo.cli import tuning
from solo.cli.command import RESULTS, one_line_errors, plain_parser


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--runs", type=Path, default=RESULTS / "runs", help="where the runs are")
    args = parser.parse_args()
    with one_line_errors():
        trained, left_out = tuning.read_trained(args.runs)
        text = tuning.report(trained)
        print(*left_out, sep="\n", end="\n" if left_out else "", file=sys.stderr)
        if not text:
            raise ValueError(
                f"no two finished runs in {args.runs} differ in their learning rate alone; "
                "train some: python scripts/train.py sweep=lr experiment=table1/solo_s"
            )
        print(text)


if __name__ == "__main__":
    main()
