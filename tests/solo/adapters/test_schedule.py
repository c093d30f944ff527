"""Merges and injections against a slow simulation, and the model they leave behind."""

import pytest
import torch

from solo.adapters import make_config
from solo.adapters.shared.schedule import to_inject, to_merge
from solo.training.batches import pad
from solo.training.compiled import compiled_blocks
from solo.training.loop import train
from solo.training.loss import summed_loss
from solo.training.recipe import TrainConfig, follow, make_optimizer, set_step
from tests.conftest import make_model
from tests.solo.adapters.test_lor2c import by_hand, draws
from tests.solo.training.test_train import RECIPE, TRAIN, VALID

NAMES = ("mergelor2c", "injectlor2c", "imlor2c")
EVENTS = {"mergelor2c": {"merges": 3}, "injectlor2c": {"injections": 3}}
EVENTS["imlor2c"] = {"merges": 3, "injections": 2}


def made(model, name: str, **options):
    """A method without dropout whose schedule is an event of a kind a step; not yet started."""
    fast = {"rank": 3, "alpha": 6, "dropout": 0.0, "interval": 1}
    method, config = make_config({"name": name} | fast | EVENTS[name] | options)
    return method.attach(model, config, 1)


def redraw(attached, seed: int) -> None:
    with torch.no_grad():
        for i, parameter in enumerate(attached.parameters.values()):
            size = 0.1 + torch.rand((), generator=draws(97 * seed + i))
            parameter.normal_(std=size.item(), generator=draws(100 * seed + i))


def slow_space(values: dict, first: int, top_k: int) -> float:
    """From all singular values of the whole product."""
    singular = torch.linalg.svdvals(values[f"residual.{first}.b"] @ values[f"residual.{first}.a"])
    return singular[:top_k].sum() / singular.sum() if top_k else singular.sum() / 3


def slow_event(kind: str, modules: list[list[int]], values: dict, top_k: int, max_span: int):
    """The range of the next event, of modules given as lists of their blocks; brings them up to
    date."""
    space = {blocks[0]: slow_space(values, blocks[0], top_k) for blocks in modules}
    if kind == "inject":
        alone = [blocks for blocks in modules if len(blocks) == 1]
        if not alone:
            return None
        chosen = max(alone, key=lambda blocks: space[blocks[0]])
        modules.remove(chosen)
        return chosen * 2
    best = None
    for one in modules:
        for other in modules:
            if one[-1] + 1 == other[0] and len(one) + len(other) <= max_span:
                total = space[one[0]] + space[other[0]]
                if best is None or total < best[0]:
                    best = (total, one, other)
    if best is None:
        return None
    modules[modules.index(best[1])] = best[1] + best[2]
    modules.remove(best[2])
    return [best[1][0], best[2][-1]]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("top_k", [0, 1, 2])
@pytest.mark.parametrize("max_span", [2, 4])
def test_events_are_those_of_a_slow_simulation(name, top_k, max_span):
    for seed in range(10):
        options = {} if name == "injectlor2c" else {"max_span": max_span}
        if name == "imlor2c" and max_span == 2:
            options["merges"] = 2
        attached = made(make_model(), name, top_k=top_k, **options)
        attached.start(100)
        modules, expected = [[i] for i in range(6)], []
        for step in range(1, 6):
            redraw(attached, 10 * seed + step)
            values = {key: p.detach().double() for key, p in attached.parameters.items()}
            for kind in ("merge", "inject"):
                count = {"merge": "merges", "inject": "injections"}[kind]
                if step <= (EVENTS[name] | options).get(count, 0):
                    blocks = slow_event(kind, modules, values, top_k, max_span)
                    expected.append((step, kind, blocks))
            attached.after_step(step)
            assert {f"residual.{blocks[0]}.a" for blocks in modules} == {
                key for key in attached.parameters if key[-2:] == ".a"
            }
        assert [(e["step"], e["kind"], e["blocks"]) for e in attached.events] == expected
        assert sum(blocks is not None for _, _, blocks in expected) >= 2


