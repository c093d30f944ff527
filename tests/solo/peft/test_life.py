"""What peft users do with adapters: save, load, add, swap, mix, switch off, delete.

The list is that of peft's own common tests (testing_common.py among the tests of its repository).
"""

import copy
import json
import pickle
import warnings
from dataclasses import replace

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from peft import (
    AutoPeftModelForCausalLM,
    PeftConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    load_peft_weights,
    set_peft_model_state_dict,
)
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors.torch import load_file, save_file
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    BertConfig,
)

import solo
from solo.peft import SoloConfig
from tests.conftest import make_model
from tests.solo.peft.tiny import FITTING, OTHER, SMALL


def test_saved_files_hold_the_adapter_alone(two, tmp_path):
    two.save_pretrained(tmp_path)
    assert {p.name for p in tmp_path.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors", "other",
    }  # fmt: skip
    for place, name in ((tmp_path, "default"), (tmp_path / "other", "other")):
        tensors = load_file(place / "adapter_model.safetensors")
        digest = tensors.pop(
            "base_model.model.transformer.around_blocks.solo_connections._extra_state"
        )
        layer = two.get_base_model().transformer.around_blocks.solo_connections[name]
        assert len(tensors) == 5
        assert sum(t.numel() for t in tensors.values()) == sum(
            p.numel() for p in layer.parameters()
        )
        saved = json.loads((place / "adapter_config.json").read_text())
        assert saved["peft_type"] == "SOLO" and saved["r"] == two.peft_config[name].r
        assert bytes(digest[:32].tolist()).hex() == saved["backbone"]["drawn_sha256"]


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
@pytest.mark.parametrize("name", ["default", "another", "solo"])
def test_loads_under_any_name(adapted, ids, tmp_path, name, low_cpu_mem_usage):
    adapted.save_pretrained(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("error", "Found missing adapter keys")
        loaded = PeftModel.from_pretrained(
            make_model(), tmp_path, adapter_name=name, low_cpu_mem_usage=low_cpu_mem_usage
        )
    assert torch.equal(loaded(ids).logits, adapted(ids).logits)
    assert not any(p.is_meta or p.requires_grad for p in loaded.parameters())
    result = loaded.load_adapter(tmp_path, "more", low_cpu_mem_usage=low_cpu_mem_usage)
    assert result.missing_keys == []
    loaded.set_adapter("more")
    assert torch.equal(loaded(ids).logits, adapted(ids).logits)
    loaded.save_pretrained(tmp_path / "again", selected_adapters=["more"])
    assert torch.equal(
        PeftModel.from_pretrained(make_model(), tmp_path / "again" / "more")(ids).logits,
        adapted(ids).logits,
    )


def test_low_memory_makes_empty_weights(model):
    inject_adapter_in_model(SoloConfig(**SMALL), model, low_cpu_mem_usage=True)
    assert all(p.is_meta for n, p in model.named_parameters() if "solo_" in n)
    adapted = get_peft_model(make_model(), SoloConfig(**SMALL))
    adapted.add_adapter("other", SoloConfig(**OTHER), low_cpu_mem_usage=True)
    assert {p.is_meta for n, p in adapted.named_parameters() if ".other." in n} == {True}


def test_loads_with_one_line(adapted, ids, tmp_path):
    """By peft's Auto class, and by transformers' own, which injects without peft's wrapper."""
    make_model().save_pretrained(tmp_path / "base")
    adapted.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    adapted.save_pretrained(tmp_path / "adapter")
    expected = adapted(ids).logits
    for auto in (AutoPeftModelForCausalLM, AutoModelForCausalLM):
        loaded = auto.from_pretrained(tmp_path / "adapter")
        assert torch.equal(loaded(ids).logits, expected)
    loaded.disable_adapters()
    assert torch.equal(loaded(ids).logits, make_model()(ids).logits)


def test_transformers_own_functions(model, adapted, ids, tmp_path):
    adapted.save_pretrained(tmp_path)
    bare = make_model()
    bare.load_adapter(tmp_path, adapter_name="one")
    assert torch.equal(bare(ids).logits, adapted(ids).logits)
    bare.add_adapter(SoloConfig(**OTHER), adapter_name="two")
    assert not torch.equal(bare(ids).logits, adapted(ids).logits)
    bare.set_adapter("one")
    assert torch.equal(bare(ids).logits, adapted(ids).logits)
    bare.delete_adapter(["one", "two"])
    assert torch.equal(bare(ids).logits, make_model()(ids).logits)


def test_the_callers_configuration_is_the_models(ids, tmp_path):
    """And one configuration for two models notes in each what that one was attached to."""
    config = SoloConfig(**SMALL)
    first = get_peft_model(make_model(), config)
    assert first.peft_config["default"] is config
    second = get_peft_model(make_model(n_layer=8), config)
    assert [m.peft_config["default"].backbone["num_blocks"] for m in (first, second)] == [6, 8]
    first.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_model(), tmp_path, config=SoloConfig(**SMALL))
    assert torch.equal(loaded(ids).logits, first.eval()(ids).logits)
    assert PeftConfig.from_pretrained(tmp_path) == loaded.peft_config["default"]


