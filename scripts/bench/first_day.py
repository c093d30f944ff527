"""The first minutes on a GPU: the most valuable figures first, and all that is done is kept.

scripts/bench/first_day.py --out DIR                  # nine minutes on a GPU
scripts/bench/first_day.py --out DIR --seconds 240    # as far as four minutes reach
scripts/bench/first_day.py --out DIR --parts device,sweep
scripts/bench/first_day.py --out DIR --share 0.02     # a rehearsal on a CPU, a fiftieth of the work

Every part is a process of its own with a limit, and writes its figures as they come; whatever a
part does, the next one begins. DIR/first_day.json says what became of each, DIR/NAME.log what it
printed. In a second call the same command does the parts that are not done yet.

Afterwards, for Table 1's S rows: scripts/pretrain_backbone.py pretrain=standin_s_gpu, then
make reproduce-table1 ARGS="model.path=data/backbones/standin_s_gpu".
"""

import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from solo import files
from solo.cli.command import plain_parser
from solo.runs import record


@dataclass(frozen=True)
class Part:
    """name; seconds that it may take on a GPU; the command after `python`."""

    name: str
    seconds: float
    command: list[str]


@dataclass(frozen=True)
class Outcome:
    """state: done, failed (code) or cut off; seconds it took."""

    name: str
    state: str
    seconds: float


def plan(out: Path, share: float) -> list[Part]:
    """The parts in the order of their worth. share: of the steps, contexts and seconds."""
    bench = ["scripts/bench/main.py", "--out", str(out), "--share", str(share)]
    device = ["scripts/checks/device.py", "--out"]
    return [
        Part("device", 150, [*device, str(out / "device.json"), "--no-compile"]),
        Part("whole", 150, [*bench, "whole"]),
        Part("compiled", 170, [*bench, "compiled"]),
        Part("train", 150, [*bench, "train"]),
        Part("decode", 120, [*bench, "decode"]),
        Part("sweep", 90, [*bench, "sweep"]),
        Part("growth", 120, [*bench, "growth"]),
    ]


def run_part(part: Part, out: Path, limit: float) -> Outcome:
    """Run one part for at most `limit` seconds; what it wrote by then stays."""
    start = time.monotonic()
    with open(out / f"{part.name}.log", "w", encoding="utf-8") as log:
        try:
            command = [sys.executable, *part.command]
            done = subprocess.run(command, cwd=ROOT, stdout=log, stderr=log, timeout=limit)
            state = "done" if done.returncode == 0 else f"failed ({done.returncode})"
        except subprocess.TimeoutExpired:
            state = "cut off"
    return Outcome(part.name, state, round(time.monotonic() - start, 1))


def main() -> int:
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--seconds", type=float, default=540, help="for everything (540)")
    parser.add_argument("--share", type=float, default=1.0, help="of the work, above 0 to 1 (1)")
    parser.add_argument("--parts", help="only these, comma-separated (default: all)")
    args = parser.parse_args()
    if not 0 < args.share <= 1 or not args.seconds > 0:
        parser.error(f"--share {args.share} must be above 0 and at most 1, --seconds above 0")
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    path = out / "first_day.json"
    kept = files.read_json(path) if path.exists() else {}
    before = kept["parts"] if kept.get("share") == args.share else []  # not a rehearsal's
    outcomes = {one["name"]: Outcome(**one) for one in before}
    end = time.monotonic() + args.seconds
    parts = plan(out, args.share)
    wanted = args.parts.split(",") if args.parts else [part.name for part in parts]
    if unknown := sorted(set(wanted) - {part.name for part in parts}):
        parser.error(f"unknown part {unknown[0]!r}; known: {', '.join(p.name for p in parts)}")
    for part in (part for part in parts if part.name in wanted):
        left = end - time.monotonic()
        if part.name in outcomes and outcomes[part.name].state == "done":
            continue
        if left < 5:
            print(f"{part.name:<8} not begun: no time left")
            continue
        outcomes[part.name] = one = run_part(part, out, min(left, part.seconds))
        print(f"{part.name:<8} {one.state}, {one.seconds:.0f} s; {out / part.name}.log", flush=True)
        found = [asdict(each) for each in outcomes.values()]
        files.write_json(path, record.environment() | {"share": args.share, "parts": found})
    return int(any(one.state != "done" for one in outcomes.values()))


if __name__ == "__main__":
    sys.exit(main())
