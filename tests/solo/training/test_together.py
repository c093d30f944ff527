"""Runs together against the same runs alone; the fast paths against the plain one."""

import json
import math
import os
from dataclasses import replace

import pytest
import torch

from solo import files
from solo.adapters import make_config
from solo.adapters.base import Method
from solo.adapters.shared.dropout import Dropout
from solo.run_files import LOG, NEXT, STATE
from solo.training import loss
from solo.training.batches import collate
from solo.training.loop import Training, train
from solo.training.processes import make_accelerator
from solo.training.recipe import TrainConfig, follow, make_optimizer, set_step
from solo.training.state import read_counters, settle
from solo.training.together import train_runs
from tests.conftest import make_model
from tests.solo.training.test_train import RECIPE, TRAIN, VALID

# Ranks, seeds, sparsities, learning rates, methods and dropout differ.
MERGING = {"name": "imlor2c", "rank": 2, "dropout": 0.2, "merges": 2, "interval": 4}
RUNS = [
    ({"name": "solo", "rank": 4, "sparsity": 0.3, "dropout": 0.1}, 1, {"lr": 0.02}),
    ({"name": "solo", "rank": 9, "dropout": 0.0, "variant": "devcode"}, 1, {"lr": 0.01}),
    (
        {"name": "lora", "rank": 2, "dropout": 0.3},
        2,
        {"lr": 0.005, "weight_decay": 0.0, "betas": (0.7, 0.9), "eps": 1e-3},
    ),
    ({"name": "ssb"}, 3, {"lr": 0.02, "warmup_steps": 0}),
    ({"name": "houlsby"}, 1, {"lr": 0.002}),
    (MERGING | {"injections": 2}, 2, {"lr": 0.005}),
    (
        {"name": "lora", "rank": 2, "dropout": 0.5, "constraint": "o", "constraint_weight": 10.0},
        1,
        {"lr": 0.005},
    ),
]


def make_runs(model, folder, runs=RUNS, **recipe) -> list[Training]:
    made = []
    for number, (options, seed, own) in enumerate(runs):
        method, config = make_config(options)
        attached = method.attach(model, config, seed)
        attached.detach()
        config = TrainConfig(**RECIPE | recipe | own)
        made.append(Training(attached, config, folder / str(number), seed, f"run {number}"))
    return made


def alone(folder, runs=RUNS, **recipe) -> list[tuple[Method, dict]]:
    results = []
    for number, (options, seed, own) in enumerate(runs):
        model = make_model()
        method, config = make_config(options)
        attached = method.attach(model, config, seed)
        config = TrainConfig(**RECIPE | recipe | own)
        path, name = folder / str(number), f"run {number}"
        results.append((attached, train(model, attached, TRAIN, VALID, config, path, seed, name)))
    return results


def read(folder, key: str) -> list:
    lines = (json.loads(line) for line in (folder / LOG).read_text().splitlines())
    return [line[key] for line in lines if key in line]


def test_runs_together_end_as_they_do_alone(tmp_path):
    model = make_model()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    runs = make_runs(model, tmp_path / "together")
    results = train_runs(model, runs, TRAIN, VALID)
    single = alone(tmp_path / "alone")
    for number, (attached, expected) in enumerate(single):
        assert results[number]["valid_loss"] == pytest.approx(expected["valid_loss"], rel=1e-3)
        losses = [read(tmp_path / kind / str(number), "loss") for kind in ("together", "alone")]
        assert losses[0] == pytest.approx(losses[1], rel=1e-3)
        steps, names = ([], []), ([], [])
        for kind, of, keys in zip(("together", "alone"), steps, names, strict=True):
            for line in files.read_json_lines(tmp_path / kind / str(number) / LOG):
                of.append(line["step"])
                keys.append(list(line))
        assert steps[0] == steps[1] and names[0] == names[1]
        for name, parameter in attached.parameters.items():
            torch.testing.assert_close(
                runs[number].attached.parameters[name], parameter, rtol=5e-3, atol=5e-4
            )
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], before[name]) for name in before)


