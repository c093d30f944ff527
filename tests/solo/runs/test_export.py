"""Runs leave the project and come back: the same logits, by peft, by transformers, by solo.load."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

import solo
from solo.adapters import METHODS, make_config
from solo.adapters.shared.from_peft import PeftMethod
from solo.backbones.loading import fingerprint, load_backbone, load_with_report
from solo.datasets import DATASETS
from solo.datasets.data import Example
from solo.runs import checkpoint, export, stages
from solo.runs.run import make_run
from tests.conftest import make_model

FROM_PEFT = {
    name: {"rank": 2} if hasattr(method.Config, "rank") else {}
    for name, method in METHODS.items()
    if issubclass(method, PeftMethod)
}
FROM_PEFT |= {"fourierft": {"frequencies": 50}, "vblora": {"rank": 2, "length": 8}}
LORA = [
    {},
    {"targets": ["v", "k", "c_fc", "attn.c_proj"]},
    {"middle": "diagonal", "targets": ["c_attn"]},
    {"middle": "full", "targets": ["q", "mlp.c_proj"]},
]
ADAPTERS = [
    ("solo", {"rank": 4, "sparsity": 0.4}),
    ("solo", {"rank": 4, "variant": "devcode", "sparsity": 0.4, "span": 2}),
    ("solo", {"rank": 4, "trainable_matrices": False, "mask_seed": 4, "sparsity": 0.5}),
    *[("lora", {"rank": 2, **options}) for options in LORA],
    *FROM_PEFT.items(),
]


def trained(config, name, options):
    """A run as training leaves it, with values drawn at random."""
    _, adapter = make_config({"name": name, **options})
    run = make_run(replace(config, method=name, adapter=adapter))
    model, tokenizer, backbone = stages.load_model(config.model)
    method = run.config.method_class.attach(model, adapter, 1)
    draws = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in method.parameters.values():
            parameter += 0.2 * torch.randn(parameter.shape, generator=draws)
    if name == "solo":
        method.after_step(3)  # lambda in its bounds, as a step leaves it
    with run.stage("train") as entry:
        examples = [Example([1, 2, 3], 1)] * 12
        entry |= {"steps": 3} | stages.finish(run, method, backbone, examples, tokenizer)
    return run


def own_model(run):
    """The run's model as the project decodes it."""
    model = load_backbone(run.config.model.path)
    checkpoint.load_adapter(run.directory, model, fingerprint(model))
    return model


@torch.no_grad()
def logits(model):
    return model(torch.arange(40).view(4, 10)).logits


@pytest.mark.parametrize(("name", "options"), ADAPTERS, ids=str)
def test_exported_and_read_back(config, tmp_path, name, options):
    run = trained(config, name, options)
    out = export.export_run(run, tmp_path / "out", None)
    expected = logits(own_model(run))
    bare = load_backbone(config.model.path)
    assert not torch.allclose(logits(bare), expected, atol=1e-3)
    loaded = PeftModel.from_pretrained(bare, out)
    same = {"rtol": 1e-3, "atol": 1e-3} if name == "pissa" else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(logits(loaded), expected, **same)
    if name == "solo":
        assert torch.equal(logits(loaded), expected)
    assert PeftConfig.from_pretrained(out).base_model_name_or_path == config.model.path
    assert {path.name for path in out.iterdir()} == {
        "README.md", "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip


def test_one_line_gives_the_model(config, tmp_path):
    """From the run and from the export, the backbone named by them or by the caller."""
    run = trained(config, "lora", {"rank": 2})
    out = export.export_run(run, tmp_path / "out", None)
    expected = logits(own_model(run))
    for source, options in (
        (out, {}),
        (str(out), {"backbone": config.model.path}),
        (run.directory, {}),
        (str(run.directory), {"backbone": config.model.path}),
    ):
        loaded = solo.load(source, **options)
        assert isinstance(loaded, PeftModel) and not loaded.training
        torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activation", ["gelu_pytorch_tanh", "gelu_new"])
def test_solo_is_the_run_to_the_bit_in_the_same_activation(config, tmp_path, activation):
    """A run computes gelu_new, transformers' default for a GPT-2, as the other one: one kernel."""
    file = Path(config.model.path) / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"activation_function": activation}))
    run = trained(config, "solo", {"rank": 4, "sparsity": 0.4})
    loaded = solo.load(export.export_run(run, tmp_path / "out", None))
    assert loaded.config.activation_function == activation
    expected = logits(own_model(run))
    if activation == "gelu_new":
        torch.testing.assert_close(logits(loaded), expected, rtol=1e-5, atol=1e-5)
        loaded = solo.load(run.directory)
    assert torch.equal(logits(loaded), expected)


