"""The benchmark's programs get the work that the tables say; its report shows what was found."""

import json
import mmap
import subprocess
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from matplotlib.container import ErrorbarContainer
from transformers import GPT2Config

from eval.tables import speed
from scripts.bench import decode as bench_decode
from scripts.bench import growth as bench_growth
from scripts.bench import parts as bench
from scripts.bench import report as bench_report
from scripts.bench import train as bench_train
from scripts.bench.peers import peft_trainer
from scripts.bench.train import (
    batches_of,
    compare,
    count,
    fresh,
    model_flops,
    ours,
    products,
    row,
    whole_run,
)
from solo.datasets.data import Example
from solo.training import loop as training
from solo.training.loss import RECORDED_CHECKS

ROOT = Path(__file__).resolve().parent.parent.parent
TINY = GPT2Config(n_layer=4, n_embd=16, n_head=2, vocab_size=64, n_positions=32)
DRAWS = torch.Generator().manual_seed(4)
EXAMPLES = [
    Example(torch.randint(64, (n,), generator=DRAWS).tolist(), 3) for n in (5, 9, 7, 6, 8, 11) * 2
]


def test_our_loop_takes_the_batches_in_the_order_given(monkeypatch):
    seen = []
    share_of = training.share_of

    def record(batch, processes):
        seen.append([replace(example, key=0) for example in batch])
        return share_of(batch, processes)

    monkeypatch.setattr(training, "share_of", record)
    batches = batches_of(EXAMPLES, 3)
    times = ours(fresh(TINY), [{"name": "lora"}], "fp32")(batches)
    assert seen == batches and len(times) == len(batches) == 4
    assert times == sorted(times)


def test_programs_take_turns_on_the_same_tokens():
    programs = {
        ("ours", "fp32"): ours(fresh(TINY), [{"name": "ia3"}], "fp32"),
        ("peft + Trainer", "fp32"): peft_trainer(fresh(TINY), "fp32"),
        ("products alone", "fp32"): products(TINY, "fp32", "cpu", 2),
    }
    timed = compare(programs, EXAMPLES, rounds=2, steps=4, size=2)
    for one in timed:
        tokens = [s * rate for s, rate in zip(one.seconds, one.tokens_per_s, strict=True)]
        halves = [batches_of(EXAMPLES[start : start + 8], 2)[2:] for start in (0, 0)]
        expected = [sum(count(batch)[0] for batch in half) / 2 for half in halves]
        assert tokens == pytest.approx(expected)
    alone = row(timed[2], timed[0], timed[2])
    assert alone["of_floor"] == [1.0, 1.0, 1.0]
    assert row(timed[0], timed[0], timed[2])["of_floor"][0] < 1


def test_flops_by_hand():
    """Two examples of 5 and 9 tokens, 2 + 6 targets, d = 16, 4 blocks, gradients in the upper 2."""
    d, products_of_a_block = 16, 12 * 16 * 16
    attention = 4 * d * (5 * 5 + 9 * 9) / 2
    forward = 4 * (2 * products_of_a_block * 14 + attention)
    backward = 2 * (2 * products_of_a_block * 14 + 2 * attention)
    head = 2 * (2 * d * 64 * 8)
    assert model_flops(TINY, [EXAMPLES[:2]], 2) == forward + backward + head


def test_slow_programs_are_compared_on_the_same_tokens():
    """A program of few steps, all alike, is slower by the seconds of a step, whatever its batch."""

    def every(seconds):
        return lambda batches: [seconds * (k + 1) for k in range(len(batches))]

    programs = {("ours", "fp32"): every(1.0), ("slow", "fp32"): every(7.0)}
    fast, slow = compare(programs, EXAMPLES, rounds=2, steps=4, size=2, few={"slow": 2})
    assert slow.seconds == [7.0, 7.0]
    assert row(slow, fast, None)["slower"] == pytest.approx([7.0] * 3)


def test_a_program_that_trains_lora_is_held_against_loras_products(monkeypatch):
    """Gradients through every block, in floor and flops; Solo's from FIRST up."""
    monkeypatch.setattr(bench, "S", TINY)
    monkeypatch.setattr(bench, "peak_flops", lambda device, precision: 1e9)
    floors = []

    def slower_by_blocks(shape, precision, device, first):
        floors.append(first)
        return lambda batches: [(5.0 - first) * (k + 1) for k in range(len(batches))]

    monkeypatch.setattr(bench, "products", slower_by_blocks)
    args = Namespace(device="cpu", precisions=("fp32",), rounds=1, steps=2, lora_nlg=None)
    found = {entry["program"]: entry for entry in bench.train_part(args, EXAMPLES)}
    assert sorted(floors) == [0, bench.FIRST]
    tokens, batches = sum(len(e.ids) for e in EXAMPLES), batches_of(EXAMPLES, 4)
    for name, first in (("ours", 2), ("ours, lora", 0), ("peft + Trainer", 0)):
        entry, floor = found[name], 5.0 - first
        assert entry["of_floor"][0] == pytest.approx(floor / entry["s_per_step"][0])
        flops = model_flops(TINY, batches, first) / tokens * entry["tokens_per_s"][0]
        assert entry["mfu"] == pytest.approx(flops / 1e9)


