"""Run a resolved plan (scripts/standin.py pack) on any machine, without Hydra and `datasets`.

  python scripts/run_plan.py data/carry/plan.json STAGE [--seconds S] [--groups a,bc] [--names x,y]

Stages, in their order:
  unpack     the data out of the plan's folder
  pretrain   the backbone
  sweep      learning rates, chosen by validation loss
  train      the runs; decode: the test set with those that are trained
  all        for each unit: sweep, train, decode
  state      how far every run is
  bundle     what is worth keeping, as .tar files of at most 15 MiB, into --out DIR
What is done is not done again; what was killed goes on from its last state. With --seconds nothing
is begun that would not fit (by the speed of earlier runs on this hardware; what nobody has
measured is begun), unless --partial says that another call goes on; what is going on stops by
itself. Groups come in the plan's order of priority; --groups a,bc makes two units, a and b with c.
In a plan without `together` every run is a unit. Several processes may work on one plan, each on
other --names.
"""

import argparse
import lzma
import sys
import tarfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts.budget import Budget, TimeUp
from scripts.cli import one_line_errors, plain_parser
from scripts.waves import (
    Session,
    decode_jobs,
    directory,
    label,
    sweep_rates,
    train_jobs,
    with_rates,
)
from solo import pretrain, record
from solo.checkpoint import WEIGHTS

STAGES = ("unpack", "pretrain", "sweep", "train", "decode", "all", "state", "bundle")
BUNDLE = 15 * 2**20  # bytes of a .tar file


def unpack(plan: dict, folder: Path) -> None:
    """Write E2E's files where the runs read them, and the short validation file of the sweeps."""
    data = Path(plan["data_dir"]) / "lora_format"
    for packed in sorted((folder / "e2e").glob("*.xz")):
        with lzma.open(packed) as file, record.atomic(data / packed.stem) as temporary:
            temporary.write_bytes(file.read())
    lines = (data / "valid.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    record.write_text(Path(plan["short_valid"]), "".join(lines[:: plan["valid_every"]]))
    print(f"{data}: train.txt, valid.txt, test.txt; {plan['short_valid']}")


def units(plan: dict, groups: str | None, names: str | None) -> list[list[dict]]:
    """The jobs of the chosen groups and names, as units. ValueError for an unknown one."""
    known = list(dict.fromkeys(job["group"] for job in plan["runs"]))
    parts = [list(part) for part in (groups or ",".join(known)).split(",")]
    chosen = names.split(",") if names else plan["names"]
    for kind, given, allowed in (
        ("group", [group for part in parts for group in part], known),
        ("name", chosen, plan["names"]),
    ):
        unknown = [one for one in given if one not in allowed]
        if unknown:
            raise ValueError(f"the plan has no {kind} {unknown[0]!r}; it has {', '.join(allowed)}")
    made = [
        [j for j in plan["runs"] if j["group"] in part and j["name"] in chosen] for part in parts
    ]
    if not plan["together"]:
        made = [[job] for unit in made for job in unit]
    return [unit for unit in made if unit]


def work(session: Session, stage: str, chosen: list[list[dict]]) -> None:
    """Sweep, train, decode, or all of it, unit by unit."""
    for unit in chosen:
        if stage in ("sweep", "all"):
            sweep_rates(session, [job["name"] for job in unit])
        if stage == "sweep":
            continue
        jobs = with_rates(session, unit)
        if stage in ("train", "all"):
            train_jobs(session, jobs)
        if stage in ("decode", "all"):
            decode_jobs(session, jobs)


def state(session: Session, chosen: list[list[dict]]) -> None:
    """A line for every run."""
    for job in (job for unit in chosen for job in with_rates(session, unit)):
        run_dir = directory(job["config"])
        done = [s for s in ("train", "decode", "evaluate") if record.stage_record(run_dir, s)]
        print(f"{job['group']}  {label(job):44} {', '.join(done) or '-':24} {run_dir.name}")


def bundle(plan: dict, out: Path) -> list[Path]:
    """Tar what is worth keeping: all but weights, then adapters (full fine-tuning's aside)."""
    backbone = Path(plan["pretrain"]["output_dir"])
    folders = [Path(plan[key]) for key in ("runs_dir", "sweep_dir", "rates_dir")]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
    found = [path for path in found if not path.name.startswith(".")]
    small = [path for path in found if path.suffix != ".safetensors"]
    small += [backbone / name for name in (pretrain.LOG, pretrain.SUMMARY, "config.json")]
    adapters = [
        path
        for path in found
        if path.name == WEIGHTS
        and path.is_relative_to(plan["runs_dir"])
        and not path.parent.name.startswith("full-")
    ]
    parts: list[tuple[Path, list[Path]]] = []
    for kind, paths in (("files", small), ("adapters", adapters)):
        size, number = BUNDLE, 0
        for path in filter(Path.is_file, paths):
            room = 1024 + -(-path.stat().st_size // 512) * 512  # header, content in blocks
            if size + room > BUNDLE:
                number, size = number + 1, 10240  # the end of a .tar
                parts.append((out / f"standin_{kind}_{number}.tar", []))
            parts[-1][1].append(path)
            size += room
    for target, paths in parts:
        with record.atomic(target) as temporary, tarfile.open(temporary, "w") as tar:
            for path in paths:
                tar.add(path)
    return [target for target, _ in parts]


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("stage", choices=STAGES)
    parser.add_argument("--seconds", type=float, help="time of this call")
    parser.add_argument("--groups", help="units of groups, e.g. a,bc (default: each, in turn)")
    parser.add_argument("--names", help="comma-separated names (default: all)")
    parser.add_argument("--partial", action="store_true", help="begin what another call ends")
    parser.add_argument("--eager", action="store_true", help="never compile")
    parser.add_argument("--out", type=Path, default=Path("data/bundle"), help="of bundle")
    args = parser.parse_args()
    with one_line_errors():
        plan, budget = record.read_json(args.plan), Budget(args.seconds)
        session = Session(plan, budget, args.partial, args.eager)
        chosen = units(plan, args.groups, args.names)
        try:
            run_stage(session, args, chosen)
        except TimeUp:
            print("the time is up; the same command goes on from here", flush=True)
    if session.failures:
        print("failed:", *session.failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)


def run_stage(session: Session, args: argparse.Namespace, chosen: list[list[dict]]) -> None:
    """Do what the command line names."""
    if args.stage == "unpack":
        unpack(session.plan, args.plan.parent)
    elif args.stage == "pretrain":
        report = session.budget.watched("pretrain")
        cache = record.ROOT / "data" / "cache"
        print(pretrain.in_words(pretrain.make_backbone(session.plan["pretrain"], cache, report)))
    elif args.stage == "state":
        state(session, chosen)
    elif args.stage == "bundle":
        for path in bundle(session.plan, args.out):
            print(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")
    else:
        work(session, args.stage, chosen)


if __name__ == "__main__":
    main()
