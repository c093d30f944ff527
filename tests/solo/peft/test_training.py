"""Training with peft's and transformers' tools, and what lambda does in it."""

from functools import partial

import pytest
import torch
import torch.distributed as dist
import torch.utils.checkpoint
from datasets import Dataset
from peft import PeftModel, get_peft_model, prepare_model_for_kbit_training
from torch.distributed.fsdp import fully_shard
from transformers import Trainer, TrainingArguments

from solo.peft import SoloConfig
from tests.conftest import make_model
from tests.solo.peft.tiny import inputs, make

SMALL = {"r": 4, "sparsity": 0.4, "lambda_init": 0.5, "task_type": "CAUSAL_LM"}


def connections(model):
    return model.get_base_model().transformer.around_blocks.solo_connections["default"]


def trainer(model, directory, **options):
    rows = torch.randint(0, 61, (24, 9), generator=torch.Generator().manual_seed(2)).tolist()
    arguments = TrainingArguments(
        output_dir=directory, per_device_train_batch_size=4, num_train_epochs=1, save_steps=3,
        learning_rate=0.05, report_to=[], disable_tqdm=True, use_cpu=True, **options,
    )  # fmt: skip
    data = Dataset.from_list([{"input_ids": row, "labels": row} for row in rows])
    return Trainer(model, arguments, train_dataset=data)


def test_trainer_trains_saves_and_resumes(tmp_path, ids):
    """Six steps, and three steps with three more in a new model: the same weights."""
    whole = get_peft_model(make_model(), SoloConfig(**SMALL))
    trainer(whole, tmp_path).train()
    assert {p.name for p in (tmp_path / "checkpoint-3").iterdir()} >= {
        "adapter_config.json", "adapter_model.safetensors",
    }  # fmt: skip
    resumed = get_peft_model(make_model(), SoloConfig(**SMALL))
    trainer(resumed, tmp_path / "b").train(resume_from_checkpoint=str(tmp_path / "checkpoint-3"))
    start = get_peft_model(make_model(), SoloConfig(**SMALL)).eval()(ids).logits
    expected = whole.eval()(ids).logits
    assert torch.equal(resumed.eval()(ids).logits, expected) and not torch.equal(start, expected)
    loaded = PeftModel.from_pretrained(make_model(), tmp_path / "checkpoint-6")
    assert torch.equal(loaded(ids).logits, expected)


@pytest.mark.parametrize("kind", ["gpt2", "llama", "gptj", "t5"])
def test_gradient_checkpointing_changes_nothing(kind):
    """Off, and on in both of its modes: same loss, same gradients."""
    results = []
    for mode in (None, True, False):
        model = get_peft_model(make(kind), SoloConfig(**SMALL | {"task_type": None}))
        if mode is not None:
            model.prepare_model_for_gradient_checkpointing(model)
            model.gradient_checkpointing_enable({"use_reentrant": mode})
        model.train()
        torch.manual_seed(1)  # of dropout
        loss = (model(**inputs(kind)).logits ** 2).mean()
        loss.backward()
        grads = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
        results.append((loss, grads))
    (loss, grads), *others = results
    assert len(grads) == 5
    for other_loss, other_grads in others:
        torch.testing.assert_close(other_loss, loss, rtol=0, atol=0)
        torch.testing.assert_close(other_grads, grads)


@pytest.mark.parametrize("reentrant", [True, False])
def test_a_checkpoint_around_whole_blocks_is_an_error(ids, reentrant):
    """One that runs the hooks again in the backward pass would compute other gradients."""
    model = get_peft_model(make_model(), SoloConfig(**SMALL)).train()
    model.enable_input_require_grads()
    blocks = model.get_base_model().transformer.h
    for i, block in enumerate(blocks):
        blocks[i] = Checkpointed(block, reentrant)
    loss = model(ids, labels=ids).loss
    with pytest.raises(RuntimeError, match="block 4 did not run before block 5 in this forward"):
        loss.backward()


class Checkpointed(torch.nn.Module):
    def __init__(self, block, reentrant):
        super().__init__()
        self.block, self.reentrant = block, reentrant

    def forward(self, x, *args, **kwargs):
        mask = kwargs.get("attention_mask")
        block = partial(self.block, attention_mask=mask)
        return torch.utils.checkpoint.checkpoint(block, x, use_reentrant=self.reentrant)


def test_frozen_backbone_prepared_for_few_bits(ids):
    model = get_peft_model(prepare_model_for_kbit_training(make_model()), SoloConfig(**SMALL))
    model.train()(ids, labels=ids).loss.backward()
    assert connections(model).v.grad.abs().max() > 0


