"""`solo.load` of what others wrote: the whole of it, or one line that says what is wrong."""

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, GPT2ForSequenceClassification

import solo
from solo.adapters import make_config
from solo.peft import SoloConfig
from solo.runs.checkpoint import save_adapter
from tests.architectures import byte_level_tokenizer
from tests.conftest import make_model
from tests.solo.peft.tiny import inputs, make


@pytest.fixture
def base(tmp_path) -> str:
    """The folder of a tiny GPT-2, as save_pretrained leaves it."""
    make_model().save_pretrained(tmp_path / "base")
    return str(tmp_path / "base")


def adapted(base: str, config, vocabulary: int | None = None) -> PeftModel:
    """peft's model of a config on the GPT-2 in a folder, with random values in what is trained."""
    model = AutoModelForCausalLM.from_pretrained(base)
    if vocabulary is not None:
        model.resize_token_embeddings(vocabulary)
    model = get_peft_model(model, config).eval()
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn(parameter.shape, generator=draws)
    return model


def lora(**options) -> LoraConfig:
    options = {"task_type": "CAUSAL_LM", "fan_in_fan_out": True} | options
    return LoraConfig(r=2, target_modules=["c_attn"], **options)


def take_out(file, part: str) -> None:
    """The tensors whose names have a part leave a file."""
    tensors = load_file(file)
    kept = {name: tensor for name, tensor in tensors.items() if part not in name}
    assert 0 < len(kept) < len(tensors)
    save_file(kept, file, {"format": "pt"})


@torch.no_grad()
def logits(model, ids) -> torch.Tensor:
    return model(ids).logits


def refused(text: str, *arguments) -> None:
    with pytest.raises(ValueError, match=text) as error:
        solo.load(*arguments)
    assert "\n" not in str(error.value)


def test_a_whole_model_with_a_gap_is_refused(base, ids):
    assert torch.equal(logits(solo.load(base), ids), logits(make_model(), ids))
    take_out(f"{base}/model.safetensors", "h.3.mlp.c_fc.weight")
    refused("does not fit its config.json: 1 missing keys, the first is .*h.3.mlp.c_fc.w", base)


@pytest.mark.parametrize("kind", ["gpt2", "gptj"])
def test_masks_that_old_checkpoints_hold_are_no_fault(tmp_path, kind):
    """The second is of a type that the project's own runs do not know."""
    make(kind).save_pretrained(tmp_path)
    tensors = load_file(tmp_path / "model.safetensors")
    tensors["transformer.h.0.attn.masked_bias"] = torch.zeros(1)
    save_file(tensors, tmp_path / "model.safetensors", {"format": "pt"})
    ids = inputs(kind)["input_ids"]
    assert torch.equal(logits(solo.load(tmp_path), ids), logits(make(kind), ids))


