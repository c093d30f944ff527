"""Pack finished runs to be kept: scripts/pack_run.py RUN [RUN ...] --out DIR

RUN is a run's directory, or DIR/decode/HASH where it was decoded several times. Of each are written
NAME.json (configuration, identity, log, scores, statistics) and NAME.tsv (predictions). Tables,
pictures, eval.compare and eval.samples read them as they read the directory; weights stay out.
Where the MRs must not be passed on (WebNLG's licence), --hide-mrs puts a digest in place of each.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from eval.tables.lines import load_reported
from eval.tables.packed import pack
from solo.cli.command import one_line_errors, plain_parser
from solo.files import as_typed


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, required=True, help="where the files go")
    parser.add_argument("--force", action="store_true", help="replace other files there")
    parser.add_argument("--hide-mrs", action="store_true", help="a digest in place of each MR")
    args = parser.parse_args()
    with one_line_errors():
        reported = load_reported()
        for run in args.runs:
            print(pack(run, args.out, reported, args.force, args.hide_mrs))
        made = f"{as_typed(args.out)}: {len(args.runs)} packed, NAME.json and NAME.tsv"
        ending([made], f"python scripts/runs.py {as_typed(args.out)}")


if __name__ == "__main__":
    main()
