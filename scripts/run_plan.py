"""Do what a plan of scripts/standin.py says, here or where Hydra and `datasets` are missing.

  python scripts/run_plan.py PLAN.json

It unpacks the data and pretrains the backbone where the plan has them with it; then, group by group
in the order of the plan, tries learning rates, trains and decodes. What is done is not repeated and
what was killed goes on from its last state: give the same command until it says that all is done.
Several processes can share the work, each with other --names. Options:
  --seconds 560       stop by itself after so long
  --groups a,b        only these; --names solo,lora: only these
  --out DIR           gather there what is worth keeping, as .tar files of at most 15 MiB each
"""

import copy
import lzma
import sys
import tarfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from solo import files
from solo.cli.command import one_line_errors, plain_parser
from solo.runs import record, run
from solo.runs import together as sweep
from solo.runs.checkpoint import WEIGHTS
from solo.standin import plain as pretrain

DIVERGED = "diverged.json"  # of a run that would only diverge again
BUNDLE, MOST = 15 * 2**20, 4  # bytes of a .tar file; how many
failures: list[str] = []


class TimeUp(BaseException):
    """--seconds are over: no error of a run, so nothing that goes on after those catches it."""


def reporter(label: str, end: float):
    """A callback (done, total, info) that prints a line every 20 s; raises TimeUp after `end`."""
    last = [time.monotonic()]

    def report(done: int, total: int, info: dict) -> None:
        now = time.monotonic()
        if now > end:
            raise TimeUp
        if now - last[0] > 20 or done == total:
            last[0] = now
            words = " ".join(f"{key} {value}" for key, value in info.items())
            print(f"{label}: {done:,} of {total:,} {words}", flush=True)

    return report


def unpack(folder: Path) -> None:
    """Write E2E's files where the runs read them."""
    for packed in sorted((folder / "e2e").rglob("*.xz")):
        if not packed.with_suffix("").exists():
            with lzma.open(packed) as file, files.atomic(packed.with_suffix("")) as temporary:
                temporary.write_bytes(file.read())


def label(job: dict) -> str:
    """A job in words."""
    return f"{job['name']} lr {job['config']['train']['lr']:g} seed {job['config']['seed']}"


def directory(config: dict) -> Path:
    return run.run_directory(config, run.identity(config))


def train(jobs: list[dict], end: float) -> None:
    """Train what is not trained yet, together what can be; what fails is a line."""
    by_directory = {directory(job["config"]): job for job in jobs}
    todo = [
        job
        for path, job in by_directory.items()
        if not record.stage_record(path, "train") and not (path / DIVERGED).exists()
    ]

    def alone(config: dict) -> None:
        path = directory(config)
        what = f"train {label(by_directory[path])}"
        try:
            run.train_run(config, reporter(what, end))
        except Exception as error:
            fail(what, error)
            if isinstance(error, FloatingPointError):
                files.write_json(path / DIVERGED, {"error": str(error)})

    def say(error: Exception) -> None:
        print(f"together: {type(error).__name__}: {error}", flush=True)

    for group in sweep.groups([job["config"] for job in todo]):
        report = reporter(f"train {len(group)} runs", end)
        sweep.train_group(group, report, alone, say)


def decode(jobs: list[dict], end: float) -> None:
    """Decode the test set with what is trained and not decoded yet."""
    for job in jobs:
        path = directory(job["config"])
        if record.stage_record(path, "train") and not record.stage_record(path, "decode"):
            try:
                run.decode_run(job["config"], path, reporter(f"decode {label(job)}", end))
            except Exception as error:
                fail(f"decode {label(job)}", error)


def fail(what: str, error: Exception) -> None:
    failures.append(f"{what}: {type(error).__name__}: {error}")
    print(f"error: {failures[-1]}", flush=True)


def choose_rates(plan: dict, names: list[str], end: float) -> None:
    """Train every rate of those `names` that have some, and write down the best of each."""
    todo = {name: plan["sweeps"][name] for name in names if name in plan["sweeps"]}
    todo = {name: c for name, c in todo.items() if not rates_file(plan, name).exists()}
    train([{"name": name, "config": c} for name, configs in todo.items() for c in configs], end)
    for name, configs in todo.items():
        done = [record.stage_record(directory(config), "train") for config in configs]
        losses = {
            config["train"]["lr"]: entry["valid_loss"] if entry else None
            for config, entry in zip(configs, done, strict=True)
        }
        if any(done):
            best = min((lr for lr in losses if losses[lr] is not None), key=losses.get)
            found = {"best": best, "valid_losses": list(losses.items())}
            files.write_json(rates_file(plan, name), found)
            print(f"{name}: {found}", flush=True)


