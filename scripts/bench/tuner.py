"""What Solo Connection costs through peft: beside plain hooks, and beside peft's LoRA.

scripts/bench/tuner.py               # half a minute; the table goes into docs/library.md
scripts/bench/tuner.py --model S     # GPT-2 S instead of a model of standin12's size

Random weights, batch 4 of 64 tokens, fp32: a step (forward, backward, AdamW) and the greedy
generation of 16 tokens. The programs take turns; their times are compared round by round. On a
small model what does not grow with the model weighs most.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval import markdown as md
from solo import files
from solo.adapters import make_config
from solo.cli.command import ROOT, one_line_errors, plain_parser
from solo.peft import SoloConfig
from solo.runs import record

SHAPES = {
    "standin12": {"n_embd": 192, "n_head": 6, "vocab_size": 8192},
    "S": {},
}
BATCH, LENGTH, NEW_TOKENS, ROUNDS = 4, 64, 16, 9
Program = Callable[[], None]


def plain_hooks(backbone: PreTrainedModel) -> PreTrainedModel:
    method, config = make_config({"name": "solo", "rank": 128, "sparsity": 0.4})
    method.attach(backbone, config, 1)
    return backbone


def through_peft(backbone: PreTrainedModel) -> PreTrainedModel:
    return get_peft_model(backbone, SoloConfig(r=128, sparsity=0.4, seed=1))


def lora(backbone: PreTrainedModel) -> PreTrainedModel:
    return get_peft_model(
        backbone,
        LoraConfig(r=8, lora_alpha=32, lora_dropout=0.1, target_modules=["c_attn"],
                   fan_in_fan_out=True),
    )  # fmt: skip


PROGRAMS = {
    "Solo (r=128, s=0.4) by plain hooks": plain_hooks,
    "Solo (r=128, s=0.4) by solo.peft": through_peft,
    "LoRA (r=8 on c_attn) by peft": lora,
}


def programs_of(make, shape: GPT2Config) -> tuple[Program, Program]:
    """(a training step, a generation) of an adapted backbone."""
    torch.manual_seed(0)
    model = make(GPT2LMHeadModel(shape).eval())
    ids = torch.randint(shape.vocab_size, (BATCH, LENGTH))
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3)

    def step() -> None:
        model.train()
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    def generate() -> None:
        model.eval().generate(
            input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False,
            min_new_tokens=NEW_TOKENS, max_new_tokens=NEW_TOKENS, pad_token_id=0,
        )  # fmt: skip

    return step, generate


def measure(rounds: int, model: str) -> dict[str, list[list[float]]]:
    """Seconds of each program's step and generation, round by round; the first is a warm-up."""
    shape = GPT2Config(resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0, **SHAPES[model])
    programs = {name: programs_of(make, shape) for name, make in PROGRAMS.items()}
    times = {name: [[], []] for name in programs}
    for round_ in range(rounds + 1):
        for name, pair in programs.items():
            for kind, program in enumerate(pair):
                start = time.perf_counter()
                program()
                if round_:
                    times[name][kind].append(time.perf_counter() - start)
    return times


def table(times: dict[str, list[list[float]]]) -> str:
    """Markdown: medians, and ratios to the first program, round by round (lowest to highest)."""
    first = next(iter(times.values()))
    rows = []
    for name, pair in times.items():
        cells = []
        for own, base in zip(pair, first, strict=True):
            ratios = [mine / other for mine, other in zip(own, base, strict=True)]
            spread = f" ({min(ratios):.2f} to {max(ratios):.2f})" if own is not base else ""
            cells += [f"{statistics.median(own):.3f}", f"{statistics.median(ratios):.2f}{spread}"]
        rows.append([name, *cells])
    head = ["", "step, s", "ratio", "generation, s", "ratio"]
    return "\n".join(md.table(head, rows)) + "\n"


def main() -> None:
    parser = plain_parser(__doc__)
    parser.add_argument("--model", choices=SHAPES, default="standin12")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument(
        "--page", type=Path, default=ROOT / "docs/library.md", help=argparse.SUPPRESS
    )
    args = parser.parse_args()
    with one_line_errors():
        times = measure(args.rounds, args.model)
        found = record.environment()
        hardware = found["hardware"]
        device = hardware["gpu"] or f"{hardware['cpu']}, {hardware['threads']} thread(s)"
        context = (
            f"\nGPT-2 of {args.model}'s size, batch {BATCH} of {LENGTH} tokens, fp32: a step of "
            f"training and {NEW_TOKENS} tokens generated; medians of {args.rounds} rounds in "
            f"turns; ratio: to the first line's time, round by round, median (lowest to highest).\n"
            f"On {device}, torch {found['versions']['torch']}.\n\n"
        )
        page = args.page.read_text(encoding="utf-8")
        page = md.with_part(page, "python scripts/bench/tuner.py", context + table(times))
        files.write_text(args.page, page)
        print(table(times))


if __name__ == "__main__":
    main()
