"""Every path of the program on the device at hand, against the CPU, in under 3 minutes.

scripts/checks/device.py                  # a table on the screen; exit code 1 if a path differs
scripts/checks/device.py --out FILE.json  # the table in a file too, written after every line
scripts/checks/device.py --no-compile     # without torch.compile, which takes a minute on a CPU

On the shipped backbone standin12 and made-up rows: loss and gradients of every method and of the
precisions and layouts, the recorded and the compiled step, training, going on after a kill, runs
together, beam search, export. Where there is no accelerator the CPU is held against itself, which
tries the script and the layouts. It needs neither Hydra nor data.
"""

import argparse
import copy
import json
import os
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch
from accelerate import PartialState
from transformers import PreTrainedModel

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from eval.command import ending
from solo import files
from solo.adapters import METHODS, make_config
from solo.adapters.base import Method
from solo.adapters.shared.dropout import example_key
from solo.backbones import loading
from solo.cli.command import plain_parser
from solo.datasets import data
from solo.datasets.data import Example
from solo.decoding.recipe import BeamConfig
from solo.decoding.rules import beam_search, end_tokens
from solo.run_files import LOG, STATE
from solo.runs import record
from solo.runs.config import from_values
from solo.runs.run import Run, make_run
from solo.runs.stages import train_run
from solo.standin.demo_data import write_demo_data
from solo.training import checked, together
from solo.training import loss as training_losses
from solo.training.batches import collate, pad
from solo.training.loop import Training, train
from solo.training.loss import RECORDED_CHECKS, autocast, summed_loss, training_loss
from solo.training.progress import Progress
from solo.training.recipe import TrainConfig
from solo.training.state import read_counters

BACKBONE = files.ROOT / "data" / "backbones" / "standin12"
SIZES = {"train_rows": 64, "valid_rows": 8, "test_mrs": 8}
SOLO = {"name": "solo", "rank": 16, "sparsity": 0.4, "dropout": 0.1}
LORA = {"name": "lora", "rank": 8, "dropout": 0.1}
OPTIONS = {"vblora": {"length": 64}}  # whose defaults do not fit a width of 192
STEPS = 30  # of a training
THREADS = 4  # of a CPU, at most: for so small a model more of them only wait for each other
# What devices may differ by: the loss, relatively, and each gradient (solo/training/checked.py).
FP32, BF16 = checked.LIMITS["fp32"], checked.LIMITS["bf16"]._replace(loss=2e-2)
NEAR = 1e-3  # of the losses of a whole training, relatively
SAME_OUTPUTS = 0.8  # share of contexts; a tie may fall otherwise on another device


@dataclass(frozen=True)
class Line:
    """One path. found: what came out, in words; right: whether that is within its limits."""

    path: str
    found: str
    right: bool
    seconds: float


class World:
    """The backbone on the CPU, made-up examples, and the device."""

    def __init__(self, folder: Path):
        self.folder, self.device = folder, loading.device()
        self.model = loading.load_backbone(BACKBONE)
        self.tokenizer = loading.load_tokenizer(BACKBONE)
        write_demo_data(folder / "data", **SIZES)
        split = folder / "data" / "lora_format"
        rows = data.encode(data.read_pairs(split / "train.txt"), self.tokenizer)
        self.train = [replace(row, key=example_key(1, 0, i)) for i, row in enumerate(rows)]
        self.valid = data.encode(data.read_pairs(split / "valid.txt"), self.tokenizer)
        contexts = [context for _, context in data.read_prompts(split / "test.txt")]
        self.prompts = data.encode_prompts(contexts, self.tokenizer)

    def adapted(self, options: dict) -> Method:
        """A fresh backbone on the CPU with a method attached, none of whose parameters is zero."""
        model = copy.deepcopy(self.model)
        method, config = make_config(options)
        attached = method.attach(model, config, 1)
        draws = torch.Generator().manual_seed(2)
        for parameter in attached.parameters.values() if options["name"] != "full" else ():
            parameter.data += 0.01 * torch.randn(parameter.shape, generator=draws)
        return attached


