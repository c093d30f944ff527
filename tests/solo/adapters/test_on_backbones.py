"""The contract of the methods on every architecture; solo/adapters says where a method works.

docs/architectures.md has the matrix of these tests, architecture by promise.
"""

import copy

import pytest
import torch
from transformers import CONFIG_MAPPING, LlamaConfig

from solo.adapters import METHODS, check_backbone, make_config, place_in
from solo.backbones import BACKBONES, backbone_of, blocks_of, projection_of
from solo.backbones.loading import fingerprint
from solo.backbones.products import frozen_products
from solo.datasets.data import Example
from solo.runs import checkpoint
from solo.training.batches import collate, pack, pad
from solo.training.loss import summed_loss
from tests.architectures import ARCHITECTURES, TYPES, make_backbone, make_shape
from tests.solo.adapters.test_adapters import CASES, attach, logits, train_a_little

CHIEF = [  # the methods that are to work everywhere, with options that show in the output
    {"name": "full"},
    {"name": "solo", "rank": 5, "sparsity": 0.4, "lambda_init": 0.5},
    {"name": "lora", "rank": 3},
    {"name": "lor2c", "rank": 3},
]
every_pair = pytest.mark.parametrize(
    ("architecture", "options"),
    [
        (architecture, options)
        for architecture in ARCHITECTURES
        for options in (CHIEF if architecture in TYPES else CHIEF[1:3])
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else value,
)


@pytest.fixture
def model(architecture):
    return make_backbone(architecture)


@every_pair
def test_output_at_step_0(model, ids, architecture, options):
    """Unchanged, where promised; Solo's is with lambda at 0."""
    before = logits(model, ids)
    if options["name"] == "solo":
        options = options | {"lambda_init": 0.0}
    attach(model, options)
    assert torch.equal(logits(model, ids), before)


@every_pair
def test_only_its_own_parameters_move_and_detaching_restores_the_backbone(
    model, ids, architecture, options
):
    before, original = logits(model, ids), copy.deepcopy(model.state_dict())
    attached = attach(model, options)
    declared = {id(parameter) for parameter in attached.parameters.values()}
    start = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_a_little(model, attached, ids)
    for name, parameter in model.named_parameters():
        moved = not torch.equal(parameter, start[name])
        assert moved == (id(parameter) in declared), name
    assert not torch.equal(logits(model, ids), before)
    attached.detach()
    assert torch.equal(logits(model, ids), before)
    assert all(torch.equal(value, original[key]) for key, value in model.state_dict().items())


@every_pair
def test_count_is_the_closed_form(model, architecture, options):
    method, config = make_config(options)
    attached = method.attach(model, config, 3)
    counted = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert attached.n_trained == counted == method.n_params(model.config, config)


@every_pair
def test_save_and_load_give_the_same_logits_to_the_bit(model, ids, architecture, options, tmp_path):
    fresh, sha256 = copy.deepcopy(model), fingerprint(model)
    method, config = make_config(options)
    attached = method.attach(model, config, 3)
    train_a_little(model, attached, ids, steps=2)
    checkpoint.save_adapter(tmp_path, options["name"], config, attached, 3, sha256)
    checkpoint.load_adapter(tmp_path, fresh, fingerprint(fresh))
    assert torch.equal(logits(fresh, ids), logits(model, ids))


@every_pair
def test_packed_batches_have_the_loss_and_gradients_of_padded_ones(
    model, ids, architecture, options
):
    """In training, with dropout."""
    dropout = {} if options["name"] == "full" else {"dropout": 0.3}
    attached = attach(model, options | dropout)
    train_a_little(model, attached, ids, steps=2)
    examples, _ = examples_of(ids), model.train()

    def gradients(batch) -> tuple:
        loss = summed_loss(model, batch, 1, 0.1, [attached])
        loss.sum().backward()
        found = {name: p.grad for name, p in attached.parameters.items()}
        for parameter in attached.parameters.values():
            parameter.grad = None
        return loss.detach(), found

    plain, padded = gradients(collate([examples])), gradients(pad([examples], 8))
    with frozen_products(model, torch.float32):
        packed = gradients(pack([examples]))
    for loss, found in (padded, packed):
        torch.testing.assert_close(loss, plain[0], rtol=1e-4, atol=1e-4)
        for name, wanted in plain[1].items():
            atol = 1e-4 * wanted.abs().max().item() + 1e-7
            torch.testing.assert_close(found[name], wanted, rtol=1e-3, atol=atol)


def examples_of(ids) -> list[Example]:
    return [Example(row[:n], 2, n) for row, n in zip(ids.tolist(), (9, 5, 7), strict=True)]


@pytest.mark.parametrize("name", [n for n, m in METHODS.items() if hasattr(m.Config, "dropout")])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_dropout_before_any_projection_is_the_same_packed_and_padded(
    model, ids, architecture, name
):
    """Some models give a projection its inputs as a list of rows."""
    options = {"name": name, "dropout": 0.3} | ({"length": 4} if name == "vblora" else {})
    if hasattr(METHODS[name].Config, "targets"):
        options["targets"] = list(backbone_of(model.config).PROJECTIONS)
    attached = attach(model, options)
    train_a_little(model, attached, ids)
    model.train()
    losses = [
        summed_loss(model, layout, 1, 0.1, [attached]).detach()
        for layout in (collate([examples_of(ids)]), pad([examples_of(ids)], 8))
    ]
    if attached.position_wise:
        losses.append(summed_loss(model, pack([examples_of(ids)]), 1, 0.1, [attached]).detach())
    for loss in losses[1:]:
        torch.testing.assert_close(loss, losses[0], rtol=1e-3, atol=1e-4)


@every_pair
def test_checkpointed_gradients_are_the_same(model, ids, architecture, options):
    """transformers' gradient checkpointing, dropout included; what is in a block runs twice."""
    dropout = {} if options["name"] == "full" else {"dropout": 0.3}
    attached = attach(model, options | dropout)
    train_a_little(model, attached, ids, steps=2)
    found, runs, batch = [], [], collate([examples_of(ids)])
    output = backbone_of(model.config).OUTPUTS["mlp"]
    inside = projection_of(model, blocks_of(model)[2], output)
    inside.register_forward_pre_hook(lambda *_: runs.append(None))
    for checkpointed in (False, True):
        model.train()
        if checkpointed:
            model.activation_checkpointing_enable()
        summed_loss(model, batch, 1, 0.1, [attached]).sum().backward()
        found.append([p.grad for p in attached.parameters.values()])
        for parameter in attached.parameters.values():
            parameter.grad = None
    assert len(runs) == 3
    torch.testing.assert_close(found[1], found[0], rtol=1e-5, atol=1e-6)


@every_pair
def test_cached_decoding_equals_uncached(model, ids, architecture, options):
    attached = attach(model, options)
    train_a_little(model, attached, ids, steps=2)
    whole, cache, steps = logits(model, ids), None, []
    with torch.no_grad():
        for i in range(ids.shape[1]):
            out = model(ids[:, i : i + 1], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            steps.append(out.logits)
    torch.testing.assert_close(torch.cat(steps, 1), whole, rtol=1e-4, atol=1e-4)


@every_pair
def test_merged_model_gives_the_same_logits(model, ids, architecture, options, record_property):
    attached = attach(model, options)
    train_a_little(model, attached, ids, steps=2)
    adapted = logits(model, ids)
    if attached.cannot_merge:
        record_property("not promised", attached.cannot_merge)
        with pytest.raises(ValueError, match="this method cannot be merged"):
            attached.merge()
        return
    attached.merge()
    torch.testing.assert_close(logits(model, ids), adapted, rtol=1e-4, atol=1e-4)
    assert not hasattr(model, "adapter")


def own_targets(architecture: str, options: dict) -> dict:
    """Options of the contract test with targets that an architecture has."""
    backbone = backbone_of(make_shape(architecture))
    if options["name"] == "ln_tuning":
        return options | {"targets": list(backbone.NORMS)}
    options = options | {"targets": list(backbone.PROJECTIONS)[:2] + [backbone.OUTPUTS["mlp"]]}
    feedforward = {"feedforward": [backbone.OUTPUTS["mlp"]]} if options["name"] == "ia3" else {}
    sizes = {"vblora": {"length": 2}, "gralora": {"blocks": 2}, "fourierft": {"frequencies": 20}}
    return options | feedforward | sizes.get(options["name"], {})


FOUR_BLOCKS = {"imlor2c": {"merges": 1, "injections": 1}, "injectlor2c": {"injections": 2}}
OTHER_METHODS = [name for name in METHODS if name not in [o["name"] for o in CHIEF]]


@pytest.mark.parametrize("architecture", ["qwen3", "gpt_neox", "opt"])  # one of each file
@pytest.mark.parametrize("name", OTHER_METHODS)
def test_a_method_works_where_it_is_said_to(model, ids, architecture, name, tmp_path):
    """The contract in short, for the methods that are not asked for everywhere."""
    options = {"name": name} | CASES.get(name, [{}])[0] | FOUR_BLOCKS.get(name, {})
    place = place_in(name, model.config)
    if place == "no":
        method, config = make_config(options)
        with pytest.raises(ValueError, match=f"adapter {name} does not work on a backbone of type"):
            check_backbone(name, config, model.config)
        with pytest.raises(ValueError):
            method.attach(model, config, 3)
        assert not hasattr(model, "adapter")
        return
    if place == "targets":
        options = own_targets(architecture, options)
    before, fresh = logits(model, ids), copy.deepcopy(model)
    method, config = make_config(options)
    check_backbone(name, config, model.config)
    attached = method.attach(model, config, 3)
    if attached.identity_at_start:
        tolerance = attached.start_tolerance
        torch.testing.assert_close(logits(model, ids), before, rtol=tolerance, atol=tolerance)
    assert attached.n_trained == method.n_params(model.config, config)
    train_a_little(model, attached, ids)
    adapted = logits(model, ids)
    assert torch.equal(adapted, before) == (name == "none")
    examples = [Example(row[:n], 2) for row, n in zip(ids.tolist(), (9, 5, 7), strict=True)]
    with torch.no_grad(), frozen_products(model, torch.float32):
        packed = summed_loss(model, pack([examples]), 1, 0.1)
    with torch.no_grad():
        plain = summed_loss(model, collate([examples]), 1, 0.1)
    torch.testing.assert_close(packed, plain, rtol=1e-4, atol=1e-4)
    checkpoint.save_adapter(tmp_path, name, config, attached, 3, "of this test")
    checkpoint.load_adapter(tmp_path, fresh, "of this test")
    torch.testing.assert_close(logits(fresh, ids), adapted, rtol=1e-5, atol=1e-5)
    if attached.cannot_merge:
        attached.detach()
        assert torch.equal(logits(model, ids), before)
    else:
        attached.merge()
        torch.testing.assert_close(logits(model, ids), adapted, rtol=1e-3, atol=1e-3)


# ---------------------------------------------------------------- what is said where one does not


@pytest.mark.parametrize("name", METHODS)
def test_every_method_works_on_gpt2_as_it_is(name):
    assert place_in(name, CONFIG_MAPPING["gpt2"]()) == "yes"


@pytest.mark.parametrize("model_type", BACKBONES)
@pytest.mark.parametrize("name", ["none", "full", "solo", "lora", "lor2c"])
def test_the_chief_methods_work_everywhere_as_they_are(name, model_type):
    assert place_in(name, CONFIG_MAPPING[model_type]()) == "yes"


def test_the_line_names_method_architecture_and_what_works_there():
    shape = LlamaConfig()
    line = "adapter {} does not work on a backbone of type llama: {}; these do: "
    _, prefix = make_config({"name": "prefix"})
    with pytest.raises(ValueError) as caught:
        check_backbone("prefix", prefix, shape)
    reason = "it moves the input's positions in a table of them, as GPT-2 has one"
    assert str(caught.value).startswith(line.format("prefix", reason) + "none, full, solo, lora, ")
    named = "; with adapter.targets that the backbone has: ssl, ssb, adalora, dora, "
    assert named in str(caught.value)
    assert "\n" not in str(caught.value)
    _, dora = make_config({"name": "dora"})
    reason = "adapter.targets has 'c_attn'; a block of Llama or Qwen has: q_proj, k_proj, .*"
    with pytest.raises(ValueError, match=line.format("dora", reason)):
        check_backbone("dora", dora, shape)
    _, dora = make_config({"name": "dora", "targets": ["q_proj", "v_proj"]})
    check_backbone("dora", dora, shape)
    _, bitfit = make_config({"name": "bitfit"})
    with pytest.raises(ValueError, match=line.format("bitfit", "this backbone has no biases")):
        check_backbone("bitfit", bitfit, shape)


@pytest.mark.parametrize(
    ("name", "options", "text"),
    [
        ("ln_tuning", {"targets": ["final_layer_norm"]}, "the norms of this backbone have no weig"),
        ("bitfit", {}, "this backbone has no biases"),
    ],
)
def test_what_a_backbone_has_nothing_for_is_refused(name, options, text):
    """An OPT may have neither biases nor norms with weights."""
    model = make_backbone("opt", enable_bias=False, layer_norm_elementwise_affine=False)
    method, config = make_config({"name": name} | options)
    with pytest.raises(ValueError, match=f"type opt: {text}") as caught:
        check_backbone(name, config, model.config)
    assert name not in str(caught.value).split("these do: ")[1]
    assert place_in(name, model.config) == "no"
    with pytest.raises(ValueError, match=text):
        method.attach(model, config, 1)
    assert not hasattr(model, "adapter") and all(p.requires_grad for p in model.parameters())


def test_lora_counts_the_narrower_values_of_grouped_heads():
    """By hand, Llama-3.2-1B: 16 blocks of 2,048, 32 query and 8 key heads of 64; r = 8 on q, v."""
    shape = LlamaConfig(
        hidden_size=2048, num_hidden_layers=16, num_attention_heads=32, num_key_value_heads=8
    )
    method, config = make_config({"name": "lora", "rank": 8})
    assert method.n_params(shape, config) == 16 * 8 * ((2048 + 2048) + (2048 + 512))


def test_published_counts_of_parameters():
    """Of the model cards: Pythia-160M 162,322,944; OPT-125m 125,239,296; Qwen2.5-0.5B 494,032,768;
    Qwen3-0.6B 596,049,920; Llama-3.2-1B 1,235,814,400."""
    shapes = {
        162_322_944: ("gpt_neox", {"hidden_size": 768, "num_hidden_layers": 12,
                                   "num_attention_heads": 12, "intermediate_size": 3072,
                                   "vocab_size": 50304}),
        125_239_296: ("opt", {"vocab_size": 50272}),
        494_032_768: ("qwen2", {"hidden_size": 896, "num_hidden_layers": 24,
                                "num_attention_heads": 14, "num_key_value_heads": 2,
                                "intermediate_size": 4864, "vocab_size": 151936,
                                "tie_word_embeddings": True}),
        596_049_920: ("qwen3", {"hidden_size": 1024, "num_hidden_layers": 28,
                                "num_attention_heads": 16, "num_key_value_heads": 8,
                                "head_dim": 128, "intermediate_size": 3072,
                                "vocab_size": 151936, "tie_word_embeddings": True}),
        1_235_814_400: ("llama", {"hidden_size": 2048, "num_hidden_layers": 16,
                                  "num_attention_heads": 32, "num_key_value_heads": 8,
                                  "intermediate_size": 8192, "vocab_size": 128256,
                                  "tie_word_embeddings": True}),
    }  # fmt: skip
    for count, (model_type, sizes) in shapes.items():
        shape = CONFIG_MAPPING[model_type](**sizes)
        assert METHODS["full"].n_params(shape, None) == count, model_type