def test_choices_by_hand():
    spaces = {0: 0.5, 1: 0.1, 2: 0.3, 3: 0.9, 5: 0.0}
    end = {0: 0, 1: 1, 2: 2, 3: 3, 5: 5}  # block 4 has no module
    assert to_merge(end, spaces, 6) == [1, 2]
    assert to_inject(end, spaces) == [3, 3]
    end = {0: 0, 1: 2, 3: 3, 5: 5}
    assert to_merge(end, spaces, 6) == [0, 2]  # 0.5 + 0.1; (1-2, 3) is 1.0; 4 lies between 3 and 5
    assert to_merge(end, spaces, 2) is None
    assert to_merge({0: 0, 1: 1, 2: 2}, {0: 0.2, 1: 0.2, 2: 0.2}, 6) == [0, 1]  # a tie
    assert to_inject({1: 2, 3: 3, 5: 5}, {1: 9.0, 3: 0.4, 5: 0.4}) == [3, 3]  # a tie; 1-2 is merged
    assert to_inject({0: 1, 2: 5}, {0: 1.0, 2: 1.0}) is None


def test_intervals_are_a_quarter_of_training_by_the_number():
    """3 merges in 120 steps: every 10 steps; 2 injections: every 15. Nothing after them."""
    attached = made(make_model(), "imlor2c", merges=3, injections=2, interval=None)
    attached.start(120)
    redraw(attached, 1)
    for step in range(1, 121):
        attached.after_step(step)
    when = [(event["step"], event["kind"]) for event in attached.events]
    assert when == [(10, "merge"), (15, "inject"), (20, "merge"), (30, "merge"), (30, "inject")]


@pytest.mark.parametrize(("n_layer", "events"), [(3, 1), (12, 3)])
def test_a_quarter_of_the_blocks_by_default(n_layer, events):
    model = make_model(n_layer)
    for name in NAMES:
        method, config = make_config({"name": name, "interval": 1})
        attached = method.attach(model, config, 1)
        attached.start(100)
        for step in range(1, 10):
            attached.after_step(step)
        assert len(attached.events) == events * (2 if name == "imlor2c" else 1)
        attached.detach()


