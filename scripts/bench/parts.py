"""The parts of the benchmark: each measures its programs in turns and gives back plain figures.

`args` are those of scripts/bench/main.py, which writes what the parts find.
"""

import os
from pathlib import Path

import torch
from tqdm import tqdm
from transformers import GPT2Config

from scripts.bench import growth as bench_growth
from scripts.bench.decode import TOY, bench_decode, toy_model
from scripts.bench.growth import M, S
from scripts.bench.peers import lora_recipe, peft_trainer
from scripts.bench.train import (
    FLOOR,
    LORA,
    LORA_FLOOR,
    OF_LORA,
    SOLO,
    batches_of,
    clock,
    compare,
    fresh,
    model_flops,
    one_by_one,
    ours,
    peak_flops,
    products,
    row,
    whole_run,
)
from solo import files
from solo.backbones import loading as backbone
from solo.cli.timing import LENGTHS, TARGETS
from solo.datasets import data
from solo.datasets.data import Example
from solo.decoding.recipe import BeamConfig
from solo.training.loss import RECORDED_CHECKS

SMALL = files.ROOT / "data/backbones/standin12"
TOGETHER = 4  # rates of a sweep
RANKS = (512, 128, 64, 32, 8)
# the first block that a span-1 connection reaches over, from 0: none below needs gradients
FIRST = 2


def bar(label: str, total: int):
    """A progress callback (done, total) with an ETA on standard error."""
    shown = tqdm(desc=label, total=total)

    def report(done: int, total: int) -> None:
        shown.update(done - shown.n)
        if done == total:
            shown.close()

    return report


def real_data(words: str | Path | None, n_tokens: int) -> tuple[list, list[list[int]], str]:
    """(training examples, test prompts, what they are) for a tokenizer's folder, which knows
    `n_tokens`."""
    folder = os.environ.get("E2E_DATA_DIR")
    if folder and words:
        tokenizer = backbone.load_tokenizer(Path(words))
        files = Path(folder, "lora_format")
        examples = data.encode(data.read_pairs(files / "train.txt")[:8000], tokenizer)
        contexts = [context for _, context in data.read_prompts(files / "test.txt")]
        return examples, data.encode_prompts(contexts, tokenizer), "E2E"
    draws = torch.Generator().manual_seed(0)
    ids = [torch.randint(n_tokens, (n,), generator=draws).tolist() for n in LENGTHS * 1600]
    prompts = [torch.randint(n_tokens, (37,), generator=draws).tolist() for _ in range(630)]
    examples = [Example(tokens, round((1 - TARGETS) * len(tokens))) for tokens in ids]
    return examples, prompts, "random tokens of E2E's lengths"


def train_part(args, examples: list[Example]) -> list[dict]:
    """Training at batch 4: ours plain and fast, the peers, and the products alone."""
    found = []
    for name, shape in (("S", S), ("M", M))[: 1 if args.device == "cpu" else 2]:
        model, programs = fresh(shape), {}
        for precision in args.precisions if name == "S" else args.precisions[-1:]:
            plain = ours(model, [SOLO], precision, packed=False)
            programs["ours, plain path", precision] = plain
            programs["ours", precision] = ours(model, [SOLO], precision)
            programs[FLOOR, precision] = products(shape, precision, args.device, FIRST)
            if name == "S":
                programs[LORA_FLOOR, precision] = products(shape, precision, args.device, 0)
                lora = ours(model, [LORA], precision)
                programs["ours, lora", precision] = lora
                programs["peft + Trainer", precision] = peft_trainer(fresh(shape), precision)
        if args.lora_nlg and name == "S":
            programs["LoRA's recipe", "fp32"] = lora_recipe(args.lora_nlg, shape)
        report = bar(f"train {name}", args.rounds * len(programs))
        few = {"LoRA's recipe": 2}  # of which one is timed: it pads every example to 512 tokens
        timed = compare(programs, examples, args.rounds, args.steps, few=few, on_progress=report)
        by_key = {(t.name, t.precision): t for t in timed}
        fast = by_key["ours", args.precisions[-1]]
        tokens = sum(len(example.ids) for example in examples)
        for one in timed:
            lora = one.name in OF_LORA
            floor = by_key[LORA_FLOOR if lora else FLOOR, one.precision]
            entry = row(one, fast, floor) | {"backbone": name}
            flops = model_flops(shape, batches_of(examples, 4), 0 if lora else FIRST)
            rate = flops / tokens * entry["tokens_per_s"][0]
            entry["mfu"] = rate / peak_flops(args.device, one.precision)
            found.append(entry)
    return found