def test_solo_and_loras_counts_are_the_runs(config, tmp_path):
    """Solo as trained; LoRA on q and v as rank 2r on c_attn, zeros of the blocks included."""
    solo_run = trained(config, "solo", {"rank": 4, "sparsity": 0.4})
    model = solo.load(solo_run.directory)
    assert model.get_nb_trainable_parameters()[0] == own_trained(solo_run)
    lora = solo.load(trained(config, "lora", {"rank": 2}).directory)
    lora_config = lora.peft_config["default"]
    assert (lora_config.r, lora_config.lora_alpha) == (4, 64.0)
    b = lora.get_base_model().transformer.h[0].attn.c_attn.lora_B["default"].weight
    q, k, v = b.chunk(3)  # (16, 4) each
    assert b.shape == (48, 4) and k.abs().max() == 0
    assert q[:, 2:].abs().max() == 0 and v[:, :2].abs().max() == 0
    assert min(q[:, :2].abs().max(), v[:, 2:].abs().max()) > 0


def own_trained(run) -> int:
    return json.loads((run.directory / "adapter.json").read_text())["n_params"]


@pytest.mark.parametrize("name", ["full", "bitfit", "ssl"])
def test_what_peft_has_no_form_for_becomes_a_whole_model(config, tmp_path, name):
    run = trained(config, name, {})
    out = export.export_run(run, tmp_path / "out", None)
    expected = logits(own_model(run))
    for loaded in (solo.load(out), AutoModelForCausalLM.from_pretrained(out).eval()):
        torch.testing.assert_close(logits(loaded), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(logits(solo.load(run.directory)), expected)
    assert len(AutoTokenizer.from_pretrained(out)) > 100
    assert len({path.stat().st_mode for path in out.iterdir()}) == 1  # all for the same readers
    assert "AutoModelForCausalLM.from_pretrained" in (out / "README.md").read_text()


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("lor2c", {}, "lor2c has no form in peft, and no plain model can hold it: .* use the run"),
        ("lora", {"constraint": "n"}, "no plain model can hold it: constraint n puts a ReLU"),
        ("none", {}, "trained nothing; export another run"),
    ],
)
def test_what_cannot_leave_says_why(config, tmp_path, name, options, text):
    run = trained(config, name, options)
    with pytest.raises(ValueError, match=text):
        export.export_run(run, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()
    assert torch.equal(logits(solo.load(run.directory)), logits(own_model(run)))


def test_what_would_compute_something_else_is_not_written(config, tmp_path, monkeypatch):
    """Half of a hundredth of the largest logit is no rounding."""
    run = trained(config, "lora", {"rank": 2})
    as_it_is = export._in_peft

    def nearly(*parts):
        model, size = as_it_is(*parts), logits(own_model(run)).abs().max().item()
        assert size > 1
        head = model.get_output_embeddings()
        head.register_forward_hook(lambda module, given, out: out + 0.005 * size)
        return model

    monkeypatch.setattr(export, "_in_peft", nearly)
    with pytest.raises(ValueError, match=r"something else in its new form \(logits differ by "):
        export.export_run(run, tmp_path / "out", None)
    assert not (tmp_path / "out").exists()


def test_the_commit_of_the_backbone_leaves_with_the_adapter(config, tmp_path):
    config = replace(config, model=replace(config.model, revision="abc"))  # a folder has none
    out = export.export_run(trained(config, "lora", {"rank": 2}), tmp_path / "out", None)
    assert PeftConfig.from_pretrained(out).revision == "abc"


def test_the_card(config, tmp_path):
    run = trained(config, "solo", {"rank": 4})
    scores = {"BLEU": 0.25, "NIST": 3.5, "signature": "nrefs:1|nsegs:3", "details": {}}
    card = (export.export_run(run, tmp_path / "out", scores) / "README.md").read_text("utf-8")
    for part in (
        f"base_model: {config.model.path}", "library_name: peft", "license: other",
        "# Solo on ", "| BLEU | NIST |\n|---|---|\n| 0.2500 | 3.5000 |", "nrefs:1|nsegs:3",
        "rank: 4", "batch_size: 4", "beam: 2", "max_new_tokens: 5",
        f"Run {run.name}: 170 trained parameters, 3 steps",
        "CC BY-SA 4.0", "import solo.peft", 'solo.load("out")',
    ):  # fmt: skip
        assert part in card, part
    assert "It was not scored." in export.model_card(run, None, False, "out")
    other = replace(run, config=replace(config, data=replace(config.data, name="webnlg")))
    card = export.model_card(other, None, False, "out")
    assert f"- the training data: {DATASETS['webnlg'].licence}" in card
    assert DATASETS["webnlg"].licence != DATASETS["e2e"].licence


def test_an_export_replaces_nothing(config, tmp_path):
    run = trained(config, "solo", {"rank": 4})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("precious")
    with pytest.raises(ValueError, match="out is there already; name another output"):
        export.export_run(run, tmp_path / "out", None)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]
    (tmp_path / "out" / "notes.txt").unlink()
    export.export_run(run, tmp_path / "out", None)
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".tmp")]