def loss_of(attached: Method, precision: str, layout: Callable = collate) -> checked.Loss:
    """The plain loss of a batch in training, where dropout draws the same on every device."""
    model = attached.model.train()

    def loss(batches: list[list[Example]]) -> torch.Tensor:
        batch = layout(batches)
        batch = type(batch)(*(tensor.to(model.device) for tensor in batch))
        with autocast(model, TrainConfig(precision=precision)):
            return summed_loss(model, batch, len(batches), 0.1, [attached])

    return loss


def against_cpu(world: World, options: dict, precision: str, limits: checked.Limits) -> str | None:
    """In what loss and gradients on the device differ from the CPU's in fp32, by more than one
    rounding of the parameters makes there."""
    attached = world.adapted(options)
    model, parameters = attached.model, list(attached.parameters.values())

    def gradients(device, at: str) -> list[torch.Tensor]:
        model.to(device)  # in place: the parameters stay the same objects
        found = checked.gradients_of(loss_of(attached, at), [world.train[:4]], parameters)
        return [x.cpu() for x in found]

    expected, found = gradients("cpu", "fp32"), gradients(world.device, precision)
    if checked.apart(found, expected, limits) is None:
        return None
    rounded = []
    for number in range(checked.MOVES):
        with checked.moved(parameters, limits.rounding, number):
            rounded.append(gradients("cpu", "fp32"))
    return checked.apart(found, expected, limits, rounded)


def method_lines(world: World, report) -> None:
    for name in METHODS:
        options = {"name": name} | OPTIONS.get(name, {})
        if name != "none":
            report(f"{name}, fp32", lambda o=options: against_cpu(world, o, "fp32", FP32))
    for options in (SOLO, SOLO | {"variant": "devcode"}, LORA, {"name": "full"}):
        words = " ".join([options["name"], options.get("variant", "")]).strip()
        report(f"{words}, bf16", lambda o=options: against_cpu(world, o, "bf16", BF16))


def layout_lines(world: World, report) -> None:
    """Each example in a row of its own in few shapes, and the device's own fast way."""
    for precision in ("fp32", "bf16"):
        for multiple in (1, 32):
            report(
                f"padded to {multiple}, {precision}",
                lambda m=multiple, p=precision: padded(world, m, p),
            )
        for options in (SOLO, LORA):
            report(
                f"fast way, {options['name']}, {precision}",
                lambda o=options, p=precision: own_way(world, o, p, False),
            )


def padded(world: World, multiple: int, precision: str) -> str | None:
    attached = world.adapted(SOLO)
    parameters = list(attached.parameters.values())
    attached.model.to(world.device)
    fast = loss_of(attached, precision, partial(pad, multiple=multiple))
    limits = checked.LIMITS[precision]
    plain = loss_of(attached, precision)
    return checked.difference(fast, plain, [world.train[:4]], parameters, limits)


def own_way(world: World, options: dict, precision: str, compiled: bool) -> str | None:
    """What the program itself notes of its fast way on the first batches."""
    attached = world.adapted(options)
    model, notes = attached.model.to(world.device).train(), []
    config = TrainConfig(precision=precision, compile=compiled)
    with training_loss(model, config, [attached], STEPS, notes.append) as summed:
        for start in range(0, 4 * (RECORDED_CHECKS + 1), 4):
            summed([world.train[start : start + 4]]).sum().backward()
    return notes[0] if notes else None


def compiled_lines(world: World, report) -> None:
    for options in (SOLO, LORA):
        for precision in ("fp32", "bf16"):
            report(
                f"compiled, {options['name']}, {precision}",
                lambda o=options, p=precision: own_way(world, o, p, True),
            )


def training(
    world: World,
    name: str,
    options: dict = SOLO,
    stop: int | None = None,
    model: PreTrainedModel | None = None,
) -> list[float]:
    """The losses of a training of STEPS steps, one a step; killed at `stop`.

    model: trained in place; a copy of the world's if none is given.
    """
    method, config = make_config(options)
    model = model or copy.deepcopy(world.model)
    attached = method.attach(model, config, 1)

    def kill(done: int, total: int, info: dict) -> None:
        if done == stop:
            raise KeyboardInterrupt

    where = world.folder / name
    recipe = TrainConfig(**RECIPE)
    train(model, attached, world.train, world.valid, recipe, where, 1, "device", kill)
    return losses(where)