@pytest.mark.parametrize("named", [False, True])
def test_an_adapter_is_not_put_onto_a_backbone_with_a_gap(base, tmp_path, named):
    adapted(base, SoloConfig(r=4)).save_pretrained(tmp_path / "mine")
    take_out(f"{base}/model.safetensors", "h.3.")
    options = [base] if named else []
    refused(
        "not the one it was made for.*base does not fit .* 12 missing", tmp_path / "mine", *options
    )


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("solo", "unexpected keys, the first is adapter."),
        ("lor2c", "unexpected keys, the first is adapter."),
        ("lora", "unexpected keys, the first is adapter."),
        ("ssl", "unexpected keys, the first is adapter."),
        ("prefix", "unexpected keys, the first is adapter."),
        ("dora", "missing keys, the first is transformer.h.0.attn.c_attn"),
        ("ia3", "missing keys, the first is transformer.h.0.attn.c_attn"),
        ("pissa", "missing keys, the first is transformer.h.0.attn.c_attn"),
        ("ln_tuning", "missing keys, the first is transformer.h.0.ln_1"),
    ],
)
def test_what_a_method_learned_is_not_dropped(model, ids, tmp_path, name, text):
    """A model saved with its method in it is none of transformers'; merged it is."""
    method, config = make_config({"name": name})
    attached = method.attach(model, config, 1)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter += 0.1
    model.save_pretrained(tmp_path / "mine")
    refused(text + r".*method.merge\(\) before save_pretrained", tmp_path / "mine")
    if attached.cannot_merge is None:
        expected = logits(model, ids)
        attached.merge()
        model.save_pretrained(tmp_path / "merged")
        loaded = logits(solo.load(tmp_path / "merged"), ids)
        torch.testing.assert_close(loaded, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("bias", ["all", "lora_only"])
def test_a_lora_that_trains_biases_of_the_backbone(base, ids, tmp_path, bias):
    trained = adapted(base, lora(bias=bias))
    trained.save_pretrained(tmp_path / "mine")
    loaded = logits(solo.load(tmp_path / "mine"), ids)
    bare = AutoModelForCausalLM.from_pretrained(base)
    assert torch.equal(loaded, logits(PeftModel.from_pretrained(bare, tmp_path / "mine"), ids))
    assert torch.equal(loaded, logits(trained, ids))
    take_out(tmp_path / "mine" / "adapter_model.safetensors", "h.2.attn.c_attn.base_layer.bias")
    refused("lacks tensor '.*h.2.attn.c_attn.base_layer.bias' .1 in all", tmp_path / "mine")


def test_an_adapter_with_more_tokens_needs_their_embeddings(base, ids, tmp_path):
    """They are in its file; the tokenizer beside it says how many there are."""
    tokenizer = byte_level_tokenizer()
    trained = adapted(base, lora(), len(tokenizer))
    for folder, embeddings in (("mine", "auto"), ("without", False)):
        trained.save_pretrained(tmp_path / folder, save_embedding_layers=embeddings)
        tokenizer.save_pretrained(tmp_path / folder)
    assert torch.equal(logits(solo.load(tmp_path / "mine"), ids), logits(trained, ids))
    refused("the adapter in .*without lacks tensor '.*lm_head.weight'", tmp_path / "without")


def test_a_tokenizer_of_the_backbones_own_size_asks_for_no_embeddings(base, ids, tmp_path):
    tokenizer, wide = byte_level_tokenizer(), AutoModelForCausalLM.from_pretrained(base)
    wide.resize_token_embeddings(len(tokenizer))
    wide.save_pretrained(tmp_path / "wide")
    trained = adapted(str(tmp_path / "wide"), lora())
    trained.save_pretrained(tmp_path / "mine", save_embedding_layers=False)
    tokenizer.save_pretrained(tmp_path / "mine")
    assert torch.equal(logits(solo.load(tmp_path / "mine"), ids), logits(trained, ids))


@pytest.mark.parametrize("task", [None, "SEQ_CLS"])
def test_an_adapter_of_a_classifier_is_none_of_a_language_model(base, tmp_path, task):
    GPT2ForSequenceClassification(make_model().config).save_pretrained(tmp_path / "classifier")
    model = GPT2ForSequenceClassification.from_pretrained(tmp_path / "classifier")
    get_peft_model(model, SoloConfig(r=4, task_type=task)).save_pretrained(tmp_path / "mine")
    text = f"for {task or 'GPT2ForSequenceClassification'}, and that is not a causal language model"
    refused(text + "; load .* use PeftModel.from_pretrained", tmp_path / "mine")
    refused(text, tmp_path / "mine", base)


@pytest.mark.parametrize("task", [None, "SEQ_2_SEQ_LM"])
def test_an_adapter_of_t5_is_none_of_a_language_model(tmp_path, task):
    make("t5").save_pretrained(tmp_path / "t5")
    model = get_peft_model(make("t5"), SoloConfig(r=4, task_type=task))
    model.save_pretrained(tmp_path / "mine")
    text = f"for {task or 'T5ForConditionalGeneration'}, and that is not a causal language model"
    refused(text, tmp_path / "mine", str(tmp_path / "t5"))


def test_what_save_adapter_wrote_is_read_by_load_adapter(tmp_path, model):
    method, config = make_config({"name": "lora", "rank": 2})
    attached = method.attach(model, config, 1)
    save_adapter(str(tmp_path), "lora", config, attached, 1, "0" * 64)
    refused("that save_adapter wrote; solo.runs.checkpoint.load_adapter reads it", tmp_path)


def test_an_adapter_of_a_model_that_was_never_saved(tmp_path, base, ids):
    """It names no backbone; the caller does."""
    model = get_peft_model(make_model(), lora())
    model.save_pretrained(tmp_path / "mine")
    refused("mine names no backbone; name the folder of one with backbone=DIR", tmp_path / "mine")
    assert torch.equal(logits(solo.load(tmp_path / "mine", base), ids), logits(model, ids))