@pytest.mark.parametrize(
    ("out", "text"),
    [
        ("link", "link is a link; name the folder itself, or another output"),
        ("dangling", "dangling is a link; name the folder itself"),
        ("file", "file is there already; name another output"),
        ("file/x", "file is no folder, and .*file/x lies below it; name another output"),
        ("file/x/y", "file is no folder, and .*file/x/y lies below it"),
        ("dangling/x", "dangling is no folder, and .*dangling/x lies below it"),
    ],
)
def test_where_no_folder_can_be_is_said_before_any_work(config, tmp_path, monkeypatch, out, text):
    run = trained(config, "solo", {"rank": 4})

    def work(*arguments):
        raise AssertionError("the backbone was loaded")

    monkeypatch.setattr(export, "load_backbone", work)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("precious")
    (tmp_path / "link").symlink_to("empty")
    (tmp_path / "dangling").symlink_to("nowhere")
    with pytest.raises(ValueError, match=text):
        export.export_run(run, tmp_path / out, None)


def test_a_link_on_the_way_to_an_export_is_followed(config, tmp_path):
    run = trained(config, "solo", {"rank": 4})
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("folder")
    export.export_run(run, tmp_path / "link" / "out", None)
    assert solo.load(tmp_path / "folder" / "out").peft_config["default"].r == 4


def test_a_run_whose_backbone_is_elsewhere_says_how_to_name_it(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    run = trained(config, "lora", {"rank": 2})
    ids = torch.tensor([[1, 2, 3]])
    with torch.no_grad():
        expected = solo.load(run.directory)(ids).logits
        elsewhere = Path(config.model.path).rename(tmp_path / "elsewhere")
        with pytest.raises(FileNotFoundError, match=r"is not to be had from .* with backbone=DIR"):
            solo.load(run.directory)
        assert torch.equal(solo.load(run.directory, str(elsewhere))(ids).logits, expected)


def test_a_revision_is_that_of_the_backbone_that_it_was_noted_for(config, tmp_path, monkeypatch):
    """Another backbone, named by the caller, has other commits."""
    out = export.export_run(trained(config, "lora", {"rank": 2}), tmp_path / "out", None)
    file, asked = out / "adapter_config.json", []
    file.write_text(json.dumps(json.loads(file.read_text()) | {"revision": "abc"}))

    def load(source_class, source, revision=None):
        asked.append(revision)
        return load_with_report(source_class, source)

    monkeypatch.setattr("solo.peft.loading.load_with_report", load)
    solo.load(out)
    solo.load(out, backbone=config.model.path)
    assert asked == ["abc", None]


def test_what_is_no_model_is_refused_in_one_line(config, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(ValueError, match="nowhere' is no folder with a run, an adapter or a") as e:
        solo.load(tmp_path / "nowhere")
    assert "\n" not in str(e.value)
    run = trained(config, "solo", {"rank": 4})
    out = export.export_run(run, tmp_path / "out", None)
    make_model(n_layer=7).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="its backbone .*nobase.* is not at hand or not the one "):
        solo.load(out, backbone=str(tmp_path / "nobase"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds neither a run nor an adapter nor a model"):
        solo.load(tmp_path / "empty")
    with pytest.raises(ValueError, match="with num_blocks=6, and this one has 7; load the"):
        solo.load(out, backbone=str(tmp_path / "other"))


@pytest.mark.parametrize(
    ("blocks", "width", "text"),
    [
        (2, 16, "has an unexpected tensor '.*h.2.attn.c_attn.lora_A.weight'"),
        (9, 16, "lacks tensor '.*h.6.attn.c_attn.lora_A.weight'"),
        (6, 32, "size mismatch"),
    ],
)
def test_an_adapter_of_pefts_on_another_backbone_is_refused(tmp_path, blocks, width, text):
    """peft drops what has no place in the model and leaves at random what the file has not."""
    out, lora = tmp_path / "out", LoraConfig(target_modules=["c_attn"], task_type="CAUSAL_LM")
    get_peft_model(make_model(vocab_size=400), lora).save_pretrained(out)
    GPT2LMHeadModel(
        GPT2Config(vocab_size=400, n_layer=blocks, n_embd=width, n_head=2, n_positions=64)
    ).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match=f"not the one it was made for.*{text}") as error:
        solo.load(out, backbone=str(tmp_path / "other"))
    assert "\n" not in str(error.value)


def test_a_damaged_export_is_refused_in_one_line(config, tmp_path):
    out = export.export_run(trained(config, "lora", {"rank": 2}), tmp_path / "out", None)
    path = out / "adapter_config.json"
    for damage in ({"peft_type": "FOO"}, {"peft_type": "LORA", "r": "x"}):
        path.write_text(json.dumps(damage | {"base_model_name_or_path": config.model.path}))
        with pytest.raises(ValueError, match="out cannot be loaded") as error:
            solo.load(out)
        assert "\n" not in str(error.value)
    (out / "adapter_model.safetensors").unlink()
    with pytest.raises(ValueError, match="no adapter_model.safetensors with its weights"):
        solo.load(out)
    make_model().save_pretrained(tmp_path / "whole")
    with pytest.raises(ValueError, match="whole holds no adapter; leave backbone out"):
        solo.load(tmp_path / "whole", backbone=config.model.path)