def test_a_configuration_at_work_can_be_varied(ids):
    """As a new one: nothing of the first model's masks or sizes is held against it."""
    config = SoloConfig(**SMALL)
    get_peft_model(make_model(), config)
    for changes in ({"seed": 2}, {"r": 3}, {"mask_seed": 7}):
        varied = get_peft_model(make_model(), replace(config, **changes)).eval()
        fresh = SoloConfig(**SMALL | changes)
        assert torch.equal(varied(ids).logits, get_peft_model(make_model(), fresh)(ids).logits)
    get_peft_model(make_model(n_layer=8), replace(config, seed=3))


def test_lambda_is_in_its_bounds_whether_it_is_trained_or_not(ids, tmp_path):
    model = get_peft_model(make_model(), SoloConfig(**SMALL)).eval()
    connections = model.base_model.model.transformer.around_blocks.solo_connections["default"]
    with torch.no_grad():
        connections.lambda_.fill_(-13.9)
        for parameter in connections.parameters():
            parameter.add_(0.1 if parameter is not connections.lambda_ else 0)
    model.requires_grad_(False)
    logits = model(ids).logits
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_model(), tmp_path).eval()
    assert torch.equal(loaded(ids).logits, logits) and (connections.lambda_ == 0).all()


def values(model) -> dict:
    return {name: t.clone() for name, t in get_peft_model_state_dict(model).items()}


@pytest.mark.parametrize(
    "load",
    [
        lambda model, folder: model.load_adapter(folder, "default"),
        lambda model, folder: set_peft_model_state_dict(model, load_peft_weights(str(folder))),
        lambda model, folder: model.load_state_dict(torch.load(folder / "whole.pt")),
        lambda model, folder: PeftModel.from_pretrained(
            make_model(), folder, config=SoloConfig(**SMALL | {"seed": 7})
        ),
    ],
)
def test_values_do_not_go_among_other_masks(adapted, tmp_path, load):
    """Whichever way they come; and where the masks are the same, they are loaded."""
    adapted.save_pretrained(tmp_path)
    torch.save(adapted.state_dict(), tmp_path / "whole.pt")
    for options in ({"seed": 7}, {"mask_seed": 7}):
        other = get_peft_model(make_model(), SoloConfig(**SMALL | options))
        before = values(other)
        with pytest.raises(ValueError, match="were saved with other masks than this adapter has"):
            load(other, tmp_path)
        assert all(torch.equal(t, before[name]) for name, t in values(other).items())


