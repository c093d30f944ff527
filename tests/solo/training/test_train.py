"""The loop against independent formulas, and its promise about interrupted runs."""

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F
from accelerate.state import AcceleratorState, GradientState

from solo import files
from solo.adapters import make_config
from solo.datasets.data import Example
from solo.run_files import LOG, STATE
from solo.training import loop
from solo.training.batches import PackedBatch, PlainBatch, collate, epoch_batches
from solo.training.loop import train
from solo.training.loss import validation_losses
from solo.training.processes import make_accelerator
from solo.training.progress import Diverged, RunningLoss
from solo.training.recipe import TrainConfig, learning_rate
from solo.training.state import read_counters
from tests.conftest import make_model

DRAWS = torch.Generator().manual_seed(11)


def make_examples(count: int) -> list[Example]:
    lengths = torch.randint(4, 20, (count,), generator=DRAWS).tolist()
    return [
        Example(torch.randint(1, 61, (n,), generator=DRAWS).tolist(), 1 + n // 3) for n in lengths
    ]


TRAIN, VALID = make_examples(21), make_examples(5)
RECIPE = {"batch_size": 4, "epochs": 2, "warmup_steps": 3, "lr": 0.02, "log_every": 3}


def run(tmp_path, options=None, stop_at=None, identity="a", **recipe):
    """Train a fresh tiny model; returns what it trained. `stop_at` kills it there."""
    model = make_model()
    method, config = make_config(options or {"name": "solo", "rank": 4, "sparsity": 0.3})
    attached = method.attach(model, config, 1)

    def on_progress(done, total, info):
        if done == stop_at:
            raise KeyboardInterrupt

    recipe = TrainConfig(**RECIPE | recipe)
    result = train(model, attached, TRAIN, VALID, recipe, tmp_path, 1, identity, on_progress)
    return {name: p.detach().clone() for name, p in attached.parameters.items()}, result


def fresh_accelerate() -> None:
    """Forget what accelerate has read of the environment; its state is global."""
    AcceleratorState._reset_state(True)
    GradientState._reset_state()


def test_the_environment_of_accelerate_changes_nothing(tmp_path, monkeypatch):
    expected, result = run(tmp_path / "a")
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
    monkeypatch.setenv("ACCELERATE_GRADIENT_ACCUMULATION_STEPS", "4")
    for name in ("USE_FSDP", "USE_DEEPSPEED", "USE_MEGATRON_LM", "USE_SAGEMAKER", "USE_CPU"):
        monkeypatch.setenv(f"ACCELERATE_{name}", "true")
    monkeypatch.setenv("ACCELERATE_DYNAMO_BACKEND", "no such backend")
    monkeypatch.setenv("ACCELERATE_TORCH_DEVICE", "meta")
    fresh_accelerate()
    try:
        processes = make_accelerator()
        assert (processes.mixed_precision, processes.gradient_accumulation_steps) == ("no", 1)
        found, same = run(tmp_path / "b")
    finally:
        monkeypatch.undo()
        fresh_accelerate()
    assert result == same
    assert all(torch.equal(expected[name], found[name]) for name in expected)


class OnMps:
    """Of a tensor on MPS what the losses may use: it has no float64 and goes to the CPU first."""

    def cpu(self):
        return torch.tensor([6.0])


def test_nothing_is_in_float64_on_mps(model, monkeypatch):
    monkeypatch.setattr("solo.training.loss.summed_loss", lambda *arguments: OnMps())
    examples = [Example([1, 2, 3, 4], 1)]
    [loss] = validation_losses(model, examples, TrainConfig(), make_accelerator())
    assert loss == 2.0
    made = []
    monkeypatch.setattr(torch, "tensor", lambda values, dtype, device: made.append((dtype, device)))
    for name in ("mps", "cpu"):
        RunningLoss([0.0], [0], torch.device(name))
    assert made == [
        (torch.float32, torch.device("mps")), (torch.float64, torch.device("cpu")),
    ]  # fmt: skip


def read_log(tmp_path):
    return [json.loads(line) for line in (tmp_path / LOG).read_text().splitlines()]


@pytest.mark.parametrize("options", [None, {"name": "lora", "rank": 2}, {"name": "full"}])
@pytest.mark.parametrize("stop_at", [1, 5, 7, 11])
def test_a_killed_run_ends_bit_for_bit_the_same(tmp_path, options, stop_at):
    whole, result = run(tmp_path / "whole", options, save_every=2)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", options, stop_at=stop_at, save_every=2)
    again, same = run(tmp_path / "killed", options, save_every=2)
    assert all(torch.equal(whole[name], again[name]) for name in whole)
    assert result == same

    def figures(path):  # all but the clock
        return [{k: v for k, v in e.items() if k != "tokens_per_s"} for e in read_log(path)]

    assert figures(tmp_path / "whole") == figures(tmp_path / "killed")


def test_dropout_is_drawn_by_the_seed(tmp_path):
    """With one example, so that a seed decides about nothing else."""
    trained = []
    for number, seed in enumerate((1, 1, 2)):
        model = make_model()
        method, config = make_config({"name": "lora", "rank": 2, "dropout": 0.5})
        attached = method.attach(model, config, 1)
        recipe = TrainConfig(batch_size=1, epochs=2, warmup_steps=0, lr=0.02)
        train(model, attached, TRAIN[:1], VALID, recipe, tmp_path / str(number), seed, "a")
        trained.append(torch.cat([p.detach().flatten() for p in attached.parameters.values()]))
    assert torch.equal(trained[0], trained[1])
    assert (trained[0] - trained[2]).abs().max() > 1e-3


def test_log_lines(tmp_path):
    _, result = run(tmp_path)
    log = read_log(tmp_path)
    assert [e["step"] for e in log if "loss" in e] == [3, 6, 9, 12]
    assert [e["step"] for e in log if "valid_loss" in e] == [6, 12]  # 21 examples, 6 batches
    assert result == {"steps": 12, "valid_loss": log[-1]["valid_loss"]}
    assert {"loss", "lr", "epoch", "tokens_per_s", "lambda/2", "lambda/4"} <= set(log[0])
    config = TrainConfig(**RECIPE)  # the rate of a line is that of its step's update
    rates = [learning_rate(step - 1, 12, config) for step in (3, 6, 9, 12)]
    assert [e["lr"] for e in log if "loss" in e] == rates
    assert [e["epoch"] for e in log if "loss" in e] == [0.5, 1, 1.5, 2]


def test_rate_starts_at_0_and_ends_at_0():
    config = TrainConfig(lr=1.0, warmup_steps=4)
    rates = [learning_rate(step, 12, config) for step in range(13)]
    assert rates == [0, 0.25, 0.5, 0.75, 1, 0.875, 0.75, 0.625, 0.5, 0.375, 0.25, 0.125, 0]


def test_max_steps_may_be_fewer_or_more_than_the_epochs():
    """Of 21 examples in batches of 4 an epoch is 6 steps."""
    for max_steps, total in ((None, 12), (5, 5), (30, 30)):
        assert TrainConfig(**RECIPE | {"max_steps": max_steps}).total_steps(21) == total


@pytest.mark.parametrize("constraint", [{}, {"constraint": "o", "constraint_weight": 0.3}])
def test_update_is_loras_adamw(tmp_path, constraint):
    """p -= lr sqrt(c2) / c1 * m / (sqrt(v) + eps), then p -= lr wd p, written out in float64; the
    gradient is that of the loss and of the method's penalty."""
    own = {"max_steps": 6, "lr": 0.01, "eps": 1e-2, "betas": (0.8, 0.99)}
    config = TrainConfig(**RECIPE | own | {"weight_decay": 0.1})
    chosen = {"name": "lora", "rank": 2, "dropout": 0.0} | constraint
    after, _ = run(tmp_path, chosen, **own)
    model = make_model().double()
    method, options = make_config(chosen)
    attached = method.attach(model, options, 1)
    parameters = {name: p.data.double() for name, p in attached.parameters.items()}
    m = {name: torch.zeros_like(p) for name, p in parameters.items()}
    v = {name: torch.zeros_like(p) for name, p in parameters.items()}
    for step in range(1, 7):
        for name, p in attached.parameters.items():
            p.data, p.grad = parameters[name].clone(), None
        batch = collate([[TRAIN[i] for i in epoch_batches(21, 4, 1, 0)[step - 1]]])
        (loss_by_hand(model, batch, 0.1) + attached.penalty()).backward()
        lr = learning_rate(step - 1, 6, config)
        for name, p in attached.parameters.items():
            m[name] = 0.8 * m[name] + 0.2 * p.grad
            v[name] = 0.99 * v[name] + 0.01 * p.grad**2
            size = lr * math.sqrt(1 - 0.99**step) / (1 - 0.8**step)
            parameters[name] = parameters[name] - size * m[name] / (v[name].sqrt() + 1e-2)
            parameters[name] = parameters[name] * (1 - lr * 0.1)
    for name, p in parameters.items():  # decay before or after the update: of the order lr^2
        torch.testing.assert_close(after[name].double(), p, rtol=2e-3, atol=2e-5)


def loss_by_hand(model, batch: PlainBatch, smoothing: float) -> torch.Tensor:
    """LoRA's label smoothing over all positions, masked to the targets (its model.py, forward)."""
    logits = model(batch.input_ids).logits[:, :-1]
    labels = batch.labels[:, 1:]
    mask = labels != -100
    log_p = torch.log_softmax(logits, -1)
    nll = -log_p.gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    loss = (1 - smoothing) * nll - smoothing * log_p.mean(-1)
    return (loss * mask).sum() / mask.sum()


def test_loss_at_target_positions_is_the_whole_loss_masked(model):
    batch = collate([TRAIN[:4]])
    logits, targets = batch.target_logits(model)
    assert len(targets) == sum(example.n_targets for example in TRAIN[:4])
    ours = F.cross_entropy(logits, targets, label_smoothing=0.1)
    torch.testing.assert_close(ours, loss_by_hand(model, batch, 0.1))


def test_padding_changes_nothing(model):
    """No attention mask: causal attention never looks at padding on the right."""
    alone, _ = collate([[TRAIN[0]]]).target_logits(model)
    longest = max(TRAIN, key=lambda example: len(example.ids))
    padded, _ = collate([[TRAIN[0], longest]]).target_logits(model)
    torch.testing.assert_close(padded[: len(alone)], alone, rtol=1e-5, atol=1e-5)


def test_validation_loss_is_the_mean_over_tokens_without_smoothing(tmp_path):
    _, result = run(tmp_path, {"name": "none"})
    model = make_model()
    total = sum(loss_by_hand(model, collate([[e]]), 0.0).item() * e.n_targets for e in VALID)
    expected = total / sum(example.n_targets for example in VALID)
    assert result["steps"] == 0 and result["valid_loss"] == pytest.approx(expected, rel=1e-5)


def test_a_loss_that_is_not_finite_stops_with_the_last_good_state(tmp_path, monkeypatch):
    original, calls = PackedBatch.target_logits, []

    def spoiled(batch, model):
        logits, targets = original(batch, model)
        calls.append(model.training)  # the first time for the check of the fast way
        return (logits * math.nan if sum(calls) == 6 and model.training else logits), targets

    monkeypatch.setattr(PackedBatch, "target_logits", spoiled)
    with pytest.raises(FloatingPointError, match="the loss is nan at step 5; the last good state"):
        run(tmp_path, save_every=2)
    state = read_counters(tmp_path / STATE)
    assert state["step"] == 4
    monkeypatch.setattr(PackedBatch, "target_logits", original)
    resumed, _ = run(tmp_path, save_every=2)
    whole, _ = run(tmp_path / "whole", save_every=2)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_divergence_in_the_last_step_is_an_error_too(tmp_path, monkeypatch):
    """The loss of a step does not show what its own update did."""
    with pytest.raises(Diverged, match="the loss is nan at step 2"):
        run(tmp_path, max_steps=2, lr=1e30, warmup_steps=1)
    log = (tmp_path / LOG).read_text()
    assert '"loss"' in log and "NaN" not in log
    monkeypatch.setattr(loop, "validation_losses", lambda *args: [1.0])  # they need not meet it
    with pytest.raises(Diverged, match="is not finite after step 2"):
        run(tmp_path, max_steps=2, lr=1e39, warmup_steps=1)


def test_state_of_another_configuration(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=3, save_every=2)
    with pytest.raises(ValueError, match="is the state of another configuration .a, this one is b"):
        run(tmp_path, identity="b")


def test_state_of_other_masks(tmp_path, monkeypatch):
    """As another version of torch might draw them: the parameters would fit all the same."""
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, stop_at=3, save_every=2)
    state = (tmp_path / STATE).read_bytes()
    original = torch.randperm
    monkeypatch.setattr(
        torch, "randperm", lambda *args, **options: original(*args, **options).flip(0)
    )
    with pytest.raises(ValueError, match="masks or frozen matrices of this run come out otherwise"):
        run(tmp_path)
    assert (tmp_path / STATE).read_bytes() == state


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch_size": 0}, "train.batch_size is 0; at least 1"),
        ({"max_steps": 0}, "train.max_steps is 0; at least 1, or null for whole epochs"),
        ({"lr": 0}, "train.lr is 0; it must be above 0"),
        ({"precision": "fp16"}, "train.precision is 'fp16'; known: fp32, bf16"),
        ({"label_smoothing": 1.0}, r"train.label_smoothing is 1.0; it must be in \[0, 1\)"),
    ],
)
def test_bad_recipes(options, text):
    with pytest.raises(ValueError, match=text):
        TrainConfig(**options)