def test_no_draws_of_a_training_are_left_whatever_ended_it(tmp_path):
    def kill(done, total, info):
        raise KeyboardInterrupt

    model = make_model()
    runs = make_runs(model, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        train_runs(model, runs, TRAIN, VALID, kill)
    places = [m for run in runs for m in run.attached.module.modules() if isinstance(m, Dropout)]
    assert len(places) > 10 and all(place.mask is None for place in places)


def test_runs_together_go_on_where_they_were_killed(tmp_path):
    def kill(done, total, info):
        if done == 7:
            raise KeyboardInterrupt

    model = make_model()
    whole = make_runs(model, tmp_path / "whole", save_every=2)
    expected = train_runs(model, whole, TRAIN, VALID)
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        train_runs(model, make_runs(model, tmp_path / "k", save_every=2), TRAIN, VALID, kill)
    model = make_model()
    again = make_runs(model, tmp_path / "k", save_every=2)
    assert train_runs(model, again, TRAIN, VALID) == expected
    for run, other in zip(whole, again, strict=True):
        for name, parameter in run.attached.parameters.items():
            assert torch.equal(parameter, other.attached.parameters[name]), name


def test_a_state_goes_on_behind_either_door(tmp_path):
    """Written by several runs together and taken up by each alone, and the other way round."""

    def kill(done, total, info):
        if done == 7:
            raise KeyboardInterrupt

    runs, recipe = [RUNS[0], RUNS[2]], {"save_every": 2}
    single = alone(tmp_path / "whole", runs, **recipe)
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        train_runs(model, make_runs(model, tmp_path / "t", runs, **recipe), TRAIN, VALID, kill)
    from_together = alone(tmp_path / "t", runs, **recipe)
    for run in make_runs(make_model(), tmp_path / "a", runs, **recipe):
        model = make_model()
        method, config = make_config(runs[int(run.run_dir.name)][0])
        attached = method.attach(model, config, run.seed)
        with pytest.raises(KeyboardInterrupt):
            rest = (run.config, run.run_dir, run.seed, run.identity)
            train(model, attached, TRAIN, VALID, *rest, kill)
        assert read_counters(run.run_dir / STATE)["step"] == 6
    model = make_model()
    from_alone = make_runs(model, tmp_path / "a", runs, **recipe)
    seen = []
    train_runs(model, from_alone, TRAIN, VALID, lambda done, total, info: seen.append(done))
    assert seen == list(range(7, 13))
    for number, (attached, _) in enumerate(single):
        for name, parameter in attached.parameters.items():
            for other in (from_together[number][0], from_alone[number].attached):
                torch.testing.assert_close(other.parameters[name], parameter, rtol=5e-3, atol=5e-4)


def test_a_mean_in_the_log_is_over_the_steps_of_its_own_run(tmp_path):
    """Of two runs that were begun alone the first had just written a line, the other none yet."""

    def kill(done, total, info):
        if done == 7:
            raise KeyboardInterrupt

    runs, recipe = [RUNS[0], RUNS[2]], {"save_every": 2, "log_every": 100}
    alone(tmp_path / "whole", runs, **recipe)
    for run, log_every in zip(make_runs(make_model(), tmp_path, runs), (3, 100), strict=True):
        model = make_model()
        method, config = make_config(runs[int(run.run_dir.name)][0])
        attached = method.attach(model, config, run.seed)
        begun = replace(run.config, save_every=2, log_every=log_every)
        with pytest.raises(KeyboardInterrupt):
            train(model, attached, TRAIN, VALID, begun, run.run_dir, run.seed, run.identity, kill)
    model = make_model()
    train_runs(model, make_runs(model, tmp_path, runs, **recipe), TRAIN, VALID)
    assert len(read(tmp_path / "0", "loss")) == 3
    [mean] = read(tmp_path / "1", "loss")
    assert mean == pytest.approx(read(tmp_path / "whole" / "1", "loss")[0], rel=1e-3)


def test_what_cannot_train_together(tmp_path):
    solo = ({"name": "solo", "rank": 4}, 1, {})
    for other, text in (
        (({"name": "prefix"}, 1, {}), "cannot share a backbone; train it alone"),
        (({"name": "solo", "rank": 4}, 1, {"epochs": 3}), "differ in more than lr, warmup_steps"),
        (({"name": "solo", "rank": 4}, 1, {"label_smoothing": 0.2}), "differ in more than lr, war"),
        (({"name": "full"}, 1, {}), "by other means than hooks cannot share a backbone"),
    ):
        model = make_model()
        with pytest.raises(ValueError, match=text):
            train_runs(model, make_runs(model, tmp_path, [solo, other]), TRAIN, VALID)


def test_packed_equals_padded(tmp_path):
    """Loss curves of rows without padding and of the plain path: 1e-4 apart over the whole run."""
    runs = [RUNS[0], RUNS[2], ({"name": "full"}, 1, {"lr": 1e-3})]
    packed, padded = alone(tmp_path / "a", runs), alone(tmp_path / "b", runs, packed=False)
    for number, ((_, one), (_, other)) in enumerate(zip(packed, padded, strict=True)):
        losses = [read(tmp_path / kind / str(number), "loss") for kind in "ab"]
        assert losses[0] == pytest.approx(losses[1], rel=1e-4)
        assert one["valid_loss"] == pytest.approx(other["valid_loss"], rel=1e-4)


def test_an_optimizer_follows_its_parameters():
    """Survivors keep their moments, new ones begin with the recipe's first step."""
    config = TrainConfig(lr=0.1, eps=1e-3, weight_decay=0.0, betas=(0.8, 0.99))
    stays, leaves, comes = (torch.nn.Parameter(torch.ones(3)) for _ in range(3))
    attached = Method({"stays": stays, "leaves": leaves})
    optimizer = make_optimizer(attached, config)
    gradient = torch.tensor([1.0, -2.0, 1e-4])

    def step(number: int) -> None:
        set_step(optimizer, number, 0.1, config)
        for parameter in attached.parameters.values():
            parameter.grad = gradient.clone()
        optimizer.step()

    step(1)
    step(2)
    moments = optimizer.state[stays]["exp_avg"].clone()
    attached.parameters = {"stays": stays, "comes": comes}
    follow(optimizer, attached, 2)
    assert torch.equal(optimizer.state[stays]["exp_avg"], moments)
    assert leaves not in optimizer.state
    step(3)
    assert int(optimizer.state[stays]["step"]) == 3
    # LoRA's AdamW by hand, its first step: m = 0.2 g, v = 0.01 g^2, eps before the correction
    update = 0.1 * math.sqrt(0.01) / 0.2 * (0.2 * gradient)
    update = update / (math.sqrt(0.01) * gradient.abs() + 1e-3)
    torch.testing.assert_close(comes.data, 1 - update, rtol=1e-5, atol=1e-6)


def scheduled(model) -> Method:
    """A made-up method: at step 5 parameter `b` is replaced by `c`; a tensor counts the steps."""
    values = {name: torch.nn.Parameter(torch.zeros(16)) for name in "abc"}
    attached = Method({"a": values["a"], "b": values["b"]})
    count = torch.zeros(())

    def swap(events: list[dict]) -> None:
        if events:
            attached.events.extend(events)
            attached.parameters = {"a": values["a"], "c": values["c"]}

    def after_step(step: int) -> None:
        count.add_(1)
        if step == 5:
            swap([{"step": step, "removed": "b"}])

    def add(module, args, output):
        return output + sum(attached.parameters.values())

    for parameter in model.parameters():
        parameter.requires_grad_(False)
    model.transformer.h[2].mlp.register_forward_hook(add)
    attached.after_step, attached.replay, attached.state = after_step, swap, {"n": count}
    attached.penalty = lambda: sum(p.square().sum() for p in attached.parameters.values())
    return attached


def run_scheduled(folder, stop_at=None) -> Method:
    def on_progress(done, total, info):
        if done == stop_at:
            raise KeyboardInterrupt

    model = make_model()
    attached = scheduled(model)
    config = TrainConfig(**RECIPE | {"save_every": 1, "log_every": 1})
    train(model, attached, TRAIN, VALID, config, folder, 1, "a", on_progress)
    return attached


def test_a_schedule_survives_a_restart(tmp_path):
    whole = run_scheduled(tmp_path / "whole")
    assert read(tmp_path / "whole", "event") == [{"step": 5, "removed": "b"}]
    assert set(whole.parameters) == {"a", "c"} and whole.state["n"] == 12
    for stop_at in (3, 5, 8):
        folder = tmp_path / str(stop_at)
        with pytest.raises(KeyboardInterrupt):
            run_scheduled(folder, stop_at)
        again = run_scheduled(folder)
        assert again.events == whole.events and again.state["n"] == 12
        for name, parameter in whole.parameters.items():
            assert torch.equal(parameter, again.parameters[name]), (stop_at, name)
        assert read(folder, "loss") == read(tmp_path / "whole", "loss")


def kill_at_replace(monkeypatch, number: int) -> None:
    """Let call `number` of os.replace, from 1, be the end."""
    replace, calls = os.replace, []

    def counting(*paths):
        calls.append(paths)
        if len(calls) == number:
            raise KeyboardInterrupt
        replace(*paths)

    monkeypatch.setattr(os, "replace", counting)


@pytest.mark.parametrize("number", range(1, 9))
def test_a_kill_between_the_states_of_two_runs_leaves_both_at_one_step(
    tmp_path, monkeypatch, number
):
    """A log, a log; the second run's next state, the first one's, the second takes its place; the
    last three once more, after the second step."""
    dropping = [
        ({"name": "lora", "rank": 2, "dropout": 0.5}, 1, {"lr": 0.02}),
        ({"name": "solo", "rank": 4, "dropout": 0.5}, 2, {"lr": 0.01}),
    ]
    recipe = {"save_every": 1, "max_steps": 2}
    model = make_model()
    whole = make_runs(model, tmp_path / "whole", dropping, **recipe)
    expected = train_runs(model, whole, TRAIN, VALID)
    kill_at_replace(monkeypatch, number)
    model = make_model()
    with pytest.raises(KeyboardInterrupt):
        train_runs(model, make_runs(model, tmp_path / "k", dropping, **recipe), TRAIN, VALID)
    monkeypatch.undo()
    model = make_model()
    again = make_runs(model, tmp_path / "k", dropping, **recipe)
    for run in again:
        settle(run.run_dir)
    states = [run.run_dir / STATE for run in again]
    steps = [read_counters(path)["step"] for path in states if path.exists()]
    assert steps == [*[[]] * 4, *[[1, 1]] * 3, [2, 2]][number - 1]
    assert train_runs(model, again, TRAIN, VALID) == expected
    for run, other in zip(whole, again, strict=True):
        for name, parameter in run.attached.parameters.items():
            assert torch.equal(parameter, other.attached.parameters[name]), name
        assert not (other.run_dir / NEXT).exists()


def test_what_has_done_all_steps_together_is_only_finished_alone(tmp_path):
    runs, recipe = [RUNS[0], RUNS[2]], {"save_every": 5}
    model = make_model()
    together = make_runs(model, tmp_path, runs, **recipe)
    results = train_runs(model, together, TRAIN, VALID)
    single = alone(tmp_path, runs, **recipe)
    assert [result for _, result in single] == results and results[0]["together"] == 2
    for run, (attached, _) in zip(together, single, strict=True):
        for name, parameter in attached.parameters.items():
            assert torch.equal(parameter, run.attached.parameters[name])


def test_the_validation_of_many_runs_has_no_more_rows_at_once_than_that_of_one(monkeypatch):
    rows = []
    monkeypatch.setattr(
        loss, "collate", lambda batches: (rows.append(sum(map(len, batches))), collate(batches))[1]
    )
    config = TrainConfig(valid_batch_size=8)
    found = loss.validation_losses(make_model(), VALID * 4, config, make_accelerator(), runs=4)
    assert len(found) == 4 and max(rows) == 8