@pytest.mark.parametrize("whole", [False, True])
def test_files_of_earlier_versions_are_loaded(adapted, ids, tmp_path, whole):
    """They have no checksum beside their values."""
    with torch.no_grad():
        for parameter in adapted.base_model.parameters():
            parameter += 0.1 * parameter.requires_grad
    adapted.save_pretrained(tmp_path)
    file = tmp_path / "adapter_model.safetensors"
    tensors = adapted.state_dict() if whole else load_file(file)
    tensors = {name: t for name, t in tensors.items() if not name.endswith("._extra_state")}
    if whole:
        model = get_peft_model(make_model(), SoloConfig(**SMALL)).eval()
        model.load_state_dict(tensors)
    else:
        save_file(tensors, file, {"format": "pt"})
        model = PeftModel.from_pretrained(make_model(), tmp_path)
        make_model().save_pretrained(tmp_path / "base")
        loaded = solo.load(tmp_path, str(tmp_path / "base"))
        assert torch.equal(loaded(ids).logits, adapted(ids).logits)
        other = make_model()
        other.load_adapter(tmp_path)  # transformers' own
        assert torch.equal(other(ids).logits, adapted(ids).logits)
    assert torch.equal(model(ids).logits, adapted(ids).logits)


def test_transformers_own_loading_refuses_other_masks_too(adapted, tmp_path):
    """With the options of one adapter beside the values of another."""
    adapted.save_pretrained(tmp_path)
    other = get_peft_model(make_model(), SoloConfig(**SMALL | {"seed": 7}))
    save_file(get_peft_model_state_dict(other), tmp_path / "adapter_model.safetensors")
    with pytest.raises((ValueError, RuntimeError), match="saved with other masks than this"):
        make_model().load_adapter(tmp_path)


def test_values_come_to_a_model_on_the_meta_device(adapted, ids):
    expected, saved = adapted(ids).logits, adapted.state_dict()
    connections = adapted.get_base_model().transformer.around_blocks.solo_connections["default"]
    drawn = {name: tensor.clone() for name, tensor in connections.named_buffers()}
    adapted.to("meta").load_state_dict(saved, assign=True)
    for name, tensor in drawn.items():
        module, _, last = name.rpartition(".")
        setattr(connections.get_submodule(module), last, tensor)
    assert torch.equal(adapted(ids).logits, expected)


def test_add_swap_and_delete(two, ids):
    status = two.get_model_status()
    assert status.available_adapters == ["default", "other"]
    assert status.active_adapters == ["default"] and status.num_adapter_layers == 1
    assert status.requires_grad == {"default": True, "other": False}
    first = two(ids).logits
    two.set_adapter("other")
    second = two(ids).logits
    assert two.get_model_status().requires_grad == {"default": False, "other": True}
    alone = get_peft_model(make_model(), SoloConfig(**OTHER)).eval()
    assert torch.equal(second, alone(ids).logits) and not torch.equal(first, second)
    two.set_adapter("default")
    assert torch.equal(two(ids).logits, first)
    two.delete_adapter("other")
    assert two.get_model_status().available_adapters == ["default"]
    assert torch.equal(two(ids).logits, first)
    two.delete_adapter("default")
    assert torch.equal(two.base_model(ids).logits, make_model()(ids).logits)
    with pytest.raises(ValueError, match="Adapter nope does not exist"):
        two.delete_adapter("nope")


def test_deleting_the_active_one_activates_the_other(two, ids):
    alone = get_peft_model(make_model(), SoloConfig(**OTHER)).eval()(ids).logits
    with pytest.warns(UserWarning, match="Setting active adapter to other"):
        two.delete_adapter("default")
    assert two.active_adapters == ["other"] and torch.equal(two(ids).logits, alone)


def test_two_at_once_add_up(two, ids):
    """Both active: block by block the sum of what each adds, by hand."""
    two.base_model.set_adapter(["default", "other"])
    layers = two.get_base_model().transformer.around_blocks.solo_connections
    x = {}
    with torch.no_grad():
        both = two(ids, output_hidden_states=True).hidden_states  # 0: the embeddings
        with two.disable_adapter():
            blocks = two.get_base_model().transformer.h
            mask = torch.full((9, 9), float("-inf")).triu(1)[None, None]
            state = both[0]
            for number, block in enumerate(blocks, 1):
                state = block(state, attention_mask=mask)
                for layer in layers.values():
                    for i, (start, end) in enumerate(layer.ends):
                        state = state + layer(x[start], i) if end == number else state
                x[number] = state
                if number < len(blocks):
                    torch.testing.assert_close(state, both[number])