def test_compiled_steps_are_timed_after_their_check(monkeypatch):
    """Those that are checked go both ways; each method is held against its own products."""
    made = []

    def program(seconds):
        def steps(batches):
            made.append(len(batches))
            return [seconds * (k + 1) for k in range(len(batches))]

        return steps

    def ours(model, options, precision, **recipe):
        return program({"solo": 4.0, "lora": 8.0}[options[0]["name"]] / (2 if recipe else 1))

    monkeypatch.setattr(bench, "S", TINY)
    monkeypatch.setattr(bench, "ours", ours)
    monkeypatch.setattr(bench, "products", lambda *shape: program(1.0 if shape[-1] else 2.0))
    args = Namespace(device="cpu", precisions=("fp32", "bf16"), rounds=1, steps=2)
    found = bench.compiled_part(args, EXAMPLES * 20)
    assert set(made) == {18} and 18 // 2 > RECORDED_CHECKS
    told = [(one["program"], one["slower"][0], one["of_floor"][0]) for one in found]
    assert told == [
        ("Solo", 1, 0.25), ("Solo, compiled", 0.5, 0.5), ("products alone, Solo", 0.25, 1),
        ("LoRA", 1, 0.25), ("LoRA, compiled", 0.5, 0.5), ("products alone, LoRA", 0.25, 1),
    ]  # fmt: skip
    one = {"data": "E2E", "seconds": 3.0, "commit": "abcdef123", "versions": {"torch": "2"}}
    one |= {"hardware": {"cpu": "Some CPU", "threads": 2, "gpu": None}, "found": found}
    assert "| LoRA, compiled | bf16 | 4000.0 |" in bench_report.page({"compiled": one})


def test_a_floor_that_is_not_loras_is_not_shown_of_it():
    context = {"data": "E2E", "seconds": 3.0, "commit": "abcdef123", "versions": {"torch": "2"}}
    context["hardware"] = {"cpu": "Some CPU", "threads": 2, "gpu": None}
    one = {"precision": "fp32", "s_per_step": [0.5] * 3, "tokens_per_s": [400.0] * 3}
    one |= {"slower": [1.0] * 3, "of_floor": [0.8] * 3, "mfu": 0.7, "backbone": "S"}
    names = ("ours", "products alone", "ours, lora", "peft + Trainer", "LoRA's recipe")
    old = [one | {"program": name} for name in names]
    for more in ([], [one | {"program": "products alone, LoRA"}]):
        text = bench_report.page({"train": context | {"found": [*old, *more]}})
        for name in names:
            figures = "0.80 | 0.70" if more or name in names[:2] else " | "
            assert f"| {name}, S | fp32 | 500.0 | 400 | 1.00 | {figures} |" in text
        told = bench_report._figures([*old, *more])
        assert (("ours, lora, fp32, S", "of the floor") in told) == bool(more)


def test_the_report_shows_every_part(tmp_path):
    context = {"data": "E2E", "seconds": 3.0, "commit": "abcdef123", "versions": {"torch": "2"}}
    context["hardware"] = {"cpu": "Some CPU", "threads": 2, "gpu": None}
    timed = {"program": "ours", "precision": "fp32", "s_per_step": [0.5, 0.4, 0.6]}
    timed |= {"tokens_per_s": [400.0, 390.0, 410.0], "slower": [1.0] * 3, "of_floor": [0.8] * 3}
    point = {"s_per_step": 0.25, "host_gib": 2.5, "device_gib": None}
    found = {
        "train": [timed | {"backbone": "S", "mfu": 0.7}],
        "sweep": [timed | {"of_floor": None}],
        "small": [timed | {"program": "ours, Solo, 4 runs together"}],
        "growth": {
            "precision": "bf16",
            "growth": {"rank": [point | {"name": "rank: 8", "value": 8}]},
            "memory": [point | {"name": "GPT-2 S, solo"}, {"name": "M", "error": "no memory"}],
        },
    }
    path = tmp_path / "cpu.json"
    path.write_text(json.dumps({name: context | {"found": value} for name, value in found.items()}))
    bench_report.write(path)
    text = path.with_suffix(".md").read_text()
    for line in (
        "| ours, S | fp32 | 500.0 (400.0 to 600.0) | 400 (390 to 410) | 1.00 | 0.80 | 0.70 |",
        "| ours, Solo, 4 runs together | fp32 | 500.0 (400.0 to 600.0) | 400 (390 to 410) |",
        "| 8 | 0.250 | 2.50 |  |",
        "| M | no memory |  |  |",
    ):
        assert line in text
    assert (tmp_path / "cpu_growth.png").stat().st_size > 1000


