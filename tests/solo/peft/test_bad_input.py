"""Bad input ends in one line that says what to do, and leaves the model as it was."""

import json

import peft
import pytest
import torch
import transformers
from peft import PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel

from solo.peft import SoloConfig
from solo.peft.blocks import find_blocks
from solo.peft.gaps import check_versions
from tests.conftest import make_model
from tests.solo.peft.tiny import FITTING, inputs, make

SMALL = {"r": 4, "sparsity": 0.4}


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"r": 0}, "SoloConfig: r is 0; it must be at least 1"),
        ({"r": "8"}, "SoloConfig: r is '8'; it must be a whole number"),
        ({"sparsity": 1.0}, r"SoloConfig: sparsity is 1.0; it must be in \[0, 1\)"),
        ({"variant": "papr"}, "SoloConfig: variant is 'papr'; known: paper, devcode"),
        ({"lambda_init": 2.0}, "SoloConfig: lambda_init is 2.0; lambda lives in"),
        ({"bias": "none"}, "SoloConfig: bias is 'none'; it must be true or false or null"),
        ({"seed": 1.5}, "SoloConfig: seed is 1.5; it must be a whole number"),
        (
            {"modules_to_save": "lm_head"},
            "modules_to_save is 'lm_head'; it must be a list of",
        ),
        ({"target_modules": ["c_attn"]}, "SoloConfig: target_modules is not used; see blocks"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text) as error:
        SoloConfig(**options)
    assert "\n" not in str(error.value)


def refused(model, config, text):
    """get_peft_model raises the one line, and the model stays as it was."""
    before = list(model.state_dict())
    with pytest.raises(ValueError, match=text) as error:
        get_peft_model(model, config)
    assert "\n" not in str(error.value)
    assert list(model.state_dict()) == before and not hasattr(model, "peft_config")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert all(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("options", [{"span": 6}, {"start": 6}, {"start": 5, "span": 2}])
def test_a_span_that_leaves_no_block(model, options):
    refused(model, SoloConfig(r=2, **options), "SoloConfig: start=.* leave no block to adapt in a")


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (["score", "nope"], "the model has no score, nope of modules_to_save"),
        (["ln_f", "nope"], "the model has no nope of modules_to_save"),
        (["ln_f", "h.3"], "modules_to_save has h.3, which has adapted blocks in it; name what is"),
        (["transformer"], "modules_to_save has transformer, which has adapted blocks in it"),
    ],
)
def test_modules_to_save_that_do_not_fit(model, names, text):
    refused(model, SoloConfig(r=2, modules_to_save=names), f"SoloConfig: {text}")


def test_what_is_inside_a_block_can_be_saved_with_the_adapter(model, ids):
    config = SoloConfig(**SMALL, modules_to_save=["h.3.mlp", "score"])  # peft adds such names
    expected = get_peft_model(make_model(), SoloConfig(**SMALL)).eval()(ids).logits
    assert torch.equal(get_peft_model(model, config).eval()(ids).logits, expected)


def test_no_weighted_mean(model):
    model = get_peft_model(model, SoloConfig(**SMALL))
    with pytest.raises(ValueError, match="have no weighted mean, since masks and ranks"):
        model.add_weighted_adapter(["default"], [1.0], "mean")


def test_a_model_of_another_kind():
    refused(nn.Sequential(nn.Linear(2, 2)), SoloConfig(), "Sequential is no model of transformers")


def test_a_model_without_a_list_of_blocks(model):
    model.config.n_layer = 7
    refused(
        model, SoloConfig(), r"has 0 lists of 7 equal blocks, and one is needed; .* \(6\); name"
    )