def rates_file(plan: dict, name: str) -> Path:
    return Path(plan["home"]) / "rates" / f"{name}.json"


def with_rates(plan: dict, jobs: list[dict]) -> list[dict]:
    """The jobs with their learning rates; one whose sweep failed is left out, and said."""
    ready = []
    for job in copy.deepcopy(jobs):
        found = rates_file(plan, job["rate_of"])
        if found.exists():
            job["config"]["train"]["lr"] = files.read_json(found)["best"]
        elif job["rate_of"] in plan["sweeps"]:
            fail(job["name"], ValueError("no rate trained to its end; try lower ones"))
            continue
        ready.append(job)
    return ready


def units(plan: dict, groups: str | None, names: str | None) -> list[list[dict]]:
    """The chosen jobs, a group at a time or, without `together`, a run. ValueError: unknown one."""
    jobs = plan["runs"]
    for kind, given in (("group", groups), ("name", names)):
        known = dict.fromkeys(job[kind] for job in plan["runs"])
        for one in given.split(",") if given else ():
            if one not in known:
                raise ValueError(f"the plan has no {kind} {one!r}; it has {', '.join(known)}")
        jobs = [job for job in jobs if not given or job[kind] in given.split(",")]
    if not plan["together"]:
        return [[job] for job in jobs]
    found = dict.fromkeys(job["group"] for job in jobs)
    return [[job for job in jobs if job["group"] == group] for group in found]


def work(plan: dict, folder: Path, chosen: list[list[dict]], end: float) -> None:
    """All that the plan says for the chosen jobs."""
    if plan["carried"]:
        unpack(folder)
        report = reporter("pretrain", end)
        made = pretrain.make_backbone(plan["pretrain"], files.ROOT / "data" / "cache", report)
        print(pretrain.in_words(made), flush=True)
    for jobs in chosen:
        choose_rates(plan, [job["rate_of"] for job in jobs], end)
        ready = with_rates(plan, jobs)
        train(ready, end)
        decode(ready, end)


def bundle(plan: dict, out: Path) -> None:
    """Tar what is worth keeping: all but weights first, then adapters, full fine-tuning's aside."""
    home, backbone = Path(plan["home"]), Path(plan["pretrain"]["output_dir"])
    found = [path for path in sorted(home.rglob("*")) if path.is_file() and path.name[0] != "."]
    kept = [path for path in found if path.suffix != ".safetensors"]
    kept += [backbone / name for name in (pretrain.LOG, pretrain.SUMMARY, "config.json")]
    kept += [
        p for p in found if p.name == WEIGHTS and p.match("runs/*/*") and "full-" not in str(p)
    ]
    parts: list[list[Path]] = []
    size = BUNDLE
    for path in filter(Path.is_file, kept):
        room = 1024 + -(-path.stat().st_size // 512) * 512  # header, content in blocks
        if size + room > BUNDLE:
            parts.append([])
            size = 10240  # the end of a .tar
        parts[-1].append(path)
        size += room
    for number, paths in enumerate(parts[:MOST]):
        target = out / f"standin_{number}.tar"
        with files.atomic(target) as temporary, tarfile.open(temporary, "w") as tar:
            for path in paths:
                tar.add(path)
        print(f"{target}: {len(paths)} files, {target.stat().st_size / 2**20:.1f} MiB")
    left = sum(map(len, parts[MOST:]))
    print(f"{left} adapters left out" if left else "nothing left out", flush=True)


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("plan", type=Path)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="(default: no end)")
    parser.add_argument("--groups", help="comma-separated (default: all)")
    parser.add_argument("--names", help="comma-separated (default: all)")
    parser.add_argument("--out", type=Path, help="(default: nothing is gathered)")
    args = parser.parse_args()
    end = time.monotonic() + args.seconds
    with one_line_errors():
        plan = files.read_json(args.plan)
        chosen = units(plan, args.groups, args.names)
        try:
            work(plan, args.plan.parent, chosen, end)
            print("all done", flush=True)
        except TimeUp:
            print("the time is up; the same command goes on from here", flush=True)
        finally:
            if args.out:
                bundle(plan, args.out)
    if failures:
        print("failed:", *failures, sep="\n  ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
