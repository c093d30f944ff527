"""Strict loading, checked on checkpoints spoiled one way each."""

import errno
import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from solo.backbones import loading as backbone
from tests.conftest import make_model


def spoil(directory, change):
    path = directory / "model.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path, {"format": "pt"})


def test_weights_come_back_without_dropout(checkpoint_dir, tokenizer):
    config = json.loads((checkpoint_dir / "config.json").read_text())
    (checkpoint_dir / "config.json").write_text(json.dumps(config | {"resid_pdrop": 0.1}))
    model = backbone.load_backbone(checkpoint_dir)
    original = make_model(vocab_size=len(tokenizer))
    assert backbone.fingerprint(model) == backbone.fingerprint(original)
    assert model.config.resid_pdrop == 0 and not model.training
    assert all(m.p == 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))


def test_only_the_hubs_copy_has_a_commit(checkpoint_dir):
    model = backbone.load_backbone(checkpoint_dir)
    for path, commit in ((str(checkpoint_dir), None), ("owner/name", checkpoint_dir.name)):
        assert backbone.describe(model, path, checkpoint_dir)["commit"] == commit


def test_the_hubs_old_key_names_load_too(checkpoint_dir, tokenizer):
    """openai-community/gpt2 has no `transformer.` prefix and keeps the causal masks as buffers;
    what older versions of transformers saved keeps the constant for what is masked, too."""
    path = checkpoint_dir / "model.safetensors"
    tensors = {k.removeprefix("transformer."): v for k, v in load_file(path).items()}
    for i in range(6):
        tensors[f"h.{i}.attn.bias"] = torch.ones(1, 1, 400, 400).tril()
        tensors[f"h.{i}.attn.masked_bias"] = torch.tensor(-1e4)
    save_file(tensors, path, {"format": "pt"})
    loaded = backbone.fingerprint(backbone.load_backbone(checkpoint_dir))
    assert loaded == backbone.fingerprint(make_model(vocab_size=len(tokenizer)))


def test_a_decoder_that_reads_an_encoder_is_refused(checkpoint_dir):
    config = json.loads((checkpoint_dir / "config.json").read_text())
    (checkpoint_dir / "config.json").write_text(json.dumps(config | {"add_cross_attention": True}))
    with pytest.raises(ValueError, match="the backbone has cross-attention .add_cross"):
        backbone.load_backbone(checkpoint_dir)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (
            lambda t: t.pop("transformer.h.2.mlp.c_fc.bias"),
            "1 missing keys, the first is .*h.2.mlp",
        ),
        (lambda t: t.update(extra=torch.zeros(2)), "1 unexpected keys, the first is extra"),
        (
            lambda t: t.update({"transformer.h.0.mlp.masked_bias": torch.zeros(2)}),
            "1 unexpected keys, the first is transformer.h.0.mlp.masked_bias",
        ),
        (
            lambda t: t.update({"transformer.ln_f.bias": torch.zeros(3)}),
            "1 mismatched keys, the first is .*ln_f.bias",
        ),
    ],
)
def test_keys_that_do_not_fit(checkpoint_dir, change, text):
    spoil(checkpoint_dir, change)
    with pytest.raises(ValueError, match=text):
        backbone.load_backbone(checkpoint_dir)


def test_truncated_file(checkpoint_dir):
    path = checkpoint_dir / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(ValueError, match="cannot be loaded as gpt2 .*fetch or write"):
        backbone.load_backbone(checkpoint_dir)


def test_another_architecture(checkpoint_dir):
    (checkpoint_dir / "config.json").write_text('{"model_type": "mamba"}')
    with pytest.raises(ValueError, match="holds a model of type 'mamba'; supported: gpt2, llama"):
        backbone.load_backbone(checkpoint_dir)


def test_missing_files(checkpoint_dir):
    (checkpoint_dir / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="has no model.safetensors; transformers' save_pr"):
        backbone.load_backbone(checkpoint_dir)


def test_a_cache_of_the_hub_that_cannot_be_written_is_named(monkeypatch):
    """The error as huggingface_hub 2.4 lets it through, which a server of our own showed."""

    def download(*arguments, **options):
        raise PermissionError(errno.EACCES, "Permission denied", "/nowhere/.cache")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(PermissionError, match="cache is there; HF_HOME names.*'/nowhere/.cache'"):
        backbone.resolve("a/b")


def test_neither_directory_nor_hub_name(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(FileNotFoundError, match="no checkpoint at model.path=no/such-model"):
        backbone.resolve("no/such-model")


def test_the_fused_activation_is_gpt2s(checkpoint_dir, tokenizer, ids):
    ours = backbone.load_backbone(checkpoint_dir)
    original = make_model(vocab_size=len(tokenizer))
    assert original.config.activation_function == "gelu_new"
    with torch.no_grad():
        torch.testing.assert_close(ours(ids).logits, original(ids).logits, rtol=1e-5, atol=1e-5)


def test_fingerprint_sees_one_changed_weight(model):
    before = backbone.fingerprint(model)
    with torch.no_grad():
        model.transformer.h[3].ln_1.weight[5] += 1e-6
    assert backbone.fingerprint(model) != before


def test_tokenizer_without_files(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}')
    with pytest.raises(ValueError, match="it needs tokenizer.json, or vocab.json and merges.txt"):
        backbone.load_tokenizer(tmp_path)


def test_loading_draws_no_bar_of_its_own(checkpoint_dir, capfd):
    """Beside the bar of a training there is none of a library's."""
    backbone.load_backbone(checkpoint_dir)
    assert capfd.readouterr().err == ""
