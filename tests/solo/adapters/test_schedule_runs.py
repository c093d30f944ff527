"""Schedules in a run: killed and resumed, saved and loaded, and files that do not fit."""

import json

import pytest
import torch

from solo.adapters import make_config
from solo.backbones.loading import fingerprint
from solo.run_files import ADAPTER, STATE
from solo.runs import checkpoint
from solo.training.loop import train
from solo.training.recipe import TrainConfig
from tests.conftest import make_model
from tests.solo.adapters.test_schedule import EVENTS, NAMES, made
from tests.solo.training.test_together import read
from tests.solo.training.test_train import RECIPE, TRAIN, VALID


def run(folder, name: str, stop_at=None, **recipe):
    def on_progress(done, total, info):
        if done == stop_at:
            raise KeyboardInterrupt

    model = make_model()
    attached = made(model, name, interval=3, dropout=0.2, top_k=1)
    config = TrainConfig(**RECIPE | {"save_every": 1, "log_every": 1} | recipe)
    result = train(model, attached, TRAIN, VALID, config, folder, 1, "a", on_progress)
    return attached, result


@pytest.mark.parametrize("name", NAMES)
def test_a_resumed_run_is_the_same_to_the_bit(tmp_path, name):
    """Killed before an event, at it, after one and before the next; the state a step old or two."""
    whole, result = run(tmp_path / "whole", name)
    logged = read(tmp_path / "whole", "event")
    assert logged == whole.events and len(logged) == sum(EVENTS[name].values())
    assert {event["step"] for event in logged} <= {3, 6, 9}
    for stop_at, save_every in ((2, 1), (3, 1), (4, 1), (5, 2), (7, 2), (10, 4)):
        folder = tmp_path / f"{stop_at}-{save_every}"
        with pytest.raises(KeyboardInterrupt):
            run(folder, name, stop_at, save_every=save_every)
        assert (folder / STATE).exists()
        again, same = run(folder, name, save_every=save_every)
        assert again.events == whole.events and same == result
        assert list(again.parameters) == list(whole.parameters)
        for key, parameter in whole.parameters.items():
            assert torch.equal(parameter, again.parameters[key]), (stop_at, key)
        for kind in ("loss", "event", "modules"):
            assert read(folder, kind) == read(tmp_path / "whole", kind)


def test_a_saved_adapter_tells_and_replays_its_events(tmp_path):
    trained, _ = run(tmp_path, "imlor2c")
    _, config = make_config({"name": "imlor2c", "rank": 3, "merges": 3, "injections": 2})
    model = make_model()
    sha256 = fingerprint(model)
    checkpoint.save_adapter(tmp_path, "imlor2c", config, trained, 1, sha256)
    saved = json.loads((tmp_path / ADAPTER).read_text())
    assert saved["events"] == trained.events and saved["n_params"] == trained.n_trained
    assert set(saved["events"][0]) == {"step", "kind", "blocks", "feature_spaces"}
    loaded = checkpoint.load_adapter(tmp_path, model, sha256)
    assert loaded.events == trained.events
    assert not any(module.training for module in model.modules())  # what was injected as well
    assert all(torch.equal(p, trained.parameters[n]) for n, p in loaded.parameters.items())


@pytest.mark.parametrize(
    ("name", "kind", "blocks", "text"),
    [
        ("mergelor2c", "merge", [0, 2], "there are no two modules to merge"),
        ("mergelor2c", "merge", [5, 6], "there are no two modules to merge"),
        ("mergelor2c", "inject", [1, 1], "this method cannot do"),
        ("imlor2c", "inject", [1, 2], "there is no module to replace"),
        ("imlor2c", "inject", [6, 6], "there is no module to replace"),
        ("imlor2c", "split", [1, 1], "this method cannot do"),
    ],
)
def test_events_that_do_not_fit(tmp_path, ids, name, kind, blocks, text):
    """A damaged file: the model is left as it was."""
    model = make_model()
    before, sha256 = model(ids).logits, fingerprint(model)
    attached = made(model, name)
    method, config = make_config({"name": name, "rank": 3, "alpha": 6})
    attached.events.append({"step": 1, "kind": kind, "blocks": blocks})
    checkpoint.save_adapter(tmp_path, name, config, attached, 1, sha256)
    attached.detach()
    with pytest.raises(ValueError, match=text):
        checkpoint.load_adapter(tmp_path, model, sha256)
    assert torch.equal(model(ids).logits, before) and not hasattr(model, "adapter")
