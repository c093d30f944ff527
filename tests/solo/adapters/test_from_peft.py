"""The peft library's methods: their formulas by hand, and our LoRA against theirs."""

import copy
import sys
from collections import namedtuple

import peft
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

from solo.adapters import make_config
from solo.adapters.shared.from_peft import PeftMethod

PATHS = {
    "c_attn": "attn.c_attn",
    "attn.c_proj": "attn.c_proj",
    "c_fc": "mlp.c_fc",
    "mlp.c_proj": "mlp.c_proj",
}


def attach(model, name, seed=1, **options):
    method, config = make_config({"name": name, **options})
    return method.attach(model, config, seed)


def normal_(attached):
    """Draw what is trained; the values by name."""
    draws = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in attached.parameters.values():
            parameter.normal_(generator=draws)
    return {name: p.detach().clone() for name, p in attached.parameters.items()}


def loss_of(model, ids):
    logits = model(ids).logits
    return F.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def test_a_models_own_buffers_are_not_the_methods_after_a_move_between_devices():
    """An accelerator's model gets new buffer objects on its way to the CPU; a Llama has some."""
    sizes = {"hidden_size": 16, "intermediate_size": 32, "vocab_size": 50}
    sizes |= {"num_hidden_layers": 2, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes)).eval()
    assert list(model.named_buffers())
    model.cpu = lambda: model._apply(lambda tensor: tensor.clone())
    assert attach(model, "dora", targets=["q_proj", "v_proj"]).fixed == {}


class PlainLora(PeftMethod):
    """peft's own LoRA, which is no method of ours."""

    Config = namedtuple("Config", "targets")
    kind = "LORA"
    settings = {"r": 3, "lora_alpha": 6}


@pytest.mark.parametrize("target", ["attn.c_proj", "c_fc", "mlp.c_proj", "c_attn"])
def test_pefts_lora_trains_as_ours(model, target):
    """Same initial weights, same batches, same losses. As target c_attn both have one A for query,
    key and value; our default, the thirds q and v with an A each, is another method."""
    other = copy.deepcopy(model)
    ours = attach(model, "lora", rank=3, alpha=6, dropout=0.0, targets=[target])
    theirs = PlainLora.attach(other, PlainLora.Config([target]), seed=2)
    name = target.replace(".", "_")
    pairs = [
        (ours.parameters[f"{i}.{name}_{factor.lower()}"], theirs.parameters[key])
        for i in range(6)
        for factor in "AB"
        for key in [f"h.{i}.{PATHS[target]}.lora_{factor}.weight"]
    ]
    assert len(pairs) == len(ours.parameters) == len(theirs.parameters) == 12
    with torch.no_grad():
        for mine, their in pairs:
            their.copy_(mine)
    results = []
    for each, parameters in (
        (model, [mine for mine, _ in pairs]),
        (other, [their for _, their in pairs]),
    ):
        draws = torch.Generator().manual_seed(3)
        optimizer = torch.optim.AdamW(parameters, lr=0.01, weight_decay=0.1)
        losses = []
        for _ in range(5):
            loss = loss_of(each, torch.randint(0, 61, (3, 9), generator=draws))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item())
        results.append(losses)
    torch.testing.assert_close(results[0], results[1], rtol=1e-5, atol=1e-5)
    for mine, their in pairs:
        torch.testing.assert_close(mine, their, rtol=1e-3, atol=1e-4)


def dora(w, values, fixed):
    moved = w + 2.0 * (values["lora_B.weight"] @ values["lora_A.weight"]).T  # (n_in, n_out)
    return moved * (values["lora_magnitude_vector.weight"] / moved.norm(dim=0))


def vera(w, values, fixed):
    a, b = (next(v for k, v in fixed.items() if k.endswith(f"vera_{m}")) for m in "AB")
    d_a = values["vera_lambda_d"][:, None] * a[:, : w.shape[0]]
    return w + (values["vera_lambda_b"][:, None] * (b[: w.shape[1]] @ d_a)).T


def adalora(w, values, fixed):
    product = values["lora_B"] @ torch.diag(values["lora_E"].flatten()) @ values["lora_A"]
    return w + 6 / (3 + 1e-5) * product.T


def hira(w, values, fixed):
    return w * (1 + (values["hira_B"] @ values["hira_A"]).T)


