"""A study: many runs, each at a learning rate that a sweep chooses (configs/study).

  python scripts/study.py write NAME [OVERRIDE ...]       configs/study/NAME.yaml, resolved
  python scripts/study.py run data/study/NAME/study.json  the work; goes on where it stopped
  python scripts/study.py score NAME                      scores, table, pictures

`run` needs no Hydra. It unpacks the data where the study carries them; then,
group by group, it tries rates, trains and decodes. Several processes can share the work, each with
other --names. A study written with `--carry` is packed with its data, for a machine that gets the
checkout and data/study/NAME alone. Overrides are those of every run (train.max_steps=9).
Options of run:
  --seconds 560              stop by itself after so long
  --groups a,b               only these; --names solo,lora: only these
  --processes 12             so many trainings at a time, for a GPU that one does not fill; with
                             --together the rates of each sweep are one of them
  --together                 the rates of a group's sweeps, and its runs, share their passes
                             through the backbone; a small one costs each a third less on a CPU
  --out DIR                  gather there what is worth keeping, as .tar files of at most 15 MiB
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.command import ending
from solo.cli import study_work
from solo.cli.command import one_line_errors, plain_parser
from solo.runs.study import read_study


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("what", choices=["write", "run", "score"])
    parser.add_argument("study", help="a name of configs/study; for run, a file")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="(default: no end)")
    parser.add_argument("--groups", help="comma-separated (default: all)")
    parser.add_argument("--names", help="comma-separated (default: all)")
    parser.add_argument("--processes", type=int, default=1, help="runs at a time (default: 1)")
    parser.add_argument("--together", action="store_true", help="run: share passes")
    parser.add_argument("--out", type=Path, help="(default: nothing is gathered)")
    parser.add_argument("--carry", action="store_true", help="write: pack the data too")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    if args.what != "write" and (args.overrides or args.carry):
        parser.error("--carry and overrides are decided when a study is written (write)")
    of_run = ("seconds", "groups", "names", "processes", "together", "out")
    if args.what != "run" and any(getattr(args, o) != parser.get_default(o) for o in of_run):
        parser.error(f"{', '.join('--' + o for o in of_run)} are options of run")
    with one_line_errors():
        if args.what == "run":
            path = Path(args.study)
            if not path.is_file():
                raise FileNotFoundError(
                    f"{path} is no file; `scripts/study.py write {path.stem}` makes one"
                )
            given = args.groups, args.names, args.out, args.processes, args.together
            study_work.run(path, args.seconds, *given)
            ending([read_study(path).home], f"python scripts/study.py score {path.parent.name}")
            return
        from solo.cli import studies  # here, since `run` works without Hydra
        from solo.cli.terminal import show
        from solo.files import as_typed

        if args.what == "write":
            path, n_runs = studies.write(args.study, args.overrides, args.carry)
            print(f"{path}: {n_runs} runs")
            ending([path], f"python scripts/study.py run {path}")
        else:
            text, page = studies.score(args.study)
            show(text)
            ending([as_typed(page)], f"python scripts/runs.py {as_typed(page.parent / 'runs')}")


if __name__ == "__main__":
    main()
