"""The experiments on a stand-in backbone: their plan, and their scores.

  python scripts/standin.py plan gpu [OVERRIDE ...]      configs/standin/gpu.yaml, resolved
  python scripts/run_plan.py data/standin/gpu/plan.json  the work; goes on where it was stopped
  python scripts/standin.py score                        scores, table, pictures: results/standin

A list with `carry: true` is packed with its data, for a machine that gets the checkout and
data/standin/gpu alone and pretrains the backbone too. Others use the data of this machine, and the
backbone that `python scripts/pretrain_backbone.py pretrain=standin_cpu` makes.
Overrides: pretrain.KEY=... of the backbone's recipe, any other of every run (train.max_steps=9).
"""

import copy
import functools
import lzma
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.tables.report import write_figures, write_table
from solo import files
from solo.cli import stages
from solo.cli.command import CONFIGS, one_line_errors, plain_parser
from solo.cli.rows import compose_row
from solo.cli.tables import table_of
from solo.datasets.download import check_file
from solo.runs import record, run
from solo.standin import corpus
from solo.standin import plain as pretrain

PLANS = Path("data/standin")


def read_list(name: str) -> dict:
    """configs/standin/NAME.yaml. Raises ValueError for an unknown one."""
    known = sorted(path.stem for path in (CONFIGS / "standin").glob("*.yaml"))
    if name not in known:
        raise ValueError(f"unknown list {name!r}; known: {', '.join(known)}")
    return files.read_yaml(CONFIGS / "standin" / f"{name}.yaml")


def resolve(name: str, overrides: list[str]) -> dict:
    """The plan of configs/standin/NAME.yaml: every configuration, resolved, as JSON-like dicts.

    Raises ValueError for whatever is wrong in a configuration.
    """
    listed = read_list(name)
    of_runs = [o for o in overrides if not o.startswith("pretrain.")]
    of_backbone = [o for o in overrides if o not in of_runs]
    home, carried = Path(listed["home"]), listed["carry"]
    paths = [f"corpus_dir={PLANS / name}/corpus", f"tokenizer={PLANS / name}/tokenizer"]
    of_backbone += [f"pretrain.{path}" for path in paths] if carried else []
    backbone = backbone_recipe(listed["pretrain"], of_backbone)
    common = [f"runs_dir={home}/runs", f"model.path={backbone['output_dir']}"]
    common += [f"data.dir={PLANS / name}/e2e"] if carried else []
    common += [*listed["overrides"], *of_runs]

    @functools.cache
    def configuration(member: str, seed: int = 1) -> dict:
        entry = listed["names"].get(member, {"row": f"standin/{member}", "overrides": []})
        config = compose_row(entry["row"], [*common, *entry["overrides"], f"seed={seed}"])
        if Path(backbone["output_dir"]).is_dir():
            run.identity(config, planned=True)  # finds what is wrong with it
        return config

    return {
        "home": str(home),
        "carried": carried,
        "together": listed["together"],
        "pretrain": backbone,
        "runs": [
            {"name": member, "group": group, "config": configuration(member, seed)}
            | {"rate_of": listed["rates_of"].get(member, member)}
            for group, members in listed["groups"].items()
            for seed in members["seeds"]
            for member in members["names"]
        ],
        "sweeps": {
            member: [of_sweep(configuration(member), listed, name, rate) for rate in rates]
            for member, rates in listed["rates"].items()
        },
    }


def of_sweep(config: dict, listed: dict, name: str, rate: float) -> dict:
    """A run's configuration as one of its sweep: shorter, another rate, fewer validation lines."""
    config, shorter = copy.deepcopy(config), listed["sweep"]
    config |= {"row": None, "runs_dir": f"{listed['home']}/sweep"}
    steps = {"max_steps": shorter["steps"], "warmup_steps": shorter["warmup_steps"]}
    config["train"] |= steps | {"lr": rate}
    config["data"] |= {"valid_path": str(PLANS / name / "valid_short.txt")}
    config["data"]["sha256"] |= {"valid": None}
    return config


def backbone_recipe(name: str, overrides: list[str]) -> dict:
    """The recipe configs/pretrain/NAME.yaml with overrides."""
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("pretrain_backbone", overrides=[f"pretrain={name}", *overrides])
            recipe = OmegaConf.to_container(cfg.pretrain, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"pretrain={name}: {' '.join(str(error).split())}") from error
    pretrain.check_config(recipe)
    return recipe


def shorten(path: Path, target: Path, every: int) -> None:
    """Write every so many-th line of a file."""
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    files.write_text(target, "".join(lines[::every]))


def pack(folder: Path, recipe: dict, data: dict) -> None:
    """Copy what pretraining and runs read, E2E's files compressed: as a whole below 64 MiB.

    recipe, data: of the backbone and of E2E's files on this machine.
    """
    texts = corpus.find_files(recipe["corpus_dir"], recipe["train_files"] + recipe["valid_files"])
    copies = {folder / "corpus" / path.name: path for path in texts}
    vocabulary = corpus.find_files(recipe["tokenizer"], ["*.json", "*.txt"])
    copies |= {folder / "tokenizer" / path.name: path for path in vocabulary}
    for split in ("train", "valid", "test"):
        path = Path(data[f"{split}_path"])
        copies[folder / "e2e" / "lora_format" / f"{path.name}.xz"] = path
    for target, source in copies.items():
        opener = lzma.open if target.suffix != source.suffix else open
        with files.atomic(target) as temporary, opener(temporary, "wb") as file:
            file.write(source.read_bytes())


def score(home: Path, references: str) -> None:
    """Score every decoded run, against this machine's references if need be; write the table."""
    decoded = []
    for path in sorted((home / "runs").glob("*/environment.json")):
        if record.stage_record(path.parent, "decode"):
            config = files.read_yaml(path.parent / "config.yaml")
            if not Path(config["evaluate"]["references"]).is_file():  # run elsewhere
                config["evaluate"]["references"] = references
            decoded.append((config, path.parent))
    stages.evaluate_all(decoded)
    table = table_of("standin", home / "runs")
    print(write_table(table, home))
    write_figures(table, home)


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("what", choices=["plan", "score"])
    parser.add_argument("list", nargs="?", default="cpu", help="of configs/standin (default: cpu)")
    parser.add_argument("overrides", nargs="*")
    args = parser.parse_intermixed_args()
    with one_line_errors():
        listed, here = read_list(args.list), compose_row("standin/none", [])
        if args.what == "score":
            score(Path(listed["home"]), here["evaluate"]["references"])
            return
        folder, data = PLANS / args.list, here["data"]
        for split in ("train", "valid", "test"):
            check_file(Path(data[f"{split}_path"]), data["sha256"][split])
        valid, every = Path(data["valid_path"]), listed["sweep"]["valid_every"]
        shorten(valid, folder / "valid_short.txt", every)
        plan = resolve(args.list, args.overrides)
        if listed["carry"]:
            pack(folder, backbone_recipe(listed["pretrain"], []), data)
        files.write_json(folder / "plan.json", plan)
        print(f"{folder / 'plan.json'}: {len(plan['runs'])} runs")


if __name__ == "__main__":
    main()