def fourierft(w, values, fixed):
    n_in, n_out = w.shape
    places = next(iter(fixed.values()))  # (2, n): rows among n_out, columns among n_in
    k, j = torch.arange(n_out) / n_out, torch.arange(n_in) / n_in
    for u, v, value in zip(*places, values["fourierft_spectrum"], strict=True):
        angle = 2 * torch.pi * (u * k[:, None] + v * j)  # (n_out, n_in)
        w = w + 150 * value * torch.cos(angle).T / (n_in * n_out)
    return w


def randlora(w, values, fixed):
    small, large = sorted(w.shape)
    n = -(-small // 5)
    a, b = (next(v for k, v in fixed.items() if k.endswith(f"randlora_{m}")) for m in "AB")
    scaled = values["randlora_lambda"][:, :, None] * a[:, :, :small] * values["randlora_gamma"]
    # (r, N, small) and (large, N, r): peft pairs them in the order in which they lie in memory
    total = b[:large, :n].reshape(large, -1) @ scaled.reshape(-1, small)
    return w + 640 / 5 * (total.T if w.shape[0] == small else total)


def vblora(w, values, fixed):
    bank = values["vblora_vector_bank"]

    def pieces(logits):  # (..., h) -> (..., b): the mixture of the best two
        top = logits.topk(2, dim=-1)
        weights = torch.zeros_like(logits).scatter(-1, top.indices, top.values.softmax(-1))
        return weights @ bank

    a = pieces(values["vblora_logits_A"]).flatten(1)  # (r, n_in)
    b = pieces(values["vblora_logits_B"]).transpose(1, 2).flatten(0, 1)  # (n_out, r)
    return w + (b @ a).T


FORMULAS = {
    "hira": (hira, {"rank": 3}),
    "fourierft": (fourierft, {"frequencies": 5}),
    "randlora": (randlora, {"rank": 5}),
    "vblora": (vblora, {"rank": 3, "vectors": 6, "length": 8}),
    "dora": (dora, {"rank": 3, "alpha": 6, "dropout": 0.0}),
    "vera": (vera, {"rank": 3}),
    "adalora": (adalora, {"init_rank": 3, "target_rank": 2, "alpha": 6, "dropout": 0.5}),
    "ia3": (lambda w, values, fixed: w * values["ia3_l"].flatten(), {"feedforward": []}),
}


@pytest.mark.parametrize("target", ["c_fc", "mlp.c_proj", "c_attn"])
@pytest.mark.parametrize("name", FORMULAS)
def test_merged_weights_are_those_of_the_formula(model, name, target):
    """W (n_in, n_out) as GPT-2 stores it; the bias stays but for (IA)^3, which scales it too."""
    linear = model.transformer.h[4].get_submodule(PATHS[target])
    with torch.no_grad():
        linear.bias.normal_()
    weight, bias = linear.weight.clone(), linear.bias.clone()
    formula, options = FORMULAS[name]
    attached = attach(model, name, targets=[target], **options)
    prefix = f"h.4.{PATHS[target]}."
    values = {
        key.removeprefix(prefix): value
        for key, value in normal_(attached).items()
        if key.startswith(prefix)
    }
    if name == "vblora":  # the bank is in the model once, in the first block
        values["vblora_vector_bank"] = next(
            p.detach() for key, p in attached.parameters.items() if "bank" in key
        )
    model.train()  # in which dropout is no part of the weights, either
    attached.merge()
    assert model.training
    wanted = formula(weight, values, attached.fixed)
    torch.testing.assert_close(linear.weight, wanted, rtol=1e-4, atol=1e-4)
    if name == "ia3":
        bias = bias * values["ia3_l"].flatten()
    torch.testing.assert_close(linear.bias, bias, rtol=1e-5, atol=1e-5)


def test_ia3_scales_the_input_of_feedforward_layers(model):
    linear = model.transformer.h[0].mlp.c_proj
    weight = linear.weight.clone()
    attached = attach(model, "ia3", targets=["mlp.c_proj"], feedforward=["mlp.c_proj"])
    scale = normal_(attached)["h.0.mlp.c_proj.ia3_l"].flatten()
    attached.merge()
    torch.testing.assert_close(linear.weight, scale[:, None] * weight, rtol=1e-5, atol=1e-5)


def test_gralora_has_factors_of_its_own_in_every_block(model):
    """2 x 2 blocks of rank 4 / 2, together of full rank 8 = 4 x 2, as LoRA of rank 4 cannot be."""
    linear = model.transformer.h[0].mlp.c_fc
    weight = linear.weight.clone()
    attached = attach(model, "gralora", rank=4, blocks=2, targets=["c_fc"])
    normal_(attached)
    attached.merge()
    update = linear.weight - weight  # (16, 64)
    for rows in update.split(8, dim=0):
        for block in rows.split(32, dim=1):
            assert torch.linalg.matrix_rank(block, rtol=1e-4) == 2
    assert torch.linalg.matrix_rank(update, rtol=1e-4) == 8


def test_pissa_starts_at_the_principal_part(model):
    """B A is the best approximation of W of its rank (Eckart, Young); the rest is frozen."""
    weight = model.transformer.h[0].mlp.c_fc.weight.detach().clone()
    attached = attach(model, "pissa", rank=3, alpha=6, targets=["c_fc"])
    a, b = (attached.parameters[f"h.0.mlp.c_fc.lora_{m}.weight"] for m in "AB")
    u, s, v = torch.linalg.svd(weight)
    principal = u[:, :3] @ s[:3].diag() @ v[:3]
    torch.testing.assert_close((2.0 * b @ a).T, principal, rtol=1e-4, atol=1e-4)
    frozen = model.transformer.h[0].mlp.c_fc.base_layer.weight
    torch.testing.assert_close(frozen, weight - principal, rtol=1e-4, atol=1e-4)
    attached.detach()
    assert torch.equal(model.transformer.h[0].mlp.c_fc.weight, weight)


def test_pissa_is_the_same_with_any_number_of_threads():
    """LAPACK divides a decomposition among the threads, and what it gives depends on how."""
    config = GPT2Config(n_layer=1, n_embd=256, n_head=2, vocab_size=10, n_positions=4)
    torch.manual_seed(0)
    bare, threads = GPT2LMHeadModel(config).eval(), torch.get_num_threads()
    frozen = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            model = copy.deepcopy(bare)
            attach(model, "pissa", rank=3)
            assert torch.get_num_threads() == count
            frozen.append(model.transformer.h[0].attn.c_attn.base_layer.weight)
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*frozen)