RECIPE = {
    "batch_size": 4, "max_steps": STEPS, "warmup_steps": 5, "lr": 3e-3, "log_every": 1,
    "save_every": 10, "compile": False,
}  # fmt: skip


def cpu_losses(world: World) -> list[float]:
    """The losses of that training on the CPU, whatever accelerator there is.

    For a process of its own, since accelerate chooses the device once: here, before the training
    asks for it. Raises RuntimeError where the training went elsewhere all the same.
    """
    PartialState(cpu=True)
    model = copy.deepcopy(world.model)
    found = training(world, "cpu", model=model)
    if model.device.type != "cpu":
        raise RuntimeError(
            f"the CPU's losses come from {model.device}: no device can be held against them; "
            "unset ACCELERATE_TORCH_DEVICE, or hide the accelerator"
        )
    return found


def losses(where: Path) -> list[float]:
    return [line["loss"] for line in files.read_json_lines(where / LOG) if "loss" in line]


def training_lines(world: World, report) -> None:
    whole = {}

    def as_on_cpu() -> str | None:
        whole["losses"] = training(world, "whole")
        environment = os.environ | {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": ""}
        command = [sys.executable, __file__, "--cpu-losses"]
        out = subprocess.run(command, env=environment, capture_output=True, text=True)
        if out.returncode:
            return f"no losses of the CPU: {(out.stderr.splitlines() or ['no message'])[-1]}"
        return furthest(whole["losses"], json.loads(out.stdout.splitlines()[-1]))

    def gone_on() -> str | None:
        try:
            training(world, "killed", stop=STEPS // 2)
        except KeyboardInterrupt:
            pass
        again, expected = training(world, "killed"), whole["losses"]
        return None if again == expected else furthest(again, expected, 0.0)

    def side_by_side() -> str | None:
        model, runs = copy.deepcopy(world.model), []
        for number, options in enumerate((SOLO, LORA)):
            method, config = make_config(options)
            attached = method.attach(model, config, 1)
            attached.detach()
            where = world.folder / f"together{number}"
            runs.append(Training(attached, TrainConfig(**RECIPE), where, 1, "device"))
        together.train_runs(model, runs, world.train, world.valid)
        alone = [whole["losses"], training(world, "lora", LORA)]
        problems = [furthest(losses(r.run_dir), a) for r, a in zip(runs, alone, strict=True)]
        return next(filter(None, problems), None)

    def poisoned() -> str | None:
        model = copy.deepcopy(world.model)
        method, config = make_config(SOLO)
        attached, where = method.attach(model, config, 1), world.folder / "poisoned"

        def poison(done: int, total: int, info: dict) -> None:
            if done == STEPS // 2:
                next(iter(attached.parameters.values())).data.fill_(float("nan"))

        recipe = TrainConfig(**RECIPE | {"log_every": 9 * STEPS})  # only a state reads the losses
        try:
            train(model, attached, world.train, world.valid, recipe, where, 1, "device", poison)
        except FloatingPointError:
            kept = read_counters(where / STATE)["step"]
            return None if kept == RECIPE["save_every"] else f"the state is that of step {kept}"
        return "no error, though the weights are no numbers"

    report(f"{STEPS} steps of training, as on the CPU", as_on_cpu)
    report("killed and gone on, to the bit", gone_on)
    report("two runs together, as alone", side_by_side)
    report("diverged, with the last good state kept", poisoned)


def furthest(found: list[float], expected: list[float], limit: float = NEAR) -> str | None:
    """Where two series of losses differ most, if by more than `limit`, relatively."""
    if len(found) != len(expected):
        return f"{len(found)} losses instead of {len(expected)}"
    apart = [abs(a - b) / abs(b) for a, b in zip(found, expected, strict=True)]
    step = max(range(len(apart)), key=apart.__getitem__)
    if apart[step] <= limit:
        return None
    return f"loss {found[step]:.6f} instead of {expected[step]:.6f} at step {step + 1}"


def decoding(world: World) -> str | None:
    config, ends = BeamConfig(batch_size=4), end_tokens(world.tokenizer)
    with torch.no_grad():
        expected = beam_search(world.model.eval(), world.prompts, config, ends)
        found = beam_search(
            copy.deepcopy(world.model).to(world.device).eval(), world.prompts, config, ends
        )
    same = sum(a == b for a, b in zip(found, expected, strict=True)) / len(expected)
    return None if same >= SAME_OUTPUTS else f"{same:.0%} of the outputs are the CPU's"


def exported(world: World) -> str | None:
    """A run trained here, exported, and loaded again: its logits are the run's."""
    import solo  # here, since an older peft fails this line alone
    from solo.runs.export import export_run

    split = world.folder / "data" / "lora_format"
    paths = {f"{name}_path": str(split / f"{name}.txt") for name in ("train", "valid", "test")}
    values = {
        "model": {"path": str(BACKBONE), "revision": None},
        "data": {"name": "e2e", "dir": str(split.parent), **paths, "sha256": {},
                 "references_path": paths["test_path"]},
        "adapter": SOLO, "train": RECIPE | {"max_steps": 5}, "decode": {},
        "evaluate": {"references": paths["test_path"]}, "runs_dir": str(world.folder / "runs"),
    }  # fmt: skip
    run: Run = make_run(from_values(values))
    train_run(run, quiet)
    out = export_run(run, world.folder / "export", None)
    ids = torch.tensor([world.train[0].ids]).to(world.device)
    with torch.no_grad():
        found, expected = (
            solo.load(place).to(world.device).eval()(ids).logits for place in (out, run.directory)
        )
    apart = ((found - expected).norm() / expected.norm()).item()
    return None if apart <= FP32[1] else f"logits differ by a relative {apart:.1e}"


quiet: Progress = lambda done, total, info: None  # noqa: E731


def make_report(lines: list[Line], out: Path | None, hardware: dict) -> Callable:
    def report(path: str, check: Callable[[], str | None]) -> None:
        start = time.perf_counter()
        try:
            with warnings.catch_warnings(record=True):
                warnings.simplefilter("always")
                problem = check()
        except Exception as error:  # this path is broken; the others are tried all the same
            problem = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"
        lines.append(Line(path, problem or "right", problem is None, time.perf_counter() - start))
        line = lines[-1]
        print(f"{line.path:<44} {line.seconds:6.1f} s  {line.found}", flush=True)
        if out:
            files.write_json(out, hardware | {"lines": [asdict(each) for each in lines]})

    return report


def main() -> int:
    parser = plain_parser(__doc__)
    parser.add_argument("--out", type=Path, metavar="FILE.json")
    parser.add_argument("--no-compile", action="store_true")
    parser.add_argument("--cpu-losses", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    torch.set_num_threads(min(THREADS, torch.get_num_threads()))
    training_losses.RECORD_FROM = 0  # short as they are, these trainings go the way of long ones
    with tempfile.TemporaryDirectory() as folder:
        world = World(Path(folder))
        if args.cpu_losses:
            print(json.dumps(cpu_losses(world)))
            return 0
        lines: list[Line] = []
        report = make_report(lines, args.out, record.environment())
        print(f"against the CPU: {world.device}, torch {torch.__version__}", flush=True)
        training_lines(world, report)
        layout_lines(world, report)
        report("beam search, as on the CPU", lambda: decoding(world))
        report("export, loaded again", lambda: exported(world))
        method_lines(world, report)
        if not args.no_compile:
            compiled_lines(world, report)
    ending(filter(None, [args.out]))
    wrong = [line for line in lines if not line.right]
    print(f"{len(lines) - len(wrong)} of {len(lines)} paths right, "
          f"{sum(line.seconds for line in lines):.0f} s")  # fmt: skip
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
