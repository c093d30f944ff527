"""What must not load, does not."""

import json

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from solo import tensors
from solo.adapters import make_config
from solo.backbones.loading import fingerprint
from solo.files import file_sha256
from solo.run_files import ADAPTER, NEXT, STATE, WEIGHTS
from solo.runs import checkpoint
from solo.training.state import load_state, read_counters, save_state, settle
from tests.conftest import make_model

OPTIONS = {"name": "solo", "rank": 4, "sparsity": 0.5}
COUNTERS = {"counters": '{"step": 1, "events": []}'}


@pytest.fixture
def saved(tmp_path, model):
    sha256 = fingerprint(model)
    method, config = make_config(OPTIONS)
    attached = method.attach(model, config, 1)
    checkpoint.save_adapter(tmp_path, "solo", config, attached, 1, sha256)
    return tmp_path


def rewrite(directory, **changes):
    path = directory / ADAPTER
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def refuses(directory, model, text, error=ValueError):
    sha256 = fingerprint(model)
    with pytest.raises(error, match=text):
        checkpoint.load_adapter(directory, model, sha256)
    assert not hasattr(model, "adapter") and fingerprint(model) == sha256


def test_another_backbone(saved):
    refuses(saved, make_model(seed=8), "was trained on another backbone .*set model.path to the")


def test_damaged_weights(saved):
    path = saved / WEIGHTS
    path.write_bytes(path.read_bytes()[:-4] + b"oops")
    refuses(saved, make_model(), "is damaged or not this run's; move it away, and")


def test_missing_weights(saved):
    (saved / WEIGHTS).unlink()
    refuses(saved, make_model(), "adapter.safetensors is missing; train", FileNotFoundError)


def test_masks_that_come_out_otherwise(saved):
    rewrite(saved, seed=2)
    refuses(
        saved,
        make_model(),
        "masks or frozen matrices of this run come out otherwise here; use the version",
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda t: t.pop("v"), "lacks tensor 'v' .1 in all"),
        (lambda t: t.update(w=torch.zeros(1)), "has an unexpected tensor 'w' .1 in all"),
        (lambda t: t.update(v=torch.zeros(3)), r"tensor 'v' has shape \(3,\), the adapter \(2, 16"),
    ],
)
def test_tensors_that_do_not_fit(saved, change, text):
    held = load_file(saved / WEIGHTS)
    change(held)
    save_file(held, saved / WEIGHTS)
    rewrite(saved, weights_sha256=file_sha256(saved / WEIGHTS))
    refuses(saved, make_model(), text)


@pytest.mark.parametrize("seed", ["1", None, 1.5, [1], True])
def test_a_seed_that_is_none(saved, seed):
    rewrite(saved, seed=seed)
    refuses(saved, make_model(), "adapter.json is damaged .seed is ")


@pytest.mark.parametrize("events", [[1], "x", [{}], 5])
def test_events_that_are_none(tmp_path, model, events):
    sha256 = fingerprint(model)
    method, config = make_config({"name": "mergelor2c"})
    attached = method.attach(model, config, 1)
    checkpoint.save_adapter(tmp_path, "mergelor2c", config, attached, 1, sha256)
    rewrite(tmp_path, events=events)
    refuses(tmp_path, make_model(), "adapter.json is damaged .events: ")


def test_a_waiting_state_without_a_leader(tmp_path):
    save_file({}, tmp_path / NEXT, COUNTERS)
    with pytest.raises(ValueError, match="next.safetensors is damaged .it names no leader"):
        settle(tmp_path)


def test_broken_json(saved):
    (saved / ADAPTER).write_text('{"method": ')
    refuses(saved, make_model(), "adapter.json is damaged .*restore it, or move it away")


def test_a_state_with_parameters_that_are_not_finite_is_not_written(tmp_path, model):
    method, config = make_config(OPTIONS)
    attached = method.attach(model, config, 1)
    optimizer = torch.optim.AdamW(attached.parameters.values())
    path = tmp_path / STATE
    save_state(path, attached, optimizer, {"step": 1})
    with torch.no_grad():
        attached.parameters["v"][0, 0] = torch.inf
    with pytest.raises(FloatingPointError, match="v is not finite after step 2; the state before"):
        save_state(path, attached, optimizer, {"step": 2})
    assert read_counters(path) == {"step": 1, "events": []}


def state_of(tmp_path, model):
    """A state as a run writes it; (path, method, optimizer)."""
    method, config = make_config(OPTIONS)
    attached = method.attach(model, config, 1)
    optimizer = torch.optim.AdamW(attached.parameters.values())
    sum(parameter.sum() for parameter in attached.parameters.values()).backward()
    optimizer.step()
    save_state(tmp_path / STATE, attached, optimizer, {"step": 1})
    return tmp_path / STATE, attached, optimizer


@pytest.mark.parametrize(
    "damage",
    [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-100]),
        lambda path: save_file({"a": torch.zeros(1)}, path),  # no state at all
        lambda path: save_file({"a": torch.zeros(1)}, path, {"counters": "{}"}),
        lambda path: save_file({"a": torch.zeros(1)}, path, {"counters": "[1"}),
        lambda path: save_file(
            load_file(path) | {"optimizer/exp_avg/nope": torch.zeros(1)}, path, COUNTERS
        ),
    ],
)
def test_a_damaged_state_is_named_in_one_line_with_the_remedy(tmp_path, model, damage):
    path, attached, optimizer = state_of(tmp_path, model)
    load_state(path, attached, optimizer)
    damage(path)
    with pytest.raises(ValueError) as error:
        load_state(path, attached, optimizer)
    text = str(error.value)
    assert text.startswith(f"{path} is damaged (") and "\n" not in text
    assert text.endswith("; move it away, and its run begins again")


def test_moments_of_another_shape_are_refused(tmp_path, model):
    path, attached, optimizer = state_of(tmp_path, model)
    save_file(load_file(path) | {"optimizer/exp_avg/v": torch.zeros(3)}, path, COUNTERS)
    with pytest.raises(ValueError, match=r"optimizer/exp_avg/v has shape \(3,\), not \(2, 16"):
        load_state(path, attached, optimizer)


def test_a_full_disk_is_an_error_that_names_the_file(tmp_path, monkeypatch):
    def full(*args):
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(tensors, "save_file", full)
    with pytest.raises(OSError, match=r"state cannot be written \(I/O error: No space left"):
        tensors.save_tensors(tmp_path / "state", {}, {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("of_leader", "step"), [(None, 2), (3, 2), (4, 4), (6, 2)])
def test_a_waiting_state_counts_with_one_of_its_leaders_at_the_same_step(tmp_path, of_leader, step):
    def write(path, **counters):
        path.parent.mkdir(exist_ok=True)
        save_file({}, path, {"counters": json.dumps({"events": []} | counters)})

    run = tmp_path / "run"
    write(run / STATE, step=2)
    write(run / NEXT, step=4, leader="../leader")
    if of_leader is not None:
        write(tmp_path / "leader" / STATE, step=of_leader)
    settle(run)
    assert read_counters(run / STATE)["step"] == step and not (run / NEXT).exists()


def test_tensors_of_another_type_have_another_checksum():
    sums = {
        tensors.tensors_sha256({"a": torch.zeros(2, dtype=t)}) for t in (torch.float32, torch.int32)
    }
    assert len(sums) == 2