def test_veras_matrices_come_from_the_seed_and_are_shared(model):
    first = attach(copy.deepcopy(model), "vera", seed=1, rank=3)
    same, other = attach(copy.deepcopy(model), "vera", rank=3), attach(model, "vera", 2, rank=3)
    (a, b), names = first.fixed.values(), list(first.fixed)
    assert a.shape == (3, 16) and b.shape == (48, 3)  # one of each for all blocks
    assert all(torch.equal(first.fixed[name], same.fixed[name]) for name in names)
    assert not any(torch.equal(first.fixed[name], other.fixed[name]) for name in names)


def test_the_global_generator_is_left_alone(model):
    torch.manual_seed(4)
    wanted = torch.rand(3)
    for name in ("adalora", "dora", "vera"):
        torch.manual_seed(4)
        attach(copy.deepcopy(model), name)
        assert torch.equal(torch.rand(3), wanted), name


def test_a_missing_library_is_named(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(RuntimeError, match="comes from the peft library, which is not installed"):
        attach(model, "vera", rank=2)


def adalora_steps(model, attached, optimizer, steps, ids):
    for step in steps:
        (loss_of(model, ids) + attached.penalty()).backward()
        optimizer.step()
        attached.after_step(step)
        optimizer.zero_grad()


ADALORA = {
    "init_rank": 4, "target_rank": 2, "alpha": 8, "dropout": 0.0, "warmup": 0.2, "final": 0.4,
    "interval": 2, "orthogonality": 0.3, "targets": ["c_fc"],
}  # fmt: skip


def test_adalora_trains_as_pefts_own_model(model, ids):
    """The budget's schedule, the masks and the penalty, by peft's documented loop."""
    other = copy.deepcopy(model)
    attached = attach(model, "adalora", **ADALORA)
    attached.start(10)
    config = peft.AdaLoraConfig(
        init_r=4, target_r=2, lora_alpha=8, tinit=2, tfinal=4, deltaT=2, total_step=10,
        orth_reg_weight=0.3, target_modules=["c_fc"], fan_in_fan_out=True, task_type="CAUSAL_LM",
    )  # fmt: skip
    theirs = peft.get_peft_model(other, config)
    prefix = "base_model.model.transformer."
    names = {
        name.removeprefix(prefix).replace(".default", ""): p
        for name, p in theirs.named_parameters()
        if p.requires_grad
    }
    assert names.keys() == attached.parameters.keys()
    with torch.no_grad():
        for name, parameter in attached.parameters.items():
            names[name].copy_(parameter)
    settings = {"lr": 0.02, "weight_decay": 0.1}
    adalora_steps(
        model,
        attached,
        torch.optim.AdamW(attached.parameters.values(), **settings),
        range(1, 11),
        ids,
    )
    optimizer = torch.optim.AdamW([names[name] for name in attached.parameters], **settings)
    for step in range(1, 11):
        theirs(ids, labels=ids).loss.backward()  # the penalty is in it
        optimizer.step()
        theirs.base_model.update_and_allocate(step)
        optimizer.zero_grad()
    for name, parameter in attached.parameters.items():
        torch.testing.assert_close(parameter, names[name], rtol=1e-3, atol=1e-4)
    kept = sum((p != 0).sum().item() for name, p in attached.parameters.items() if "E" in name)
    assert kept == 6 * 2 and attached.scalars() == {"rank": 2.0}


@pytest.mark.parametrize("stop", [3, 5, 7])  # in the warm-up's end, the budget's fall, the end
def test_adalora_resumes_exactly_with_its_state(model, ids, stop):
    """Parameters, optimizer and Method.state are all that a resumed run needs."""
    other = copy.deepcopy(model)
    first = attach(model, "adalora", **ADALORA)
    first.start(10)
    optimizer = torch.optim.AdamW(first.parameters.values(), lr=0.02)
    adalora_steps(model, first, optimizer, range(1, stop + 1), ids)
    second = attach(other, "adalora", **ADALORA)
    second.start(10)
    resumed = torch.optim.AdamW(second.parameters.values(), lr=0.02)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    with torch.no_grad():
        for name, parameter in second.parameters.items():
            parameter.copy_(first.parameters[name])
        for name, tensor in second.state.items():
            tensor.copy_(first.state[name])
    for each, attached, its in ((model, first, optimizer), (other, second, resumed)):
        adalora_steps(each, attached, its, range(stop + 1, 11), ids)
    for name, parameter in first.parameters.items():
        assert torch.equal(parameter, second.parameters[name]), name


def test_adalora_says_when_its_schedule_does_not_fit(model):
    attached = attach(model, "adalora", warmup=0.0, final=0.8)
    with pytest.raises(ValueError, match="at least 2 steps before its final phase; 5 steps with"):
        attached.start(5)


def test_adaloras_warmup_ends_before_its_final_phase(model):
    """Whatever rounding makes of their shares: of 10 steps 2 and 8 leave none between them."""
    attached = attach(model, "adalora", warmup=0.22, final=0.77)
    attached.start(10)
    assert (attached.schedule.tinit, attached.schedule.tfinal) == (1, 8)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"name": "adalora", "target_rank": 6}, "target_rank is 6 and adapter.init_rank 6; the"),
        ({"name": "adalora", "warmup": 0.6}, "warmup is 0.6 and adapter.final 0.5; they are"),
        ({"name": "adalora", "beta1": 1.0}, r"adapter.beta1 is 1.0; it must be in \(0, 1\)"),
        ({"name": "ia3", "feedforward": ["c_fc"]}, "feedforward has 'c_fc', which is none of"),
        ({"name": "ln_tuning", "targets": ["ln_3"]}, "norms of GPT-2: ln_1, ln_2, ln_f"),
    ],
)
def test_bad_options(options, text):
    with pytest.raises(ValueError, match=text):
        make_config(options)


def test_pissa_refuses_more_triplets_than_there_are(model):
    with pytest.raises(ValueError, match="rank is 17; c_attn has only 16 singular values"):
        attach(model, "pissa", rank=17)
    assert not any(isinstance(m, nn.ModuleDict) for m in model.modules())  # nothing put in


def test_ln_tuning_trains_every_layer_norm(model):
    attached = attach(model, "ln_tuning")
    assert len(attached.parameters) == 2 * (2 * 6 + 1)
    values = normal_(attached)
    attached.merge()
    assert torch.equal(model.transformer.ln_f.weight, values["ln_f.ln_tuning_layers.weight"])
    assert torch.equal(model.transformer.h[3].ln_2.bias, values["h.3.ln_2.ln_tuning_layers.bias"])
