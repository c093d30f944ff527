"""Prepare the data: download and check the E2E files, the cleaned ones, or write the demo's own.

    python scripts/prepare_data.py e2e                   into data/e2e, or check E2E_DATA_DIR
    python scripts/prepare_data.py e2e --dir some/folder
    python scripts/prepare_data.py e2e_clean             data/e2e-clean, or check E2E_CLEAN_DIR
    python scripts/prepare_data.py e2e_clean --make      the same made from E2E's own, no network
    python scripts/prepare_data.py demo                  into data/demo, no network needed
    python scripts/prepare_data.py demo --dir some/folder --seed 1

Expected of e2e (rows, distinct MRs): train 42,061 and 4,862, valid 4,672 and 547, test 4,693
and 630. Of e2e_clean: train 33,525 and 12,568, valid 4,299 and 1,484, test 4,693 and 1,847.
"""

import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli.clean import prepare_made
from solo.cli.command import one_line_errors, plain_parser
from solo.datasets.download import (
    E2E_CLEAN_FILES,
    E2E_FILES,
    count_examples,
    prepare_e2e,
    prepare_e2e_clean,
)
from solo.files import ROOT, as_typed
from solo.standin.demo_data import write_demo_data

NEXT = {
    "e2e": "make plan",
    "e2e_clean": "python scripts/run.py data=e2e_clean model=standin12 train=standin train.lr=1e-2",
    "demo": "python scripts/reproduce.py demo",
}


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("data", nargs="?", choices=["e2e", "e2e_clean", "demo"], default="e2e")
    parser.add_argument("--dir", type=Path, help="where to (default: data/e2e, e2e-clean or demo)")
    parser.add_argument("--seed", type=int, help="of the demo data (default: 0)")
    parser.add_argument("--make", action="store_true", help="e2e_clean: from E2E's own files")
    args = parser.parse_args()
    if args.seed is not None and args.data != "demo":
        parser.error(f"--seed is for the demo data, not for {args.data}")
    if args.make and args.data != "e2e_clean":
        parser.error(f"--make is for e2e_clean, not for {args.data}")
    with one_line_errors():
        if args.data == "e2e":
            directory = prepare_e2e(args.dir, progress=True)
            counts = {name: count_examples(directory / name) for name in E2E_FILES}
        elif args.data == "e2e_clean":
            if args.make:
                directory = prepare_made(args.dir)
            else:
                directory = prepare_e2e_clean(args.dir, progress=True)
            counts = {name: count_examples(directory / name) for name in E2E_CLEAN_FILES}
        else:
            directory = args.dir or ROOT / "data" / "demo"
            counts = write_demo_data(directory, seed=args.seed or 0)
    print(f"{directory}: checksums right; rows and distinct MRs per file:")
    for name, (rows, mrs) in counts.items():
        print(f"  {name:24} {rows:7,} {mrs:7,}")
    following = NEXT[args.data]
    if args.dir:
        place = f"data.dir={args.dir}"
        following = (
            f"{following.replace('make plan', 'python scripts/plan.py')} {shlex.quote(place)}"
        )
    ending([as_typed(directory)], following)


if __name__ == "__main__":
    main()