def test_disabling(two, ids):
    base = make_model()(ids).logits
    on = two(ids).logits
    with two.disable_adapter():
        assert torch.equal(two(ids).logits, base)
        assert two.get_model_status().enabled is False
    assert torch.equal(two(ids).logits, on) and two.get_model_status().enabled is True
    assert two.get_model_status().requires_grad == {"default": True, "other": False}


def test_unloading_leaves_the_model_as_it_was(two, ids):
    bare = two.unload()
    assert not any(isinstance(module, BaseTunerLayer) for module in bare.modules())
    assert not hasattr(bare, "peft_config")
    fresh = make_model()
    assert list(bare.state_dict()) == list(fresh.state_dict())
    assert torch.equal(bare(ids).logits, fresh(ids).logits)
    assert not any(module._forward_hooks for module in bare.modules())
    assert not any(module._forward_pre_hooks for module in bare.modules())


def test_merging_is_refused_with_the_reason(adapted):
    for merge in (adapted.merge_and_unload, adapted.merge_adapter):
        with pytest.raises(ValueError, match="cannot be merged: a connection goes around whole"):
            merge()
    assert adapted.get_model_status().merged_adapters == []
    assert not adapted.supports_lora_conversion()


def test_copies_and_pickles_are_models_of_their_own(two, ids):
    for other in (copy.deepcopy(two), pickle.loads(pickle.dumps(two))):
        expected = two(ids).logits
        assert torch.equal(other(ids).logits, expected)
        with torch.no_grad():
            other.get_base_model().transformer.around_blocks.solo_connections["default"].v.zero_()
        assert torch.equal(two(ids).logits, expected)
        assert not torch.equal(other(ids).logits, expected)
        assert torch.equal(other.unload()(ids).logits, make_model()(ids).logits)


@pytest.mark.parametrize("kept", [(0,), (2,), range(6)])
def test_blocks_that_are_kept_on_disk(model, ids, tmp_path, kept):
    """As device_map="auto" does with a model that is too large; the adapter is not kept there."""
    expected = get_peft_model(make_model(), SoloConfig(**SMALL)).eval()(ids).logits
    places = dict.fromkeys(("transformer.wte", "transformer.wpe", "transformer.ln_f"), "cpu")
    places |= {f"transformer.h.{i}": "disk" if i in kept else "cpu" for i in range(6)}
    model = dispatch_model(model, places | {"lm_head": "cpu"}, offload_dir=tmp_path)
    adapted = get_peft_model(model, SoloConfig(**SMALL)).eval()
    assert torch.equal(adapted(ids).logits, expected)


@pytest.mark.parametrize("autocast", [True, False])
def test_types_of_the_weights(ids, autocast, tmp_path):
    """In half precision the adapter stays in fp32, unless it is not to."""
    kind = torch.float32 if autocast else torch.bfloat16
    model = get_peft_model(
        make_model().bfloat16(), SoloConfig(**SMALL), autocast_adapter_dtype=autocast
    )
    model.add_adapter("other", SoloConfig(**OTHER), autocast_adapter_dtype=autocast)
    model.save_pretrained(tmp_path)
    model.load_adapter(tmp_path, "loaded", autocast_adapter_dtype=autocast)
    own = [p for n, p in model.named_parameters() if "solo_" in n]
    assert len(own) == 15 and {p.dtype for p in own} == {kind}
    assert model(ids).logits.dtype is torch.bfloat16
    model(ids, labels=ids).loss.backward()


