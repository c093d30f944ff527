"""List runs: scripts/runs.py, or scripts/runs.py results/standin12/runs --sort BLEU

Every run of a folder, packed ones too: its state, what it does otherwise than the defaults, trained
parameters, learning rate, seed, validation loss, scores. Directories below are not searched.
  scripts/runs.py --where adapter=solo --where adapter.rank=64
  scripts/runs.py --sort BLEU --csv > runs.csv
  scripts/runs.py results/sweeps --varying      a column for each option in which the runs differ
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli import listing
from solo.cli.command import RESULTS, one_line_errors, plain_parser, say
from solo.options import check
from solo.run_files import CONFIG


def main() -> None:
    parser = plain_parser(__doc__)
    add = parser.add_argument
    add("folder", type=Path, nargs="?", default=RESULTS / "runs", help="(default: results/runs)")
    add("--where", action="append", default=[], metavar="KEY=VALUE", help="only runs that have it")
    add("--sort", metavar="COLUMN", help="scores and parameters from high to low, others rising")
    add("--varying", action="store_true", help="options as columns instead of in words")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", dest="form", action="store_const", const="csv", default="text")
    form.add_argument("--latex", dest="form", action="store_const", const="latex")
    args = parser.parse_args()
    with one_line_errors():
        check(
            not (args.folder / CONFIG).is_file(),
            f"{args.folder} is one run; name the folder that holds it: {args.folder.parent}",
        )
        frame, unread = listing.read_folder(args.folder)
        for line in unread:
            say(line)
        if frame.empty:
            raise ValueError(
                f"{args.folder} holds no run; make one: python scripts/run.py adapter=solo"
            )
        frame = listing.chosen(frame, args.where, args.sort)
        columns = listing.varying(frame) if args.varying else ["settings"]
        print(listing.rendered(frame, columns, args.form))
        if args.form == "text":
            ending([], listing.following(frame))
        sys.exit(1 if unread else 0)


if __name__ == "__main__":
    main()
