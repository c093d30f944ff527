"""Write the report, static pages of everything in results/: scripts/report.py

Open results/report/index.html in a browser; no server and no network are needed. With
E2E_SYSTEMS_DIR set, the outputs of the E2E challenge's systems are in it; references are where the
data set is at hand.
  scripts/report.py --results DIR --out DIR     of other results, to another place
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.report.build import build
from solo.cli.command import RESULTS, one_line_errors, plain_parser, say
from solo.cli.reporting import gather
from solo.files import as_typed


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--results", type=Path, default=RESULTS, help="(default: results)")
    parser.add_argument("--out", type=Path, help="a folder (default: report in --results)")
    args = parser.parse_args()
    with one_line_errors():
        if not args.results.is_dir():
            raise FileNotFoundError(f"{args.results} is no folder; name one that holds results")
        built = build(gather(args.results), args.out or args.results / "report")
        for line in built.problems:
            say(line)
        print(f"{as_typed(built.index)}: {built.size / 1e6:.2f} MB in {built.seconds:.0f} s")


if __name__ == "__main__":
    main()
