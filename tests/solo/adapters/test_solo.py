"""Solo Connection against the paper's equations and counts, and the development code's facts."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from peft import get_peft_model
from torch.profiler import profile
from transformers import GPT2Config, GPT2LMHeadModel

from solo.adapters import make_config
from solo.adapters.solo import Config, SoloConnections, connections
from solo.peft import SoloConfig
from tests.conftest import make_model

SMALL = {"n_layer": 12, "n_embd": 768, "n_head": 12}
MEDIUM = {"n_layer": 24, "n_embd": 1024, "n_head": 16}


def attach(model, **options):
    method, config = make_config({"name": "solo", **options})
    return method.attach(model, config, 3)


@pytest.mark.parametrize(
    ("n_layer", "options", "expected"),
    [
        (12, {}, [(2, 3), (4, 5), (6, 7), (8, 9), (10, 11)]),
        (24, {}, [(j, j + 1) for j in range(2, 23, 2)]),
        (12, {"span": 3}, [(4, 7), (8, 11)]),
        (12, {"span": 5}, [(6, 11)]),
        (12, {"variant": "devcode"}, [(2, 4), (4, 6), (6, 8), (8, 10), (10, 12)]),
        (24, {"variant": "devcode"}, [(j, j + 2) for j in range(2, 23, 2)]),
        (12, {"variant": "devcode", "span": 3}, [(4, 8), (8, 12)]),
        (12, {"variant": "devcode", "span": 5}, [(6, 12)]),
        (6, {"start": 1, "stride": 4, "reach": 1}, [(1, 2), (5, 6)]),
    ],
)
def test_where_connections_sit(n_layer, options, expected):
    assert connections(n_layer, Config(**options)) == expected


def by_hand(model, ids, module, ends, scale_encoding: bool) -> torch.Tensor:
    """Equations 1 to 3, block after block, with dense matrices and an explicit lambda."""
    transformer = model.transformer
    x = transformer.wte(ids) + transformer.wpe(torch.arange(ids.shape[1]))
    outputs = {}
    mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]
    for number, block in enumerate(transformer.h, 1):
        x = block.forward(x, attention_mask=mask)
        for i, (start, end) in enumerate(ends):
            if end == number:
                z = outputs[start] @ module.encoder.weight().T
                z = z + (0 if module.encoder.bias is None else module.encoder.bias)
                z = z * module.e[i] if scale_encoding else z + module.e[i]
                z = z @ module.decoder.weight().T
                z = z + (0 if module.decoder.bias is None else module.decoder.bias)
                x = x + module.lambda_[i] * module.v[i] * z
        outputs[number] = x
    return model.lm_head(transformer.ln_f(x))


@pytest.mark.parametrize(
    "options",
    [
        {"rank": 5, "sparsity": 0.4, "lambda_init": 0.5},
        {"rank": 5, "span": 3, "start": 2, "stride": 1, "lambda_init": 0.5},
        {"rank": 5, "variant": "devcode", "vector_init": "normal", "weight_init": "kaiming_normal"},
    ],
)
def test_forward_is_the_papers_equations(model, ids, options):
    attached = attach(model, **options)
    module = model.adapter
    with torch.no_grad():
        module.e.add_(torch.randn(module.e.shape, generator=torch.Generator().manual_seed(1)))
        adapted = model(ids).logits
        ends, scale = module.ends, module.config.encoding == "scale"
        plain = make_model()  # the same backbone, without hooks
        expected = by_hand(plain, ids, module, ends, scale)
        torch.testing.assert_close(adapted, expected, rtol=1e-4, atol=1e-4)
        attached.detach()
        assert not torch.allclose(model(ids).logits, adapted, atol=1e-2)


@pytest.mark.parametrize("way", ["hooks", "peft"])
def test_gradients_are_those_of_the_equations(ids, way):
    """All connections of a pass share what they make of the parameters; so do their gradients."""
    options = {"start": 1, "stride": 1, "reach": 2, "lambda_init": 0.5, "sparsity": 0.4}
    model = make_model().double()
    if way == "hooks":
        attach(model, rank=5, **options)
        module = model.adapter
    else:
        get_peft_model(model, SoloConfig(r=5, **options)).eval()
        module = model.transformer.around_blocks.solo_connections["default"].double()
    module.e.data.normal_(generator=torch.Generator().manual_seed(1))
    plain = make_model().double()
    outputs = model(ids).logits, by_hand(plain, ids, module, module.ends, scale_encoding=False)
    found, expected = (torch.autograd.grad(y.square().mean(), module.parameters()) for y in outputs)
    assert len(module.ends) == 4 and all(gradient.abs().min() > 0 for gradient in expected)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-15)


def test_a_pass_makes_the_dense_matrices_once(model, ids):
    attach(model, rank=5, sparsity=0.4, start=1, stride=1)
    with profile() as found:
        model(ids).logits.square().mean().backward()
    calls = {event.key: event.count for event in found.key_averages()}
    assert calls["aten::scatter"] == 2 and "aten::select_backward" not in calls


def cut_off(module, args):
    raise KeyboardInterrupt


def test_a_pass_that_was_cut_off_leaves_nothing_to_the_next(model, ids):
    attach(model, rank=5, sparsity=0.4, lambda_init=0.5)
    with torch.no_grad():
        handle = model.transformer.h[3].register_forward_pre_hook(cut_off)
        with pytest.raises(KeyboardInterrupt):
            model(ids)
        handle.remove()
        model.adapter.encoder.values.mul_(2)
        found = model(ids).logits
        plain, ends = make_model(), model.adapter.ends
        expected = by_hand(plain, ids, model.adapter, ends, scale_encoding=False)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_blocks_that_run_without_what_holds_them_see_every_change(model, ids):
    """As a pipeline runs them, whose pieces are not called through the model."""
    get_peft_model(model, SoloConfig(r=5, sparsity=0.4, lambda_init=0.5)).eval()
    trunk, plain = model.transformer, make_model()
    module = trunk.around_blocks.solo_connections["default"]
    mask = torch.full((ids.shape[1],) * 2, float("-inf")).triu(1)[None, None]
    with torch.no_grad():
        for factor in (1, 2):
            module.encoder.values.mul_(factor)
            x = trunk.wte(ids) + trunk.wpe(torch.arange(ids.shape[1]))
            for block in trunk.h:
                x = block(x, attention_mask=mask)
            expected = by_hand(plain, ids, module, module.ends, scale_encoding=False)
            torch.testing.assert_close(model.lm_head(trunk.ln_f(x)), expected, rtol=1e-4, atol=1e-4)


# Table and row of the paper, the count by its formula (appendix B), and what it prints.
COUNTS = [
    (MEDIUM, {"rank": 32, "sparsity": 0.7}, 31_276, "appendix B"),
    (SMALL, {"rank": 128, "sparsity": 0.4}, 122_444, "0.12M"),
    (SMALL, {"rank": 512, "sparsity": 0.4}, 478_260, "0.47M"),
    (SMALL, {"rank": 512}, 792_832, "0.8M"),
    (MEDIUM, {"rank": 128, "sparsity": 0.7}, 91_316, "0.09M"),
    (MEDIUM, {"rank": 512}, 1_065_472, "1.06M"),
    (SMALL, {"rank": 128, "span": 3, "sparsity": 0.6}, 80_436, "78k"),
    (SMALL, {"rank": 512, "trainable_matrices": False}, 6_400, "9k"),
]


@pytest.mark.parametrize(("shape", "options", "formula", "printed"), COUNTS)
def test_counts_of_the_papers_rows(shape, options, formula, printed):
    """The closed form without lambdas, and a really attached adapter on a model without data."""
    with torch.device("meta"):
        model = GPT2LMHeadModel(GPT2Config(**shape))
    method, config = make_config({"name": "solo", **options})
    T = len(connections(shape["n_layer"], config))
    assert method.n_params(model.config, config) == formula + T
    assert method.attach(model, config, 1).n_trained == formula + T


@pytest.mark.parametrize("sparsity", [0.0, 0.4])
def test_count_of_the_development_code(sparsity):
    """2 d r + r + d + T (r + d + 1), sparse or not: its mask removes nothing."""
    method, config = make_config(
        {"name": "solo", "variant": "devcode", "rank": 128, "sparsity": sparsity}
    )
    d, r, T = 768, 128, 5
    expected = 2 * d * r + r + d + T * (r + d + 1)
    assert method.n_params(GPT2Config(**SMALL), config) == expected


def test_masked_entries_stay_zero_and_are_a_fraction_s(model, ids):
    attached = attach(model, rank=7, sparsity=0.6, lambda_init=0.5)
    encoder = model.adapter.encoder
    zero = encoder.weight() == 0
    assert zero.sum().item() == 16 * 7 - round(0.4 * 16 * 7)
    optimizer = torch.optim.AdamW(attached.parameters.values(), lr=0.1, weight_decay=0.1)
    model(ids).logits.square().mean().backward()
    optimizer.step()
    assert torch.equal(encoder.weight() == 0, zero)


def test_masks_have_their_own_seed(model):
    def kept(model, seed, mask_seed):
        method, config = make_config(
            {"name": "solo", "rank": 7, "sparsity": 0.5, "mask_seed": mask_seed}
        )
        attached = method.attach(model, config, seed)
        found = model.adapter.encoder.kept.clone(), attached.parameters["encoder.values"].clone()
        attached.detach()
        return found

    (mask_a, values_a), (mask_b, values_b) = kept(model, 1, 9), kept(model, 2, 9)
    assert torch.equal(mask_a, mask_b) and not torch.equal(values_a, values_b)
    assert not torch.equal(mask_a, kept(model, 1, 10)[0])


def test_permutation_mask_multiplies_by_0_to_n_minus_1(model):
    attach(model, rank=5, sparsity=0.4, variant="devcode", weight_init="normal")
    encoder = model.adapter.encoder
    assert sorted(encoder.factor.tolist()) == list(range(80))
    torch.testing.assert_close(
        encoder.weight().flatten(), encoder.values * encoder.factor, rtol=0, atol=0
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_cast_leaves_the_permutation_as_it_is(dtype):
    """fp16 has no number above 65,504, bf16 not every whole one above 256."""
    options = {"r": 8192, "sparsity": 0.4, "variant": "devcode", "vector_init": "normal"}
    peft_model = get_peft_model(make_model(), SoloConfig(**options))
    [encoder] = {m.encoder for m in peft_model.modules() if isinstance(m, SoloConnections)}
    values = torch.randn(encoder.values.shape, generator=torch.Generator().manual_seed(0)) / 1e5
    encoder.values.data.copy_(values)
    factor = encoder.factor.double()
    assert factor.max() == 16 * 8192 - 1
    peft_model.to(dtype)
    expected = (encoder.values.double() * factor).to(dtype).view(8192, 16)
    torch.testing.assert_close(encoder.weight(), expected, rtol=torch.finfo(dtype).eps, atol=0)
    assert torch.equal(encoder.factor.double(), factor)


@pytest.mark.parametrize(("bounded", "ends"), [(True, [0.0, 1.0]), (False, [-0.2, 1.3])])
def test_lambda_is_projected_after_the_step_only_where_bounded(model, bounded, ends):
    attached = attach(model, rank=2, lambda_bounded=bounded)
    with torch.no_grad():
        attached.parameters["lambda_"].copy_(torch.tensor([-0.2, 1.3]))
    attached.after_step(1)
    assert attached.scalars() == pytest.approx({"lambda/2": ends[0], "lambda/4": ends[1]})


def test_starts_of_the_two_variants(model):
    paper = attach(model, rank=64, sparsity=0.4)
    p = paper.parameters
    assert set(p) == {"e", "v", "lambda_", "encoder.values", "decoder.values"}
    assert p["e"].abs().sum() == 0 and p["lambda_"].tolist() == pytest.approx([0.001] * 2)
    assert 0.5 < p["v"].std() < 1.5
    bound = (6 / 16) ** 0.5  # Kaiming uniform, a = 0, fan in 16, before the mask
    assert 0.95 * bound < p["encoder.values"].abs().max() <= bound
    assert model.adapter.dropouts[0].p == 0.1
    paper.detach()
    p = attach(model, rank=64, sparsity=0.4, variant="devcode").parameters
    assert p["e"].eq(1).all() and p["v"].abs().sum() == 0
    assert p["lambda_"].tolist() == pytest.approx([0.1] * 2)
    assert p["encoder.values"].abs().sum() == 0 and p["encoder.bias"].abs().sum() > 0
    assert model.adapter.dropouts[0].p == 0.01


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"rank": 0}, "adapter.rank is 0; it must be at least 1"),
        ({"rank": -3}, "adapter.rank is -3; it must be at least 1"),
        ({"sparsity": 1.0}, r"adapter.sparsity is 1.0; it must be in \[0, 1\)"),
        ({"sparsity": -0.1}, r"adapter.sparsity is -0.1; it must be in \[0, 1\)"),
        ({"span": 0}, "adapter.span is 0; it must be at least 1"),
        ({"start": 0}, "adapter.start is 0; it must be at least 1"),
        ({"lambda_init": 1.5}, r"adapter.lambda_init is 1.5; lambda lives in \[0, 1\]"),
        ({"lambda_init": -0.1}, r"adapter.lambda_init is -0.1; lambda lives in \[0, 1\]"),
        ({"variant": "papr"}, "adapter.variant is 'papr'; known: paper, devcode"),
        ({"mask": "dense"}, "adapter.mask is 'dense'; known: random, permutation"),
        ({"dropout": 1.0}, r"adapter.dropout is 1.0; it must be in \[0, 1\)"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        make_config({"name": "solo", **options})


@pytest.mark.parametrize("options", [{"span": 6}, {"start": 6}, {"start": 5, "span": 2}])
def test_no_block_left(model, options):
    with pytest.raises(ValueError, match="leave no block to adapt in a backbone of 6; choose a"):
        attach(model, rank=2, **options)
    assert not hasattr(model, "adapter")


@pytest.mark.parametrize("way", ["hooks", "peft"])
def test_two_threads_do_not_see_each_others_blocks(model, ids, way):
    """Both have run block 2 before either comes to the connection that needs its output."""
    options = {"sparsity": 0.4, "lambda_init": 0.5}
    if way == "hooks":
        attach(model, rank=4, **options)
    else:
        get_peft_model(model, SoloConfig(r=4, **options)).eval()
    inputs = [ids, ids.flip(1)]
    with torch.no_grad():
        alone = [model(one).logits for one in inputs]
        meet = threading.Barrier(len(inputs), timeout=20)
        blocks = model.transformer.h
        handle = blocks[1].register_forward_hook(lambda *args: (meet.wait(), None)[1])
        with ThreadPoolExecutor(len(inputs)) as pool:
            together = list(pool.map(torch.no_grad()(lambda one: model(one).logits), inputs))
        handle.remove()
    assert all(torch.equal(a, b) for a, b in zip(alone, together, strict=True))


def test_rank_above_the_width_is_legal(model):
    assert attach(model, rank=40).n_trained == 2 * 40 * 16 + 2 * (40 + 16 + 1)
