"""The experiments on a stand-in backbone: what to run, what it needs, its scores.

  python scripts/standin.py pack gpu    configs/standin/gpu.yaml, resolved, and the data: data/carry
  python scripts/run_plan.py data/carry/plan.json ...   the work, here or where data/carry is taken
  python scripts/standin.py score       score what is decoded under results/standin/runs
  python scripts/tables.py standin      table and pictures: results/standin
After `pack NAME` come overrides: pretrain.KEY=... for the backbone's recipe, sweep.KEY=... for the
list's sweep, and Hydra's for every run (train.max_steps=100).
"""

import copy
import functools
import lzma
import shutil
import sys
from contextlib import suppress
from pathlib import Path

import yaml
from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from scripts import stages
from scripts.cli import CONFIGS, RESULTS, one_line_errors, plain_parser
from scripts.rows import compose_row
from solo import corpus, pretrain, record, run
from solo.download import check_file

CARRY, DATA = Path("data/carry"), Path("data/e2e")
SHORT = Path("data/valid_short.txt")  # the sweeps' validation file


def resolve(name: str, overrides: list[str]) -> dict:
    """The plan of configs/standin/NAME.yaml: every configuration, resolved, as JSON-like dicts.

    Paths are relative to the checkout, so that the plan runs in another one. Raises ValueError for
    an unknown list and for whatever is wrong in a configuration.
    """
    known = sorted(path.stem for path in (CONFIGS / "standin").glob("*.yaml"))
    if name not in known:
        raise ValueError(f"unknown list {name!r}; known: {', '.join(known)}")
    text = (CONFIGS / "standin" / f"{name}.yaml").read_text(encoding="utf-8")
    kinds = {
        kind: [o for o in overrides if o.startswith(f"{kind}.")] for kind in ("pretrain", "sweep")
    }
    of_runs = [o for o in overrides if not o.startswith(("pretrain.", "sweep."))]
    listed = OmegaConf.merge(yaml.safe_load(text), OmegaConf.from_dotlist(kinds["sweep"]))
    listed = OmegaConf.to_container(listed)
    backbone = backbone_recipe(listed["pretrain"], kinds["pretrain"])
    home = Path(listed["home"])
    common = [f"data.dir={DATA}", f"runs_dir={home}/runs", f"model.path={backbone['output_dir']}"]
    common += [*listed["overrides"], *of_runs]

    @functools.cache
    def configuration(name: str, seed: int = 1) -> dict:
        entry = listed["names"].get(name, {"row": f"standin/{name}", "overrides": []})
        config = compose_row(entry["row"], [*common, *entry["overrides"], f"seed={seed}"])
        with suppress(FileNotFoundError):  # what is still to be unpacked
            run.identity(config, planned=True)  # finds what is wrong with it
        return config

    runs = [
        {"name": name, "group": group, "config": configuration(name, seed)}
        for group, members in listed["groups"].items()
        for seed in members["seeds"]
        for name in members["names"]
    ]
    return {
        "recipe": listed["pretrain"],
        "pretrain": backbone,
        "home": str(home),
        "together": listed["together"],
        "runs_dir": str(home / "runs"),
        "sweep_dir": str(home / "sweep"),
        "rates_dir": str(home / "rates"),
        "data_dir": str(DATA),
        "short_valid": str(SHORT),
        "valid_every": listed["sweep"]["valid_every"],
        "names": list(dict.fromkeys(job["name"] for job in runs)),
        "rates_of": listed["rates_of"],
        "runs": runs,
        "sweeps": {
            name: [of_sweep(configuration(name), listed, rate) for rate in rates]
            for name, rates in listed["rates"].items()
        },
    }


def of_sweep(config: dict, listed: dict, rate: float) -> dict:
    """A run's configuration as one of its sweep: shorter, another rate, fewer validation lines."""
    config, sweep = copy.deepcopy(config), listed["sweep"]
    config |= {"row": None, "runs_dir": f"{listed['home']}/sweep"}
    steps = {"max_steps": sweep["steps"], "warmup_steps": sweep["warmup_steps"], "lr": rate}
    config["train"] |= steps
    config["data"] |= {"valid_path": str(SHORT)}
    config["data"]["sha256"] |= {"valid": None}
    return config


