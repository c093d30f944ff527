"""Draw how a backbone learns to copy, from the logs of its pretraining.

  python scripts/checks/copying_curve.py LABEL=LOG [LABEL=LOG ...] --out FILE.png

For each log, over the tokens read: the share of right guesses when 64 random tokens come a second
time, for the later tokens of made-up names, and for their first ones.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval.command import ending
from eval.tables import style
from eval.tables.style import plt, save
from solo import files
from solo.cli.command import one_line_errors, plain_parser

PANELS = {
    "repeated_64": "64 random tokens, second time",
    "name_later": "made-up names, tokens after the first",
    "name_first": "made-up names, first token",
}


def curves(log: Path) -> dict[str, tuple[list[int], list[float]]]:
    """(tokens read, share) of every measure. Raises ValueError for a log without measures."""
    entries = [entry for entry in files.read_json_lines(log) if "repeated_64" in entry]
    if not entries:
        raise ValueError(f"{log} has no measures; name a pretrain_log.jsonl")
    tokens = [entry["tokens"] for entry in entries]
    return {name: (tokens, [entry[name] for entry in entries]) for name in PANELS}


def draw(logs: dict[str, Path]):
    """One panel a measure, one line a log."""
    figure, axes = plt.subplots(
        1, len(PANELS), figsize=(11, 3.8), sharey=True, layout="constrained"
    )
    looks = style.looks([*logs])
    for (label, log), look in zip(logs.items(), looks, strict=True):
        for axis, (tokens, shares) in zip(axes, curves(log).values(), strict=True):
            axis.plot(
                [n / 1e6 for n in tokens], shares, label=label, color=look.colour,
                marker=look.marker, markevery=3, markersize=4,
            )  # fmt: skip
    for axis, title in zip(axes, PANELS.values(), strict=True):
        axis.set(title=title, xlabel="million tokens read", ylim=(-0.02, 1.02))
    axes[0].set_ylabel("share right")
    style.legend(figure, *axes[0].get_legend_handles_labels())
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
        ending([args.out])


if __name__ == "__main__":
    main()