def test_pictures_of_speed_show_what_was_measured():
    """The peak of the device where there is one; a bar from the slowest round to the fastest."""
    points = [
        {"value": 8, "s_per_step": 0.25, "host_gib": 2.5, "device_gib": None},
        {"value": 16, "s_per_step": 0.5, "host_gib": 2.5, "device_gib": 7.0},
        {"value": 32, "error": "no memory"},
    ]
    figure = speed.growth({"rank": points}, "x")
    lines = [line.get_xydata().tolist() for axes in figure.axes for line in axes.lines]
    assert lines == [[[8, 0.25], [16, 0.5]], [[8, 2.5], [16, 7.0]]]
    timed = [
        {"program": "fast", "precision": "bf16", "tokens_per_s": [400.0, 390.0, 480.0]},
        {"program": "slow", "precision": "fp32", "tokens_per_s": [100.0, 90.0, 105.0]},
    ]
    [axes] = speed.rates(timed, "x").axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["slow, fp32", "fast, bf16"]
    [bars] = [found for found in axes.containers if isinstance(found, ErrorbarContainer)]
    ends = [segment[:, 0].tolist() for segment in bars.lines[2][0].get_segments()]
    assert ends == [[90, 105], [390, 480]]
    assert [bar.get_width() for bar in axes.patches] == [100, 400]


def test_a_part_from_another_machine_says_so(tmp_path, monkeypatch):
    """Parts of one file may have been measured on several."""
    context = {"data": "E2E", "seconds": 3.0, "commit": "abcdef123", "versions": {"torch": "2"}}
    first, second = ({"cpu": "C", "threads": 16, "gpu": gpu} for gpu in ("First GPU", "Second GPU"))
    growth = {"precision": "bf16", "growth": {}, "memory": []}
    found = {"train": context | {"found": [], "hardware": first}}
    assert "on First GPU" not in bench_report.page(found).split("## Train")[1]
    found |= {"sweep": context | {"found": [], "hardware": second}}
    found |= {"growth": context | {"found": growth, "hardware": second}}
    text = bench_report.page(found)
    assert text.startswith("# Speed on First GPU and Second GPU\n")
    of = {part.split("\n")[0]: part for part in text.split("\n## ")[1:]}
    assert "measured in 3 s, on First GPU." in of["Train"]
    for name in ("Sweep", "Growth"):
        assert "measured in 3 s, on Second GPU." in of[name] and "First" not in of[name]
    titles = []
    monkeypatch.setattr(bench_report, "picture", lambda growth, title, image: titles.append(title))
    path = tmp_path / "cuda.json"
    path.write_text(json.dumps(found))
    bench_report.write(path)
    assert titles[0].endswith("bf16: Second GPU")


@pytest.mark.parametrize(("limit", "whole"), [(60.0, True), (0.0, False)])
def test_a_whole_run_or_its_estimate(limit, whole):
    found = whole_run(fresh(TINY), EXAMPLES * 4, EXAMPLES[:2], "fp32", limit)
    assert found["of"] == 5 * 12 and found["steps"] == (60 if whole else 1)
    assert found["estimated_whole"] >= found["seconds"] > 0
    assert (found["estimated_whole"] == found["seconds"]) == whole