@pytest.mark.parametrize("cached", [False, True])
def test_forward_after_events_is_the_formula(model, ids, cached):
    """Merged: read before the first block, added after the last. Injected: LoRA in the weights."""
    attached = made(model, "imlor2c", lora_rank=2, lora_alpha=10)
    wanted = [("merge", [1, 2]), ("inject", [4, 4]), ("merge", [1, 3]), ("inject", [0, 0])]
    attached.replay([{"step": 1, "kind": kind, "blocks": blocks} for kind, blocks in wanted])
    redraw(attached, 3)
    values = {name: p.detach().clone() for name, p in attached.parameters.items()}
    inputs = {}

    def update(i, x):
        inputs[i] = x
        first = {3: 1, 5: 5}.get(i)  # modules 1-3 and 5
        if first is None:
            return 0.0
        product = 2.0 * values[f"residual.{first}.b"] @ values[f"residual.{first}.a"]
        return inputs[first] @ product.T

    with torch.no_grad():
        if cached:
            cache, steps = None, []
            for i in range(ids.shape[1]):
                out = model(ids[:, i : i + 1], past_key_values=cache, use_cache=True)
                cache = out.past_key_values
                steps.append(out.logits)
            adapted = torch.cat(steps, 1)
        else:
            adapted = model(ids).logits
        attached.detach()
        bare = model(ids).logits
        for block in (0, 4):
            for third, part in ((0, "q"), (2, "v")):
                a, b = values[f"lora.{block}.{part}_a"], values[f"lora.{block}.{part}_b"]
                assert a.shape == (2, 16)
                weight = model.transformer.h[block].attn.c_attn.weight
                weight[:, third * 16 : (third + 1) * 16] += 5.0 * (b @ a).T
        expected = by_hand(model, ids, update)
        torch.testing.assert_close(adapted, expected, rtol=1e-4, atol=1e-4)
        assert not torch.allclose(bare, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("name", NAMES)
def test_the_count_after_all_events(name):
    """2 d r less for a merge, 4 d lora_rank - 2 d r more for an injection; half the rank: same."""
    for lora_rank, change in ((3, 4 * 16 * 3 - 2 * 16 * 3), (None, 4 * 16 - 2 * 16 * 3)):
        options = {"lora_rank": lora_rank} if name == "injectlor2c" else {}
        if name == "imlor2c":
            options = {"lora_rank": lora_rank, "merges": 2}
        attached = made(make_model(), name, **options)
        attached.start(10)
        for step in range(1, 10):
            attached.after_step(step)
        counts = EVENTS[name] | options
        merges, injections = (counts.get(kind, 0) for kind in ("merges", "injections"))
        assert all(event["blocks"] for event in attached.events)
        assert attached.n_trained == 6 * 96 - merges * 96 + injections * change
    even = made(make_model(), "injectlor2c", rank=4)
    even.start(10)
    before = even.n_trained
    even.after_step(1)
    assert len(even.events) == 1 and even.n_trained == before


@pytest.mark.parametrize("name", NAMES)
def test_a_schedule_must_leave_steps_to_train(name, tmp_path):
    model = make_model()
    attached = made(model, name, interval=4)
    with pytest.raises(
        ValueError, match="does not fit: 3 times .*, every 4 steps, takes more than 12"
    ):
        attached.start(12)
    attached.start(13)
    with pytest.raises(ValueError, match="the run has 12; lower .* adapter.interval, or train"):
        train(model, attached, TRAIN, VALID, TrainConfig(**RECIPE), tmp_path, 1, "a")
    with pytest.raises(RuntimeError, match="was not started: call start"):
        made(make_model(), name).after_step(1)


def test_the_optimizer_follows():
    """Moments of the survivors are untouched; what leaves has none, what comes begins."""
    attached = made(make_model(), "imlor2c", merges=1, injections=1)
    optimizer = make_optimizer(attached, TrainConfig())
    before = dict(attached.parameters)
    for i, parameter in enumerate(before.values()):
        parameter.grad = torch.randn(parameter.shape, generator=draws(i))
    optimizer.step()
    moments = {name: optimizer.state[p]["exp_avg"].clone() for name, p in before.items()}
    attached.start(10)
    attached.after_step(1)
    [merge, injection] = [event["blocks"] for event in attached.events]
    follow(optimizer, attached, 1)
    gone = {f"residual.{block}.{f}" for block in (merge[1], injection[0]) for f in "ab"}
    new = {f"lora.{injection[0]}.{part}" for part in ("q_a", "q_b", "v_a", "v_b")}
    assert set(attached.parameters) == set(before) - gone | new
    for name, parameter in attached.parameters.items():
        if name in new:
            assert parameter not in optimizer.state
        else:
            assert parameter is before[name]
            assert torch.equal(optimizer.state[parameter]["exp_avg"], moments[name])
    trained = {id(p): group["born"] for group in optimizer.param_groups for p in group["params"]}
    assert trained == {id(p): int(name in new) for name, p in attached.parameters.items()}
    assert not any(before[name] in optimizer.state for name in gone)
    config = TrainConfig(
        eps=0.5
    )  # LoRA's eps counts a parameter's own updates, as AdamW's bias does
    set_step(optimizer, 4, 1e-3, config)
    own = {group["born"]: group["eps"] for group in optimizer.param_groups}
    assert own == {born: 0.5 / (1 - 0.999 ** (4 - born)) ** 0.5 for born in (0, 1)}


def test_a_compiled_step_sees_the_events(monkeypatch):
    compile_ = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f, **_: compile_(f, dynamic=True, backend="eager"))
    model, batch = make_model(3), pad([TRAIN[:2]], multiple=8)
    attached = made(model, "imlor2c", merges=1, injections=1)
    attached.start(10)
    with compiled_blocks(model) as compiled:
        fast = compiled(summed_loss)
        for step in (1, 2):
            redraw(attached, step)
            expected = summed_loss(model, batch, 1, 0.1).item()
            assert fast(model, batch, 1, 0.1).item() == pytest.approx(expected, rel=1e-5)
            attached.after_step(step)
    assert len(attached.events) == 2
