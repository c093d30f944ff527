"""Run the rows of a table one after the other and fill it: scripts/reproduce.py table1

Overrides go to every row: scripts/reproduce.py table1 model.path=DIR train.max_steps=200
A stage whose output is there and fits its configuration is skipped. A row that fails is reported
at the end, with exit code 1; the others still run. Options before the overrides:
  --rows solo_s,lora_s   only these rows
  --out DIR              where the table goes
"""

import argparse
import sys
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from eval.report import write_table
from eval.tables import load_reported
from scripts import stages
from scripts.cli import CONFIGS, TABLES, check_experiments, one_line_errors


def compose_row(row: str, overrides: list[str]) -> dict:
    """The resolved configuration of a table row. Raises ValueError for a bad override."""
    check_experiments([row])
    try:
        with initialize_config_dir(str(CONFIGS), version_base="1.3"):
            cfg = compose("config", overrides=[f"experiment={row}", *overrides])
            return OmegaConf.to_container(cfg, resolve=True)
    except (HydraException, OmegaConfBaseException) as error:
        raise ValueError(f"{row}: {' '.join(str(error).split())}") from error


def run_row(config: dict) -> None:
    """All stages of one row."""
    print(f"== {config['row']}", file=sys.stderr, flush=True)
    run_dir = stages.train(config)
    stages.decode(config, run_dir)
    scores = stages.evaluate(config, run_dir)
    print(f"{config['row']}: BLEU {scores['BLEU']:.4f}  {run_dir}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("table", choices=sorted(TABLES))
    parser.add_argument("--rows", help="comma-separated names, without the table's")
    parser.add_argument("--out", type=Path, help="where the table goes (default: its own place)")
    parser.add_argument("overrides", nargs="*", help="Hydra overrides for every row")
    args = parser.parse_intermixed_args()
    failed = []
    with one_line_errors():
        known = [row["row"] for row in load_reported()[args.table]["rows"]]
        rows = [f"{args.table}/{name}" for name in args.rows.split(",")] if args.rows else known
        for row in rows:
            if row not in known:
                raise ValueError(f"unknown row {row!r}; known: {', '.join(known)}")
        configs = [compose_row(row, args.overrides) for row in rows]  # all, before any work
        for config in configs:
            try:
                run_row(config)
            except Exception as error:
                failed.append(f"{config['row']}: {type(error).__name__}: {error}")
                print(f"error: {failed[-1]}", file=sys.stderr, flush=True)
        out_dir = args.out or TABLES[args.table][1]
        print(write_table(args.table, Path(configs[0]["runs_dir"]), out_dir))
        print(f"written to {out_dir}", file=sys.stderr)
    if failed:
        print("failed rows:", *failed, sep="\n  ", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