def test_bf16_trains(tmp_path):
    fp32, _ = run(tmp_path / "a")
    bf16, result = run(tmp_path / "b", precision="bf16")
    assert math.isfinite(result["valid_loss"])
    assert copy.copy(bf16).keys() == fp32.keys()
    assert any(not torch.equal(fp32[name], bf16[name]) for name in fp32)


def test_a_long_validation_is_told_of_while_it_goes_on(model, monkeypatch):
    examples = [Example([1, 2, 3, 4], 1)] * 5
    told: list[tuple] = []
    arguments = (model, examples, TrainConfig(valid_batch_size=2), make_accelerator(), 1)
    quick = validation_losses(*arguments, lambda *progress: told.append(progress))
    assert told == []
    monkeypatch.setattr("solo.training.loss.SOON", -1.0)
    monkeypatch.setattr("solo.training.loss.EVERY", -1.0)
    assert validation_losses(*arguments, lambda *progress: told.append(progress)) == quick
    assert told == [(done, 5, {"part": "validate"}) for done in (2, 4, 5)]


@pytest.mark.parametrize(("runs", "most"), [(1, 4), (2, 4), (4, 4), (12, 12)])
def test_a_validation_fills_no_more_memory_with_more_runs(model, monkeypatch, runs, most):
    """valid_batch_size is of rows in all, but that each run has one; the mean is the same."""
    rows = []

    def counting(batches):
        rows.append(sum(map(len, batches)))
        return collate(batches)

    monkeypatch.setattr("solo.training.loss.collate", counting)
    config, processes = TrainConfig(valid_batch_size=4), make_accelerator()
    losses = validation_losses(model, VALID, config, processes, runs)
    assert max(rows) == most and sum(rows) == runs * len(VALID)
    [expected] = validation_losses(model, VALID, TrainConfig(valid_batch_size=1), processes)
    assert losses == pytest.approx([expected] * runs, rel=1e-5)