def backbone_recipe(name: str, overrides: list[str]) -> dict:
    """The recipe configs/pretrain/NAME.yaml with overrides, reading from data/carry."""
    paths = [f"pretrain.corpus_dir={CARRY}/corpus", f"pretrain.tokenizer={CARRY}/tokenizer"]
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            chosen = [f"pretrain={name}", *paths, *overrides]
            cfg = compose("pretrain_backbone", overrides=chosen)
            recipe = OmegaConf.to_container(cfg.pretrain, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"pretrain={name}: {' '.join(str(error).split())}") from error
    pretrain.check_config(recipe)
    return recipe


def pack(plan: dict, sources: dict) -> None:
    """Gather in data/carry what the plan's runs read; run_plan.py unpacks it.

    sources: {"corpus": folder, "tokenizer": folder, "data": configuration of E2E's files}.
    """
    recipe, data = plan["pretrain"], sources["data"]
    patterns = recipe["train_files"] + recipe["valid_files"]
    for path in dict.fromkeys(corpus.find_files(sources["corpus"], patterns)):
        _copy(path, CARRY / "corpus" / path.name)
    for path in corpus.find_files(sources["tokenizer"], ["*.json", "*.txt"]):
        _copy(path, CARRY / "tokenizer" / path.name)
    for split in ("train", "valid", "test"):
        path = Path(data[f"{split}_path"])
        check_file(path, data["sha256"][split])
        target = CARRY / "e2e" / f"{split}.txt.xz"
        if not target.exists():
            with record.atomic(target) as temporary, lzma.open(temporary, "wb") as file:
                file.write(path.read_bytes())
    record.write_json(CARRY / "plan.json", plan)
    size = sum(path.stat().st_size for path in CARRY.rglob("*") if path.is_file())
    print(f"{CARRY}: {len(plan['runs'])} runs, {size / 2**20:.1f} MiB in all")


def _copy(source: Path, target: Path) -> None:
    if not target.exists():
        with record.atomic(target) as temporary:
            shutil.copyfile(source, temporary)


def sources_of(name: str) -> dict:
    """Where corpus, tokenizer and E2E are on this machine, by the configs' own defaults."""
    with initialize_config_dir(str(CONFIGS), version_base="1.3"):
        cfg = compose("pretrain_backbone", overrides=[f"pretrain={name}"])
        recipe = OmegaConf.to_container(cfg.pretrain, resolve=True)
    data = compose_row("standin/none", [])["data"]
    found = {"corpus": recipe["corpus_dir"], "tokenizer": recipe["tokenizer"]}
    for kind, path in found.items():
        if not Path(path).is_dir():
            raise ValueError(f"no {kind} at {path}; set CORPUS_DIR and GPT2_TOKENIZER_DIR")
    return {kind: Path(path) for kind, path in found.items()} | {"data": data}


def score(runs_dir: Path) -> None:
    """Score every decoded run against E2E's references on this machine."""
    decoded = []
    for path in sorted(runs_dir.glob("*/environment.json")):
        if record.stage_record(path.parent, "decode"):
            config = record.read_yaml(path.parent / "config.yaml")
            decoded.append((config, path.parent))
    for (_, run_dir), scores in zip(decoded, stages.evaluate_all(decoded), strict=True):
        print(f"{run_dir.name}: BLEU {scores['BLEU']:.4f}")


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("what", choices=["pack", "score"])
    parser.add_argument("list", nargs="?", default="gpu", help="of configs/standin")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument("--home", type=Path, default=RESULTS / "standin", help="of score")
    args = parser.parse_intermixed_args()
    with one_line_errors():
        if args.what == "pack":
            plan = resolve(args.list, args.overrides)
            pack(plan, sources_of(plan["recipe"]))
        else:
            score(args.home / "runs")


if __name__ == "__main__":
    main()
