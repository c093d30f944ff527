"""Draw how a backbone learns to copy, from the logs of its pretraining.

  python scripts/checks/copying_curve.py LABEL=LOG [LABEL=LOG ...] --out FILE.png

For each log, over the tokens read: the share of right guesses when 64 random tokens come a second
time, for the later tokens of made-up names, and for their first ones.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval.tables.figures import plt, save
from solo import files
from solo.cli.command import one_line_errors, plain_parser

PANELS = {
    "repeated_64": "64 random tokens, second time",
    "name_later": "made-up names, tokens after the first",
    "name_first": "made-up names, first token",
}


def curves(log: Path) -> dict[str, tuple[list[int], list[float]]]:
    """(tokens read, share) of every measure. Raises ValueError for a log without measures."""
    entries = [entry for entry in files.read_lines(log) if "repeated_64" in entry]
    if not entries:
        raise ValueError(f"{log} has no measures; name a pretrain_log.jsonl")
    tokens = [entry["tokens"] for entry in entries]
    return {name: (tokens, [entry[name] for entry in entries]) for name in PANELS}


def draw(logs: dict[str, Path]):
    """One panel a measure, one line a log."""
    figure, axes = plt.subplots(1, len(PANELS), figsize=(12, 3.6), sharey=True, layout="tight")
    for label, log in logs.items():
        for axis, (tokens, shares) in zip(axes, curves(log).values(), strict=True):
            axis.plot([n / 1e6 for n in tokens], shares, label=label, marker=".", markersize=4)
    for axis, title in zip(axes, PANELS.values(), strict=True):
        axis.set(title=title, xlabel="million tokens read", ylim=(-0.02, 1.02))
        axis.title.set_fontsize(10)
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("share right")
    axes[0].legend(loc="center right")
    return figure


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("logs", nargs="+", metavar="LABEL=LOG")
    parser.add_argument("--out", type=Path, required=True, help="a .png or .svg file")
    parser.add_argument("--force", action="store_true", help="replace any file there but a log")
    args = parser.parse_args()
    with one_line_errors():
        logs = {}
        for argument in args.logs:
            label, equals, path = argument.partition("=")
            if not equals:
                raise ValueError(f"{argument} must be LABEL=LOG")
            logs[label] = Path(path)
        files.check_output(args.out, logs.values(), args.force)
        figure = draw(logs)
        files.write_output(args.out, lambda path: save(figure, path))


if __name__ == "__main__":
    main()