def sweep_part(args, examples: list[Example]) -> list[dict]:
    """The ten Solo rows of Table 2 together, and one by one."""
    options = [SOLO | {"rank": rank, "sparsity": s} for rank in RANKS for s in (0.0, 0.4)]
    model, found = fresh(S), []
    precision = args.precisions[-1] if args.device != "cpu" else "fp32"
    if args.device != "cpu":  # few shapes, recorded before the half that is timed
        examples = [example for example in examples if 32 < len(example.ids) <= 64]
    alone = [ours(model, [one], precision) for one in options]
    programs = {
        ("ten runs together", precision): ours(model, options, precision),
        ("ten runs one by one", precision): one_by_one(alone),
    }
    rounds, steps = min(2, args.rounds), args.steps if args.device != "cpu" else 4
    report = bar("sweep", rounds * len(programs))
    timed = compare(programs, examples, rounds, steps, on_progress=report)
    for one in timed:
        one.tokens_per_s = [len(options) * rate for rate in one.tokens_per_s]  # of all ten runs
        found.append(row(one, timed[0], None))
    return found


def small_part(args) -> list[dict]:
    """standin12's shape: Solo and LoRA, a run alone and the rates of a sweep together."""
    shape, precision = GPT2Config.from_pretrained(SMALL), args.precisions[-1]
    examples, _, _ = real_data(SMALL, shape.vocab_size)
    model, programs, found = fresh(shape), {}, []
    programs[FLOOR, precision] = products(shape, precision, args.device, FIRST)
    for name, one in (("Solo", SOLO), ("LoRA", LORA)):
        for n_runs in (1, TOGETHER):
            programs[_runs(n_runs, name), precision] = ours(model, [one] * n_runs, precision)
    report = bar("small", args.rounds * len(programs))
    timed = compare(programs, examples, args.rounds, 5 * args.steps, on_progress=report)
    for name in ("Solo", "LoRA"):
        floor, alone, together = (
            next(t for t in timed if t.name == wanted)
            for wanted in (FLOOR, _runs(1, name), _runs(TOGETHER, name))
        )
        together.tokens_per_s = [TOGETHER * rate for rate in together.tokens_per_s]  # of all
        floor = floor if name == "Solo" else None  # LoRA's gradients go through every block
        found += [row(one, together, floor) for one in (alone, together)]
    return found


def _runs(count: int, name: str) -> str:
    return f"ours, {name}, one run" if count == 1 else f"ours, {name}, {count} runs together"


def decode_part(args, prompts: list[list[int]]) -> dict[str, list[dict]]:
    """Beam search beside the peers on the toy model; S and M on an accelerator."""
    ends, found = (50256, 628), {}
    models = {f"toy, {TOY['n_layer']} x {TOY['n_embd']}": toy_model()}
    counts = {"ours": len(prompts), "generate": 28, "lora": 2}
    if args.device == "cpu":
        counts["ours"] = 64
    else:
        counts["generate"] = 2 * BeamConfig().contexts(torch.device(args.device))  # two whole calls
        models = {"GPT-2 S": fresh(S), "GPT-2 M": fresh(M)} | models
    counts = {name: max(2, round(args.share * count)) for name, count in counts.items()}
    for name, model in models.items():
        rounds = min(3, args.rounds)
        nlg = args.lora_nlg if name.startswith("toy") else None
        report = bar(f"decode {name}", rounds * (3 if nlg else 2))
        found[name] = bench_decode(model.eval(), prompts, ends, nlg, rounds, counts, report)
    return found


