"""Speed and memory: training, decoding, sweeps, growth; ours beside the peers, in one run.

scripts/bench/main.py                               # everything, 10 to 16 minutes on two cores
scripts/bench/main.py train decode --lora-nlg DIR   # with LoRA's recipe: DIR is examples/NLG of a
                                                    # microsoft/LoRA clone
scripts/bench/main.py --redraw                      # table and picture from the JSON file

Random weights: speed does not depend on them. Training examples are E2E's where E2E_DATA_DIR and
GPT2_TOKENIZER_DIR name the data, else random tokens of E2E's lengths. Programs that are compared
take turns; a figure is the median of the rounds, the lowest and highest behind it. Writes
results/bench/NAME.json, NAME.md and NAME_growth.png, NAME being cpu or the accelerator's kind.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval.command import ending
from scripts.bench import parts
from scripts.bench import report as bench_report
from scripts.bench.growth import S
from solo import files
from solo.backbones import loading as backbone
from solo.cli.command import keep_freed_memory, plain_parser
from solo.cli.terminal import show
from solo.runs import record

# In the order of their worth.
PARTS = ("whole", "compiled", "train", "profile", "sweep", "small", "decode", "growth")


def main() -> None:
    keep_freed_memory()  # as every command does
    parser = plain_parser(__doc__)
    parser.add_argument("parts", nargs="*", help=f"out of {', '.join(PARTS)} (default: all)")
    parser.add_argument("--lora-nlg", type=Path, metavar="DIR", help="examples/NLG of LoRA's clone")
    parser.add_argument("--rounds", type=int, help="times that the programs take turns (3; GPU: 2)")
    parser.add_argument("--steps", type=int, help="training steps a round, half of them timed")
    parser.add_argument("--share", type=float, default=1.0, help="of steps and contexts (1)")
    parser.add_argument("--out", type=Path, default=files.ROOT / "results" / "bench")
    parser.add_argument("--redraw", action="store_true", help="only write table and picture again")
    args = parser.parse_args()
    unknown = sorted(set(args.parts) - set(PARTS))
    if unknown:
        parser.error(f"unknown part {unknown[0]!r}; known: {', '.join(PARTS)}")
    args.device = backbone.device().type
    path = args.out / f"{args.device}.json"
    before = committed(path)
    if not args.redraw:
        measure(args, path)
    bench_report.write(path)
    show(bench_report.page(files.read_json(path), before))  # the comparison is of today, not kept
    ending([path, path.with_suffix(".md")], "git diff results/bench", "python scripts/quotes.py")


def committed(path: Path) -> dict:
    """A file's figures in the last commit; as they stand where it is in none."""
    if path.resolve().is_relative_to(files.ROOT):
        inside = path.resolve().relative_to(files.ROOT).as_posix()
        if text := record.git("show", f"HEAD:{inside}"):
            return json.loads(text)
    return files.read_json(path) if path.exists() else {}


def measure(args, path: Path) -> None:
    """Run the parts that were asked for; each goes into the JSON file as soon as it is there."""
    on_cpu = args.device == "cpu"
    few = args.share < 1  # a rehearsal
    args.steps = args.steps or max(2, round(args.share * (12 if on_cpu else 200)))
    args.rounds = args.rounds or (1 if few else 3 if on_cpu else 2)
    args.growth_steps = (2 if few else 5) if on_cpu else 200
    args.precisions = ("fp32", "bf16")
    examples, prompts, source = parts.real_data(os.environ.get("GPT2_TOKENIZER_DIR"), S.vocab_size)
    found = files.read_json(path) if path.exists() else {}
    environment = record.environment()  # before the first part writes: its file is a change, too
    # Five epochs of GPT-2 take a day on a CPU: measured there only where asked for.
    on_a_cpu = PARTS[1:] if shutil.which(os.environ.get("CXX", "g++")) else PARTS[2:]
    chosen = args.parts or (on_a_cpu if on_cpu else PARTS)
    limits = {"S": 60.0} if on_cpu else {"S": 60.0, "M": 25.0}
    work = {
        "whole": lambda: parts.whole_runs(args, examples, limits),
        "compiled": lambda: parts.compiled_part(args, examples),
        "train": lambda: parts.train_part(args, examples),
        "profile": lambda: parts.profile(args, examples),
        "sweep": lambda: parts.sweep_part(args, examples),
        "small": lambda: parts.small_part(args),
        "decode": lambda: parts.decode_part(args, prompts),
        "growth": lambda: parts.growth_part(args),
    }
    for name, part in work.items():
        if name in chosen or name == "profile" and "train" in chosen:
            start = time.perf_counter()
            result = part()
            context = {"data": source, "seconds": time.perf_counter() - start}
            found[name] = context | {"found": result} | environment
            files.write_json(path, found)


if __name__ == "__main__":
    main()
