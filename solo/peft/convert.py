"""What the project trains, in the form that the peft library has for it."""

import copy
from dataclasses import asdict

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import nn
from transformers.pytorch_utils import Conv1D

from solo.adapters.base import Method
from solo.adapters.lora import Lora
from solo.adapters.shared.from_peft import ADAPTER, PeftMethod
from solo.adapters.solo import Config, Solo
from solo.peft.config import SoloConfig
from solo.peft.layer import PLACE
from solo.peft.tuner import prepared
from solo.tensors import copy_strictly

TASK = "CAUSAL_LM"


def has_form(method: Method) -> bool:
    """Whether peft has a form for a method as it is configured."""
    lora = isinstance(method, Lora) and method.config.constraint != "n"
    return lora or isinstance(method, (Solo, PeftMethod))


def to_peft(method: Method, config, seed: int, backbone: nn.Module) -> PeftModel:
    """peft's model of a method at work, around `backbone`: the same, not yet adapted.

    config, seed: what the method was attached with. Solo is this package's, LoRA peft's own, and a
    method that comes from peft is itself. The values are copied. Random numbers drawn on the way
    leave the global generator as it was.
    """
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        if isinstance(method, Solo):
            return _solo(method, config, seed, backbone)
        if isinstance(method, Lora):
            return _lora(method, backbone)
        return _itself(method, backbone)


def _solo(method: Solo, config: Config, seed: int, backbone: nn.Module) -> PeftModel:
    options = asdict(config)
    made = SoloConfig(r=options.pop("rank"), seed=seed, task_type=TASK, **options)
    path = prepared(backbone, made)[0].backbone["blocks"]
    model = get_peft_model(backbone, made)
    owner = backbone.get_submodule(path.rpartition(".")[0])
    connections = getattr(owner, PLACE).solo_connections[ADAPTER]
    copy_strictly(method.parameters, dict(connections.named_parameters()), "the run")
    return model


def _lora(method: Lora, backbone: nn.Module) -> PeftModel:
    """peft's LoRA on whole projections.

    A projection whose n parts have factors of their own gets rank n r: its A has theirs one below
    the other, and its B a block of theirs for each part, zeros elsewhere. The product is the same;
    trained further, the zeros would move, too.
    """
    names = {id(module): name for name, module in method.model.named_modules()}
    c, factors = method.config, {}
    for update, linear, projection in method.places:
        name = names[id(linear)]
        whole = projection in update.targets
        parts = (projection,) if whole else update.parts[projection]
        trained = [part for part in parts if part in update.targets]
        a = torch.cat([update.factor(part, "a") for part in trained])  # (n r, n_in)
        columns = {part: i for i, part in enumerate(trained)}
        rows = []
        for part in parts:
            b = _with_middle(update, part if part in columns else trained[0])  # (part's n_out, r)
            row = b.new_zeros(len(b), len(a))
            if part in columns:
                row[:, columns[part] * c.rank : (columns[part] + 1) * c.rank] = b
            rows.append(row)
        # In a projection of several parts their outputs may alternate, head by head.
        b = rows[0] if whole else update.join([row.t() for row in rows]).t()
        factors[name] = (a, b, len(trained), isinstance(linear, Conv1D))
    counts = {name: n for name, (_, _, n, _) in factors.items()}
    most = max(counts.values())
    model = get_peft_model(
        backbone,
        LoraConfig(
            r=most * c.rank,
            lora_alpha=most * c.alpha,
            lora_dropout=c.dropout,
            target_modules=sorted(factors),
            rank_pattern={name: n * c.rank for name, n in counts.items() if n != most},
            alpha_pattern={name: n * c.alpha for name, n in counts.items() if n != most},
            fan_in_fan_out=all(inputs_first for *_, inputs_first in factors.values()),
            task_type=TASK,
        ),
    )
    for name, (a, b, _, _) in factors.items():
        layer = backbone.get_submodule(name)
        copy_strictly(
            {"lora_A": a, "lora_B": b},
            {"lora_A": layer.lora_A[ADAPTER].weight, "lora_B": layer.lora_B[ADAPTER].weight},
            f"the run, in {name},",
        )
    return model


def _with_middle(update, part: str) -> torch.Tensor:
    """B D, or B where there is no factor D between A and B: (n_out, r)."""
    b = update.factor(part, "b")
    if update.middle is None:
        return b
    d = update.factor(part, "d")
    return b * d if update.middle == "diagonal" else b @ d


def _itself(method: PeftMethod, backbone: nn.Module) -> PeftModel:
    config = copy.deepcopy(method.module.peft_config[ADAPTER])
    config.task_type, config.inference_mode = TASK, False
    model = get_peft_model(backbone, config)
    backbone.load_state_dict(method.model.state_dict())
    return model