@pytest.mark.parametrize("limit", [0.5, 11.5, 30.5, 45.5, 99.5, 200.0])
def test_an_estimate_has_the_validations_that_a_run_did_not_reach(monkeypatch, limit):
    """60 steps of a second and 5 validations of ten, wherever the run is cut off."""
    now = [0.0]

    def advancing(function, seconds):
        def call(*args):
            now[0] += seconds
            return function(*args)

        return call

    share_of, validation_losses = training.share_of, training.validation_losses
    monkeypatch.setattr(training, "share_of", advancing(share_of, 1.0))
    for module in (training, bench_train):
        monkeypatch.setattr(module, "validation_losses", advancing(validation_losses, 10.0))
    monkeypatch.setattr(bench_train, "time", Namespace(perf_counter=lambda: now[0]))
    found = whole_run(fresh(TINY), EXAMPLES * 4, EXAMPLES[:2], "fp32", limit)
    reached = {0.5: (1, 0), 11.5: (12, 0), 30.5: (21, 1), 45.5: (26, 2)}
    steps, seen = reached.get(limit, (60, 5))  # 99.5 passes at the last step: nothing is cut off
    assert (found["steps"], found["validations"], found["validations_of"]) == (steps, seen, 5)
    assert found["seconds"] == steps + 10 * seen and found["estimated_whole"] == 60 + 50
    assert found["validation_seconds"] == (10 if limit in reached else None)


def test_a_runs_peak_on_a_device_is_its_own(monkeypatch):
    """Counted from its start on, not from the run before it in the same process."""
    stats = {"allocated": 9 * 2**30, "reserved": 10 * 2**30}  # of an earlier, larger run
    device, run = torch.device("cuda"), bench_train.train_runs
    for name in stats:
        monkeypatch.setattr(torch.accelerator, f"max_memory_{name}", lambda n=name: stats[n])
    left = []  # of what torch keeps for a next one
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: left.append("nothing"))
    monkeypatch.setattr(torch.accelerator, "reset_peak_memory_stats", stats.clear)

    def train(*args):
        now = {"allocated": 2 * 2**30, "reserved": (3 if left else 10) * 2**30}
        stats.update({name: max(stats.get(name, 0), value) for name, value in now.items()})
        return run(*args)

    for name in ("forget_device_peak", "device_peaks"):  # the model itself stays on the CPU
        function = getattr(bench_train, name)
        monkeypatch.setattr(bench_train, name, lambda cpu, f=function: f(device))
    monkeypatch.setattr(bench_train, "train_runs", train)
    found = whole_run(fresh(TINY), EXAMPLES, EXAMPLES[:2], "fp32", 60.0)
    assert (found["device_gib"], found["device_reserved_gib"]) == (2.0, 3.0)


def test_the_page_says_which_estimates_have_no_validation_in_them():
    """A file of before validations were timed: of 52,580 steps an epoch is 10,516."""
    context = {"data": "E2E", "seconds": 3.0, "commit": "abcdef123", "versions": {"torch": "2"}}
    context["hardware"] = {"cpu": "Some CPU", "threads": 2, "gpu": "G"}
    one = {"of": 52580, "seconds": 60.0, "estimated_whole": 145.0, "first_step": 0.9}
    old = [
        one | {"backbone": name, "steps": steps, "device_gib": 2.3}
        for name, steps in (("S", 21426), ("M", 10516), ("L", 52580))
    ]
    new = one | {"backbone": "XL", "steps": 4243, "validations": 0, "validations_of": 5}
    new |= {"validation_seconds": 1.25, "device_gib": 2.3}
    text = bench_report.page({"whole": context | {"found": [*old, new]}})
    assert "| GPT-2 S | 21426 of 52580 | 60 | 145 | 2 of 5 |  | 0.9 |" in text
    assert "| GPT-2 M | 10516 of 52580 | 60 | 145 | 0 of 5 |  | 0.9 |" in text
    assert "| GPT-2 L | 52580 of 52580 | 60 | 145 | 5 of 5 |  | 0.9 |" in text
    assert "| GPT-2 XL | 4243 of 52580 | 60 | 145 | 0 of 5 | 1.2 | 0.9 |" in text
    assert text.count("validation not included") == 1
    assert "\n\nGPT-2 M: validation not included" in text


def test_a_kernel_counts_once_in_a_devices_profile():
    """Not for the operation that launched it too, nor for an annotation around it."""
    cpu, cuda = torch.autograd.DeviceType.CPU, torch.autograd.DeviceType.CUDA

    def event(key, device_type, own, on_device, annotation=False):
        return Namespace(
            key=key, device_type=device_type, is_user_annotation=annotation,
            self_cpu_time_total=own, self_device_time_total=on_device,
        )  # fmt: skip

    events = [
        event("aten::mm", cpu, 2.0, 30.0),
        event("gemm", cuda, 0.0, 30.0),
        event("aten::add", cpu, 6.0, 10.0),
        event("add_kernel", cuda, 0.0, 10.0),
        event("Optimizer.step#AdamW.step", cpu, 0.0, 0.0, True),
        event("Optimizer.step#AdamW.step", cuda, 0.0, 10.0, True),
    ]
    assert bench.shares(events, "cuda") == [["gemm", 0.75], ["add_kernel", 0.25]]
    assert bench.shares(events, "cpu")[:2] == [["aten::add", 0.75], ["aten::mm", 0.25]]


