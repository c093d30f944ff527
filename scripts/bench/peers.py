"""The peers' training programs (see scripts/bench/train.py), in this process.

peft and transformers' Trainer as installed; LoRA's model, loss and optimizer
(examples/NLG/src/{model,optimizer}.py) from the checkout that is given.
"""

import importlib
import sys
import tempfile
from argparse import Namespace
from pathlib import Path
from types import ModuleType

import torch
from accelerate.state import AcceleratorState
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainerCallback, TrainingArguments

from scripts.bench.train import Batches, Program, clock
from solo.datasets.data import Example
from solo.training.batches import IGNORED, collate

SEQ_LEN = 512  # to which LoRA's recipe pads every example, and every context


class _Clock(TrainerCallback):
    def __init__(self, model):
        self.model, self.times = model, []

    def on_step_end(self, args, state, control, **rest):
        self.times.append(clock(self.model.device))


class _InOrder(Trainer):
    def _get_train_sampler(self, *args):
        return torch.utils.data.SequentialSampler(self.train_dataset)


def _as_dict(examples: list[Example]) -> dict[str, torch.Tensor]:
    batch = collate([examples])
    return {"input_ids": batch.input_ids, "labels": batch.labels}


def peft_trainer(model: GPT2LMHeadModel, precision: str) -> Program:
    """LoRA of the peft library on c_attn under transformers' Trainer, padded to the longest.

    `model` is used up: peft changes it.
    """
    from peft import LoraConfig, get_peft_model

    model.config.use_cache = False
    wrapped = get_peft_model(
        model, LoraConfig(r=8, lora_alpha=32, lora_dropout=0.1, target_modules=["c_attn"],
                          fan_in_fan_out=True, task_type="CAUSAL_LM"),
    )  # fmt: skip

    def steps(batches: Batches) -> list[float]:
        timer = _Clock(model)
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder,
                per_device_train_batch_size=len(batches[0]),
                max_steps=len(batches),
                label_smoothing_factor=0.1,
                weight_decay=0.1,
                bf16=precision == "bf16",
                use_cpu=model.device.type == "cpu",
                save_strategy="no",
                logging_strategy="no",
                report_to=[],
                disable_tqdm=True,
                remove_unused_columns=False,
                dataloader_pin_memory=False,
            )
            examples = [example for batch in batches for example in batch]
            trainer = _InOrder(wrapped, arguments, _as_dict, examples, callbacks=[timer])
            trainer.train()
            AcceleratorState._reset_state(True)  # else accelerate keeps Trainer's precision for all
        return timer.times

    return steps


def lora_modules(nlg: Path, *names: str) -> list[ModuleType]:
    """Modules of LoRA's recipe by their names. nlg: the checkout's examples/NLG.

    Raises FileNotFoundError where the checkout lacks a file.
    """
    nlg = Path(nlg)
    for path in (*(nlg / f"src/{name}.py" for name in names), nlg / "../../loralib/layers.py"):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: give examples/NLG of a microsoft/LoRA clone"
            )
    for path in (nlg / "src", nlg.resolve().parent.parent):
        if str(path) not in sys.path:
            sys.path.insert(0, str(path))
    return [importlib.import_module(name) for name in names]


def lora_recipe(nlg: Path, shape: GPT2Config) -> Program:
    """LoRA's recipe: its model, loss and optimizer, fp32, examples padded to 512 tokens.

    nlg: the checkout's examples/NLG. Raises FileNotFoundError where the checkout lacks a file.
    """
    theirs, optimizers = lora_modules(nlg, "model", "optimizer")
    loralib = importlib.import_module("loralib")
    network = theirs.GPT2LMModel(
        theirs.GPT2Config(n_embd=shape.n_embd, n_layer=shape.n_layer, n_head=shape.n_head,
                          lora_attn_dim=8, lora_attn_alpha=32, lora_dropout=0.1)
    )  # fmt: skip
    loralib.mark_only_lora_as_trainable(network)
    arguments = Namespace(lr=2e-4, weight_decay=0.01, adam_beta1=0.9, adam_beta2=0.999)
    arguments.adam_epislon, arguments.correct_bias = 1e-6, True
    arguments.no_decay_bias = False
    optimizer = optimizers.create_adam_optimizer_from_args(network, arguments)
    device = torch.accelerator.current_accelerator() or torch.device("cpu")
    network.to(device).train()

    def steps(batches: Batches) -> list[float]:
        times = []
        for batch in batches:
            plain = collate([batch])
            ids = nn.functional.pad(plain.input_ids, (0, SEQ_LEN - plain.input_ids.shape[1]))
            labels = torch.full_like(ids, IGNORED)
            labels[:, : plain.labels.shape[1] - 1] = plain.labels[:, 1:]
            mask = (labels != IGNORED).float()
            given = (ids, labels.clamp(min=0), mask)
            ids, labels, mask = (tensor.to(device) for tensor in given)
            _, loss = network(ids, lm_labels=labels, lm_mask=mask, label_smooth=0.1)
            loss.mean().backward()
            optimizer.step()
            optimizer.zero_grad()
            times.append(clock(device))
        return times

    return steps