@pytest.mark.parametrize(("training", "backend"), [(False, "eager"), (True, "aot_eager")])
def test_compiles_in_one_graph(ids, training, backend):
    model = get_peft_model(make_model(n_layer=3), SoloConfig(**SMALL, dropout=0.0)).train(training)
    with torch.no_grad():
        connections(model).lambda_.fill_(1.5)
    compiled = torch.compile(model, backend=backend, fullgraph=True)
    for _ in range(2):
        found = compiled(ids).logits
        if training:
            found.square().mean().backward()
    assert connections(model).lambda_.tolist() == [1.0]
    torch.testing.assert_close(found, model(ids).logits)


def leave(model):
    """Put lambda where an optimizer's step may leave it."""
    with torch.no_grad():
        connections(model).lambda_.copy_(torch.tensor([-0.2, 1.3]))


@pytest.mark.parametrize("bounded", [None, False])
def test_lambda_is_kept_in_bounds(ids, tmp_path, bounded):
    """Before each forward pass, in training or not, and when saved; only where it has bounds."""
    config = SoloConfig(**SMALL, dropout=0.0, lambda_bounded=bounded)
    model = get_peft_model(make_model(), config)
    ends = [0.0, 1.0] if bounded is None else [-0.2, 1.3]
    leave(model)
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(make_model(), tmp_path)
    assert connections(loaded).lambda_.tolist() == pytest.approx(ends)
    expected = loaded(ids).logits
    for training in (False, True):
        leave(model)
        assert torch.equal(model.train(training)(ids).logits, expected)
        assert connections(model).lambda_.tolist() == pytest.approx(ends)


def test_several_forward_passes_before_one_backward(ids):
    model = get_peft_model(make_model(), SoloConfig(**SMALL, dropout=0.0)).train()
    leave(model)
    one = model(ids, labels=ids).loss
    two = model(ids, labels=ids).loss
    (one + two).backward()
    both = connections(model).v.grad.clone()
    model.zero_grad()
    model(ids, labels=ids).loss.backward()
    torch.testing.assert_close(both, 2 * connections(model).v.grad)


def test_under_autocast(ids):
    model = get_peft_model(make_model(), SoloConfig(**SMALL, dropout=0.0)).train()
    exact = model(ids).logits
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(ids, labels=ids).loss
        torch.testing.assert_close(model(ids).logits.float(), exact, rtol=0.1, atol=0.5)
    loss.backward()
    assert connections(model).v.grad.abs().max() > 0


def test_a_skipped_block_is_an_error_and_leaves_nothing_behind(ids):
    """As layerdrop skips them: the block where a connection starts, then that where it ends."""
    model = get_peft_model(make_model(), SoloConfig(**SMALL)).eval()
    expected, blocks = model(ids).logits, model.get_base_model().transformer.h
    for number in (2, 3):
        block = blocks[number - 1]
        blocks[number - 1] = torch.nn.Identity()
        blocks[number - 1].forward = lambda x, *args, **kwargs: x
        if number == 2:
            with pytest.raises(RuntimeError, match="block 2 did not run before block 3 in this"):
                model(ids)
        else:
            model(ids)  # what block 2 left is not taken for the next pass's
        blocks[number - 1] = block
    assert torch.equal(model(ids).logits, expected)


@pytest.fixture
def one_process(tmp_path):
    """A group of one process."""
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/group", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.mark.parametrize(
    ("options", "sharded", "refused"),
    [
        ({}, ("blocks", "root"), True),
        ({}, ("base",), True),
        ({}, ("root",), True),
        ({}, ("blocks",), False),  # which have no part of the adapter
        ({"lambda_bounded": False}, ("blocks", "root"), False),
        ({"homotopy": False}, ("blocks", "root"), False),
    ],
)
def test_a_sharded_lambda_is_refused_where_it_has_bounds(
    ids, one_process, options, sharded, refused
):
    """fully_shard would keep one that no projection reaches."""
    adapted = get_peft_model(make_model(), SoloConfig(r=4, **options))
    base = adapted.get_base_model()
    parts = {"blocks": base.transformer.h, "base": [base], "root": [adapted]}
    for part in sharded:
        for module in parts[part]:
            fully_shard(module)
    adapted.eval()(ids)
    if refused:
        with pytest.raises(ValueError, match="fully_shard keeps lambda from .* lambda_bounded=F"):
            adapted.train()(ids)
    else:
        adapted.train()(ids).logits.sum().backward()
    assert not any("_extra_state" in key for key in adapted.state_dict()) or sharded == ("blocks",)


def test_data_parallel_is_refused(model, ids):
    model = get_peft_model(model, SoloConfig(**SMALL)).eval()
    block = model.get_base_model().transformer.h[1]._replicate_for_data_parallel()
    with pytest.raises(ValueError, match="DataParallel is not supported; use one process for each"):
        block(torch.randn(1, 3, 16))