def growth_part(args) -> dict:
    """Time and peak memory against what is varied, and of whole configurations."""
    precision, steps = args.precisions[-1], args.growth_steps
    varied = bench_growth.points()
    named = [(f"{title}: {v}", settings) for title, p in varied.items() for v, settings in p]
    named += list(bench_growth.configurations().items())
    found = bench_growth.measure_all(named, precision, steps, bar("growth", len(named)))
    growth, start = {}, 0
    for title, p in varied.items():
        part = found[start : start + len(p)]
        growth[title] = [one | {"value": v} for one, (v, _) in zip(part, p, strict=True)]
        start += len(p)
    return {"precision": precision, "growth": growth, "memory": found[start:]}


def whole_runs(args, examples: list[Example], limits: dict[str, float], **recipe) -> list[dict]:
    """Five epochs of E2E's size from start to end, recording and validation included.

    A run that takes longer than its limit, in seconds, is cut off, and its whole time is estimated.
    """
    many = (examples * (46_733 // len(examples) + 1))[:46_733]
    train, valid, found = many[:42_061], many[42_061:], []
    valid = valid[: max(1, round(args.share * len(valid)))]
    for name, limit in limits.items():
        shape, precision, limit = {"S": S, "M": M}[name], args.precisions[-1], limit * args.share
        result = whole_run(fresh(shape), train, valid, precision, limit, **recipe)
        found.append({"backbone": name} | result)
    return found


def compiled_part(args, examples: list[Example]) -> list[dict]:
    """GPT-2 S with compiled blocks, and as it is beside it: whole runs, on a CPU single steps."""
    if args.device == "cpu":
        return compiled_steps(args, examples)
    plain = whole_runs(args, examples, {"S": 25.0})[0] | {"backbone": "S, uncompiled"}
    return [*whole_runs(args, examples, {"S": 90.0}, compile=True), plain]


def compiled_steps(args, examples: list[Example]) -> list[dict]:
    """Solo and LoRA with compiled blocks and without, in turns; floors are their own products."""
    model, precision, programs, found = fresh(S), args.precisions[-1], {}, []
    for name, one, first in (("Solo", SOLO, FIRST), ("LoRA", LORA, 0)):
        programs[name, precision] = ours(model, [one], precision)
        programs[f"{name}, compiled", precision] = ours(model, [one], precision, compile=True)
        programs[f"products alone, {name}", precision] = products(S, precision, args.device, first)
    # The first steps compile, and are made twice, for the check.
    steps = 2 * max(args.steps, RECORDED_CHECKS + 1)
    report = bar("compiled", args.rounds * len(programs))
    timed = compare(programs, examples, args.rounds, steps, on_progress=report)
    for plain, compiled, floor in (timed[:3], timed[3:]):
        found += [row(one, plain, floor) for one in (plain, compiled, floor)]
    return found


def profile(args, examples: list[Example]) -> list[list]:
    """Where a fast step's time goes: [operation, share of the time in it alone], largest first."""
    activities = [torch.profiler.ProfilerActivity.CPU]
    if args.device != "cpu":
        activities.append(torch.profiler.ProfilerActivity.CUDA)
    model, run = fresh(S), torch.profiler.profile(activities=activities)
    batches = batches_of(examples[: 4 * min(args.steps, 50)], 4)

    def watch(done: int, total: int) -> None:
        if done == len(batches):  # all is checked and packed, and every shape recorded
            clock(model.device)
            run.start()

    ours(model, [SOLO], args.precisions[-1], watch)(batches + batches)
    clock(model.device)
    run.stop()
    return shares(run.key_averages(), args.device)


def shares(events, device: str) -> list[list]:
    """The 15 longest of a profile's averages: [operation, share of the time in it alone].

    On a device only what ran there counts, as in torch's own sum: an operation of the CPU has the
    time of the kernels that it launched, too, and an annotation that of all kernels within it.
    """
    key = "self_cpu_time_total"
    if device != "cpu":
        key, on_cpu = "self_device_time_total", torch.autograd.DeviceType.CPU
        events = [e for e in events if e.device_type != on_cpu and not e.is_user_annotation]
    times = sorted(((getattr(e, key), e.key) for e in events), reverse=True)
    total = sum(spent for spent, _ in times)
    return [[name[:60], spent / total] for spent, name in times[:15]]