def test_a_profile_begins_when_every_shape_has_been_there(monkeypatch):
    seen, started, share_of = [], [], training.share_of

    def record(batch, processes):
        seen.append([replace(example, key=0) for example in batch])
        return share_of(batch, processes)

    class Profile:
        def start(self):
            started.append(len(seen))

        def stop(self):
            pass

        def key_averages(self):
            return [Namespace(key="aten::mm", self_cpu_time_total=1.0)]

    monkeypatch.setattr(training, "share_of", record)
    monkeypatch.setattr(bench, "fresh", lambda shape: fresh(TINY))
    monkeypatch.setattr(torch.profiler, "profile", lambda **options: Profile())
    args = Namespace(device="cpu", steps=3, precisions=("fp32",))
    assert bench.profile(args, EXAMPLES) == [["aten::mm", 1.0]]
    [start] = started
    assert len(seen[start:]) == 3
    assert all(batch in seen[:start] for batch in seen[start:])


def test_it_starts_where_only_torch_and_its_kin_are_installed():
    """A machine with a GPU may be lent with these alone."""
    modules = "scripts.bench.main, scripts.bench.first_day, scripts.checks.device"
    missing = ("hydra", "omegaconf", "datasets", "evaluate", "nltk", "pycocoevalcap", "matplotlib")
    code = f"import sys; sys.modules |= dict.fromkeys({missing}); import {modules}"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_a_points_peak_of_memory_is_its_own():
    """Neither the parent's, which getrusage reports in a child, nor that of a point before."""
    bench_growth.forget_peak()
    start = bench_growth.peak_host_bytes()

    def held(mib: int) -> float:
        with mmap.mmap(-1, mib * 2**20) as pages:  # given back at once, whatever malloc does
            for place in range(0, len(pages), mmap.PAGESIZE):
                pages[place] = 1
        return (bench_growth.peak_host_bytes() - start) / 2**20

    assert held(300) > 250
    bench_growth.forget_peak()
    assert held(100) < 150


def test_a_slower_commit_is_seen(tmp_path):
    """Against the last figures of the same hardware, of what is relative to a program beside it."""
    found = {"commit": "0a1b2c3d4", "hardware": {"cpu": "A", "threads": 2, "gpu": None}}
    ours = {
        "program": "ours",
        "precision": "fp32",
        "of_floor": [0.8, 0.7, 0.9],
        "slower": [1, 1, 1],
    }
    peer = {"program": "peft", "precision": "fp32", "of_floor": None, "slower": [3.0, 3.0, 3.0]}
    before = {"train": found | {"found": [ours, peer]}}
    slow = [ours | {"of_floor": [0.6, 0.5, 0.7]}, peer | {"slower": [2.9, 2.8, 3.0]}]
    rows = bench_report.compared({"train": found | {"found": slow}}, before)
    assert rows == [
        ["ours", "times as fast as peft, fp32", "3", "2.9", "0.97", ""],
        ["ours, fp32", "of the floor", "0.8", "0.6", "0.75", "slower"],
    ]
    elsewhere = {"train": found | {"found": slow, "hardware": {"cpu": "B"}}}
    assert bench_report.compared(elsewhere, before) == bench_report.compared(before, before) == []


@pytest.mark.parametrize(("device", "of_ours", "of_generate"), [("cpu", 16, 14), ("cuda", 64, 64)])
def test_generate_gets_as_many_contexts_a_call_as_ours(monkeypatch, device, of_ours, of_generate):
    """On an accelerator, where a call takes about the same time whatever its size."""
    sizes = []

    def decoder(model, config, end_ids, *size):
        sizes.extend(size)
        return lambda prompts: [[0]] * len(prompts)

    for name in ("our_decoder", "generate_decoder"):
        monkeypatch.setattr(bench_decode, name, decoder)
    model = Namespace(device=torch.device(device))
    model.eval = lambda: model
    for name in ("fresh", "toy_model"):
        monkeypatch.setattr(bench, name, lambda *shape: model)
    args = Namespace(device=device, share=1.0, rounds=1, lora_nlg=None)
    found = bench.decode_part(args, [[1]] * 630)
    assert set(sizes) == {of_generate}
    for ours_row, generate_row in found.values():
        assert (ours_row["batch_size"], generate_row["batch_size"]) == (of_ours, of_generate)
        assert generate_row["contexts"] >= of_generate and ours_row["contexts"] >= of_ours
