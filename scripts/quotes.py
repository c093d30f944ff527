"""Write into the pages what they quote from runs: scripts/quotes.py

Between `<!-- quote: ... -->` and `<!-- end -->` of the pages listed in solo/cli/quotes.py, from the
runs (packed) and measurements that are kept. After `make demo`, its runs are put there by
  scripts/pack_run.py results/demo/runs/*/ --out results/demo/kept
  --check   write nothing; exit code 1 if a page quotes what the runs do not say
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli.command import ROOT, one_line_errors, plain_parser
from solo.cli.quotes import PAGES, rewritten
from solo.files import write_text


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing")
    args = parser.parse_args()
    with one_line_errors():
        stale = []
        for name in PAGES:
            before = (ROOT / name).read_text(encoding="utf-8")
            if (after := rewritten(before, (ROOT / name).parent)) != before:
                stale.append(name)
                if not args.check:
                    write_text(ROOT / name, after)
        if args.check and stale:
            raise ValueError(f"{', '.join(stale)} quotes what no run says; run scripts/quotes.py")
        ending([f"{name}, rewritten" for name in stale] or ["no page had to change"], "git diff")


if __name__ == "__main__":
    main()