def test_a_head_is_trained_and_saved_beside_it(tmp_path):
    """SEQ_CLS: peft adds the classifier to modules_to_save."""
    options = FITTING["bert"][1]
    torch.manual_seed(1)
    bert = AutoModelForSequenceClassification.from_config(BertConfig(**options)).eval()
    bare = copy.deepcopy(bert)
    model = get_peft_model(bert, SoloConfig(r=4, lambda_init=0.5, task_type="SEQ_CLS")).eval()
    assert any(p.requires_grad for n, p in model.named_parameters() if "classifier" in n)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1)
    ids = torch.arange(12).view(2, 6)
    expected = model(ids).logits
    model.save_pretrained(tmp_path)
    assert torch.equal(PeftModel.from_pretrained(bare, tmp_path)(ids).logits, expected)


def test_the_state_dict_is_complete_whatever_adapters_are_called(adapted):
    expected = len(get_peft_model_state_dict(adapted))
    for name in ("default2", "other_default", "foodefault_bar", "efaul", "solo"):
        adapted.add_adapter(name, SoloConfig(**SMALL))
        assert len(get_peft_model_state_dict(adapted)) == expected
    for name in ("encoder", "e", "transformer", "around_blocks", "__base__", "a.b"):
        with pytest.raises(ValueError, match=f"an adapter cannot be called '{name}'[;,] "):
            adapted.add_adapter(name, SoloConfig(**SMALL))
    assert len(adapted.peft_config) == 6


@pytest.mark.parametrize("strict", [False, True])
def test_exported_it_is_the_same(adapted, ids, strict):
    model = adapted.base_model.model
    with torch.no_grad():
        whole = torch.export.export(model, (ids,), {"use_cache": False}, strict=strict).module()
        expected = model(ids, use_cache=False).logits
        torch.testing.assert_close(whole(ids, use_cache=False).logits, expected)


@pytest.mark.parametrize("options", [{"encoding": "scale"}, {"start": 1, "reach": 3, "stride": 2}])
def test_values_of_another_encoding_or_other_blocks_are_refused(adapted, tmp_path, options):
    """Whose shapes and masks are the same."""
    adapted.save_pretrained(tmp_path)
    other = get_peft_model(make_model(), SoloConfig(**SMALL, **options))
    before = {name: tensor.clone() for name, tensor in other.state_dict().items()}
    assert [t.shape for t in before.values()] == [t.shape for t in adapted.state_dict().values()]
    with pytest.raises((ValueError, RuntimeError), match="another encoding or around other blocks"):
        other.load_adapter(tmp_path, "default")
    assert all(torch.equal(before[name], now) for name, now in other.state_dict().items())


def test_a_file_with_the_checksum_of_the_masks_alone_is_taken(adapted, ids, tmp_path):
    """As the first version wrote it."""
    adapted.save_pretrained(tmp_path)
    path = tmp_path / "adapter_model.safetensors"
    tensors = load_file(path)
    [key] = [key for key in tensors if key.endswith("_extra_state")]
    save_file(tensors | {key: tensors[key][:32].clone()}, path, {"format": "pt"})
    other = make_model()
    other.load_adapter(tmp_path)  # transformers' own
    for loaded in (PeftModel.from_pretrained(make_model(), tmp_path).eval(), other):
        assert torch.equal(loaded(ids).logits, adapted(ids).logits)


def test_the_layer_has_no_weight_as_others_of_pefts_have(adapted):
    """A loop over modules asks for them."""
    layer = adapted.get_base_model().transformer.around_blocks
    assert not hasattr(layer, "weight") and not hasattr(layer, "bias")


def test_parameters_that_are_kept_elsewhere(adapted, ids):
    expected = adapted(ids).logits
    cpu_offload(adapted, execution_device="cpu")
    assert torch.equal(adapted(ids).logits, expected)


def test_an_adapter_that_is_named_twice_works_once(two, ids):
    two.base_model.set_adapter(["default", "other"])
    expected = two(ids).logits
    two.base_model.set_adapter(["default", "other", "default"])
    assert torch.equal(two(ids).logits, expected)