def test_a_model_with_two_lists_needs_the_name(model, ids):
    """A tower beside the blocks; and a list inside of each block, which does not count."""
    model.transformer.tower = nn.ModuleList(nn.Linear(2, 2) for _ in range(6))
    for block in model.transformer.h:
        block.experts = nn.ModuleList(nn.Linear(2, 2) for _ in range(6))
    refused(
        model, SoloConfig(), "has 2 lists of 6 equal blocks, and one is needed; .*name the list"
    )
    refused(
        model,
        SoloConfig(blocks="transformer.x"),
        "has no list of equal modules 'transformer.x'; it has: transformer.h ",
    )
    named = get_peft_model(model, SoloConfig(**SMALL, blocks="transformer.h")).eval()
    expected = get_peft_model(make_model(), SoloConfig(**SMALL)).eval()(ids).logits
    assert torch.equal(named(ids).logits, expected)


@pytest.mark.parametrize("encoder", [5, 3])
def test_the_decoder_counts_where_there_are_two_stacks(encoder):
    _, options, _ = FITTING["t5"]
    config = transformers.T5Config(**options | {"num_layers": encoder})
    path, blocks = find_blocks(transformers.T5ForConditionalGeneration(config))
    assert path == "decoder.block" and len(blocks) == 5


def test_a_model_that_leaves_out_blocks_in_training():
    _, options, _ = FITTING["opt"]
    config = transformers.OPTConfig(**options | {"layerdrop": 0.1})
    model = get_peft_model(transformers.OPTForCausalLM(config), SoloConfig(**SMALL))
    given = inputs("opt")
    model.eval()(**given)
    with pytest.raises(ValueError, match="OPTDecoder leaves out blocks in training .layerdrop=0.1"):
        model.train()(**given)


def test_nothing_changes_if_a_second_adapter_is_refused(model, ids):
    adapted = get_peft_model(model, SoloConfig(**SMALL)).eval()
    expected = adapted(ids).logits
    with pytest.raises(ValueError, match="leave no block to adapt"):
        adapted.add_adapter("other", SoloConfig(span=9))
    assert list(adapted.peft_config) == ["default"] and torch.equal(adapted(ids).logits, expected)


@pytest.fixture
def saved(tmp_path):
    get_peft_model(make_model(), SoloConfig(**SMALL)).save_pretrained(tmp_path)
    return tmp_path


def not_loaded(model, directory, text):
    with pytest.raises(ValueError, match=text) as error:
        PeftModel.from_pretrained(model, directory)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (lambda: make("llama"), "with model_type='gpt2', and this one has 'llama'; load the"),
        (lambda: make_model(n_layer=8), "with num_blocks=6, and this one has 8; load the backbone"),
        (lambda: make_model().transformer, "blocks='transformer.h', and this one has 'h'; load"),
        (
            lambda: GPT2LMHeadModel(GPT2Config(n_layer=6, n_embd=32, n_head=2)),
            "hidden_size=16, and this one has 32; load the backbone that it was trained on",
        ),
    ],
)
def test_an_adapter_of_another_backbone(saved, other, text):
    model = other()
    not_loaded(model, saved, text)
    assert not any("solo" in name for name, _ in model.named_modules())


def test_masks_that_cannot_be_drawn_again(saved):
    """As with a torch that draws otherwise: here the seed is another one."""
    file = saved / "adapter_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"seed": 5}))
    model = make_model()
    not_loaded(model, saved, "otherwise with these options and torch 2.*; take r, sparsity, seed")
    assert not any("solo" in name for name, _ in model.named_modules())


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_a_file_of_weights_that_lacks_one(saved, low_cpu_mem_usage):
    file = saved / "adapter_model.safetensors"
    tensors = load_file(file)
    tensors.pop(next(name for name in tensors if name.endswith(".v")))
    save_file(tensors, file)
    with pytest.raises(ValueError, match="the file of the adapter lacks tensor '.*v'"):
        PeftModel.from_pretrained(make_model(), saved, low_cpu_mem_usage=low_cpu_mem_usage)


@pytest.mark.parametrize("package", [peft, transformers])
def test_a_package_that_is_too_old(monkeypatch, package):
    check_versions()
    monkeypatch.setattr(package, "__version__", "0.18.1")
    name = package.__name__
    with pytest.raises(ImportError, match=f"needs {name} >= .*, this is 0.18.1; pip install -U"):
        check_versions()