def test_the_speed_is_that_of_steps(tmp_path, monkeypatch, clock):
    """Of one second each; to validate and to save a state take a hundred, by this clock."""
    for name, spent in (("share_of", 1), ("validation_losses", 100), ("save_together", 100)):
        monkeypatch.setattr(loop, name, clock.taking(spent, getattr(loop, name)))
    run(tmp_path, save_every=2)
    lengths = [
        sum(len(TRAIN[i].ids) for i in batch)
        for epoch in range(2)
        for batch in epoch_batches(len(TRAIN), 4, 1, epoch)
    ]
    lines = files.read_json_lines(tmp_path / LOG)
    speeds = [line["tokens_per_s"] for line in lines if "lr" in line]
    assert speeds == [round(sum(lengths[i : i + 3]) / 3) for i in range(0, 12, 3)]
    assert clock.seconds > 500


def test_after_a_kill_the_check_is_on_what_is_trained_then(tmp_path, monkeypatch):
    """InjectLoR2C's schedule changes what that is; the state knows."""
    options = {"name": "injectlor2c", "rank": 2, "injections": 2, "interval": 2}
    given, whole = [], loop.training_loss

    def spied(model, config, methods, *args):
        given.append({id(p) for method in methods for p in method.parameters.values()})
        return whole(model, config, methods, *args)

    monkeypatch.setattr(loop, "training_loss", spied)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, options, stop_at=9, save_every=8)
    trained, _ = run(tmp_path, options)
    assert len(given[1]) == len(trained)


def test_a_warm_up_that_never_ends_is_told(tmp_path):
    with pytest.warns(
        RuntimeWarning, match="warmup_steps=12 is not below the run's 12 steps, and tr"
    ):
        run(tmp_path / "a", warmup_steps=12)
    [note] = [
        line["note"] for line in files.read_json_lines(tmp_path / "a" / LOG) if "note" in line
    ]
    assert note.endswith("train.lr=0.02 is never reached; set it lower")
    run(tmp_path / "b", warmup_steps=11)
    assert not [line for line in files.read_json_lines(tmp_path / "b" / LOG) if "note" in line]
