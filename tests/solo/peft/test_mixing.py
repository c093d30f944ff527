"""Several adapters in one batch: each row as its own adapter alone computes it."""

import threading

import pytest
import torch
from peft import get_peft_model
from transformers import GenerationConfig

from solo.peft import SoloConfig
from solo.peft.layer import names_of_rows
from tests.conftest import make_model
from tests.solo.peft.tiny import OTHER, SMALL


def test_one_batch_with_several_adapters(two, ids):
    names = ["other", "__base__", "default"]
    mixed = two(ids, adapter_names=names).logits
    for i, name in enumerate(names):
        if name == "__base__":
            expected = make_model()(ids).logits[i]
        else:
            two.set_adapter(name)
            expected = two(ids).logits[i]
        torch.testing.assert_close(mixed[i], expected)
    two.set_adapter("default")
    assert torch.equal(two(ids).logits, two(ids, adapter_names=["default"] * 3).logits)


def test_an_encoder_sees_each_example_once_and_a_decoder_once_for_each_beam():
    assert names_of_rows(["a", "b"], 3, 2) == ["a", "b"]
    assert names_of_rows(["a", "b"], 3, 6) == ["a", "a", "a", "b", "b", "b"]
    with pytest.raises(ValueError, match="has 2 names for a batch of 4; give one for each"):
        names_of_rows(["a", "b"], 3, 4)


def test_one_batch_with_saved_modules_of_several_adapters(model, ids):
    """Each row goes through its own adapter's modules_to_save, not through the active one's."""
    saving = {"modules_to_save": ["lm_head"]}
    mixed = get_peft_model(model, SoloConfig(**SMALL, **saving))
    mixed.add_adapter("other", SoloConfig(**OTHER, **saving))
    mixed.add_adapter("without", SoloConfig(**OTHER))
    with torch.no_grad():
        for name, parameter in mixed.named_parameters():
            if "modules_to_save" in name:
                parameter.normal_()
    mixed.eval()
    names = ["other", "__base__", "without"]
    alone = []
    for i, name in enumerate(names):
        if name == "__base__":
            with mixed.disable_adapter():
                alone.append(mixed(ids).logits[i])
        else:
            mixed.set_adapter(name)
            alone.append(mixed(ids).logits[i])
    for active in ("without", "default"):
        mixed.set_adapter(active)
        torch.testing.assert_close(mixed(ids, adapter_names=names).logits, torch.stack(alone))
    options = {"num_beams": 2, "max_new_tokens": 4, "min_new_tokens": 4, "do_sample": False}
    texts = mixed.generate(input_ids=ids, adapter_names=names, **options)
    mixed.set_adapter("other")
    assert torch.equal(texts[0], mixed.generate(input_ids=ids, **options)[0])


def test_saved_modules_that_cannot_be_mixed_are_refused(model, ids):
    mixed = get_peft_model(model, SoloConfig(**SMALL, modules_to_save=["ln_f"])).eval()
    wanted = mixed(ids).logits
    with pytest.raises(ValueError, match="cannot mix what modules_to_save keeps of a LayerNorm"):
        mixed(ids, adapter_names=["default"] * 3)
    assert torch.equal(mixed(ids).logits, wanted)  # nothing of it stays


@pytest.mark.parametrize(
    "options",
    [
        {"num_beams": 3, "do_sample": False},
        {"do_sample": False},
        {"num_beams": 2, "num_return_sequences": 2, "do_sample": False},
    ],
)
def test_generation_with_several_adapters(two, ids, options):
    names = ["other", "__base__", "default"]
    options = {"max_new_tokens": 6, "min_new_tokens": 6, **options}
    mask = torch.ones_like(ids)
    mixed = two.generate(input_ids=ids, attention_mask=mask, adapter_names=names, **options)
    each = options.get("num_return_sequences", 1)
    for i, name in enumerate(names):
        if name == "__base__":
            alone = make_model().generate(input_ids=ids, attention_mask=mask, **options)
        else:
            two.set_adapter(name)
            alone = two.generate(input_ids=ids, attention_mask=mask, **options)
        rows = slice(i * each, (i + 1) * each)
        assert torch.equal(mixed[rows], alone[rows])


def test_beams_of_the_generation_config_count_too(two, ids):
    two.generation_config.update(num_beams=2, max_new_tokens=4, min_new_tokens=4)
    names, mask = ["other", "default", "default"], torch.ones_like(ids)
    mixed = two.generate(input_ids=ids, attention_mask=mask, adapter_names=names)
    assert torch.equal(mixed[1:], two.generate(input_ids=ids, attention_mask=mask)[1:])
    config = GenerationConfig(num_beams=3, max_new_tokens=4, min_new_tokens=4)
    mixed = two.generate(ids, config, attention_mask=mask, adapter_names=names)
    assert torch.equal(mixed[1:], two.generate(ids, config, attention_mask=mask)[1:])


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["default"], "adapter_names has 1 names for a batch of 3; give one for each"),
        (["default", "nope", "no"], "adapter_names has unknown adapters: no, nope"),
    ],
)
def test_bad_adapter_names(two, ids, names, text):
    with pytest.raises(ValueError, match=text):
        two(ids, adapter_names=names)
    assert two(ids).logits.shape[0] == 3  # and nothing of it stays


def test_threads_have_names_of_their_own(two, ids):
    """Both are within their forward pass when either goes on."""
    together, found = threading.Barrier(2, timeout=30), {}
    expected = {name: two(ids, adapter_names=[name] * 3).logits for name in ("default", "other")}
    block = two.get_base_model().transformer.h[0]
    block.register_forward_hook(lambda *args: (together.wait(), None)[1])

    @torch.no_grad()
    def forward(name):
        found[name] = two(ids, adapter_names=[name] * 3).logits

    threads = [threading.Thread(target=forward, args=(name,)) for name in expected]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_threads_have_saved_modules_of_their_own(model, ids):
    """While one names adapters for its rows, the other goes through the active one."""
    adapted = get_peft_model(model, SoloConfig(**SMALL, modules_to_save=["lm_head"])).eval()
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            parameter += "modules_to_save.default" in name
    expected, found = adapted(ids).logits, []
    inside, done = threading.Event(), threading.Event()

    def wait(module, *_):
        inside.set()
        if threading.current_thread() is thread:
            done.wait(30)

    model.transformer.h[0].register_forward_pre_hook(wait)
    thread = threading.Thread(target=lambda: adapted(ids, adapter_names=["__base__"] * len(ids)))
    thread.start()
    inside.wait(30)
    found.append(adapted(ids).logits)
    done.set()
    thread.join()
    assert torch.equal(found[0], expected)


def test_adapter_names_are_for_inference(two, ids):
    with pytest.raises(ValueError, match="adapter_names is for inference; call model.eval"):
        two.train()(ids, adapter_names=["default"] * 3)
