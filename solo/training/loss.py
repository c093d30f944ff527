"""The loss of a batch, and of the validation set, for any number of runs side by side."""

from contextlib import nullcontext

import torch
import torch.nn.functional as F
from accelerate import Accelerator
from torch import Tensor

from solo.backbones import backbone_of
from solo.backbones.fast import attention_by_example
from solo.datasets.data import IGNORED, Example, collate
from solo.training.recipe import TrainConfig

CHUNK = 8  # rows of logits that stay in a core's cache together


def target_logits(model, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """(logits, targets) at the positions that carry loss, (N, vocabulary) and (N,), row by row.

    batch: of `collate`, `pad` or `pack`. The head, a third of GPT-2 S's work, runs at these
    positions only.
    """
    backbone = backbone_of(model.config)
    trunk, head = backbone.trunk(model), backbone.head(model)
    if "index" not in batch:
        hidden = trunk(batch["input_ids"], use_cache=False).last_hidden_state
        targets = batch["labels"][:, 1:]  # (B, L - 1): position i predicts token i + 1
        mask = targets != IGNORED
        return head(hidden[:, :-1][mask]), targets[mask]
    packed = {key: batch[key] for key in ("position_ids", "places", "origin") if key in batch}
    with attention_by_example(model) if packed else nullcontext():
        out = trunk(batch["input_ids"], use_cache=False, **packed)
    at_targets = out.last_hidden_state.flatten(0, 1)[batch["index"].flatten()]  # (K * N, d)
    return head(at_targets), batch["targets"].flatten()


def summed_loss(model, batch: dict[str, torch.Tensor], runs: int, smoothing: float) -> torch.Tensor:
    """Sum of the cross-entropy over the target tokens of each run, (runs,)."""
    logits, targets = target_logits(model, batch)
    if "places" in batch:
        each = cross_entropy(logits, targets, smoothing)
    else:
        each = F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing)
    return each.view(runs, -1).sum(1)


@torch.no_grad()
def validation_losses(
    model, examples: list[Example], config: TrainConfig, accelerator: Accelerator, runs: int = 1
) -> list[float]:
    """Mean negative log-likelihood per target token (nats) of each run, without label smoothing."""
    model.eval()
    total = torch.zeros(runs, dtype=torch.float64)
    by_length = sorted(examples, key=lambda example: len(example.ids))  # little padding
    size, index = config.valid_batch_size, accelerator.process_index
    for i in range(index * size, len(by_length), accelerator.num_processes * size):
        batch = to_device(collate(by_length[i : i + size] * runs), model.device)
        with autocast(model, config):
            total += summed_loss(model, batch, runs, 0.0).double().cpu()
    if accelerator.num_processes > 1:
        total = accelerator.reduce(total.to(accelerator.device), "sum").cpu()
    return (total / sum(example.n_targets for example in examples)).tolist()


def autocast(model, config: TrainConfig):
    """Matrix products in bf16 where the recipe says so; parameters and loss stay in fp32."""
    return torch.autocast(model.device.type, torch.bfloat16, enabled=config.precision == "bf16")


def to_device(batch: dict[str, torch.Tensor], device) -> dict[str, torch.Tensor]:
    return {name: tensor.to(device) for name, tensor in batch.items()}


class _SmoothedLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx, logits, targets, smoothing):
        n = len(logits)
        log_sum = torch.empty(n, device=logits.device)
        mean = torch.empty(n, device=logits.device)
        for start in range(0, n, CHUNK):
            rows = slice(start, start + CHUNK)
            part = logits[rows].float()
            log_sum[rows], mean[rows] = part.logsumexp(-1), part.mean(-1)
        counts = targets != IGNORED
        wanted = targets.where(counts, 0)
        at_target = logits.gather(1, wanted[:, None])[:, 0].float()
        loss = log_sum - (1 - smoothing) * at_target - smoothing * mean
        ctx.save_for_backward(logits, wanted, counts, log_sum)
        ctx.smoothing = smoothing
        return loss.where(counts, 0)

    @staticmethod
    def backward(ctx, gradient):
        logits, wanted, counts, log_sum = ctx.saved_tensors
        n, vocabulary = logits.shape
        gradient = gradient.where(counts, 0)
        out = torch.empty_like(logits)
        for start in range(0, n, CHUNK):
            rows = slice(start, start + CHUNK)
            part = (logits[rows].float() - log_sum[rows, None]).exp_()
            part.sub_(ctx.smoothing / vocabulary)
            part.scatter_add_(
                1, wanted[rows, None], part.new_full((len(part), 1), ctx.smoothing - 1)
            )
            out[rows] = part.mul_(gradient[rows, None])
        return out, None, None


def cross_entropy(logits: Tensor, targets: Tensor, smoothing: float) -> Tensor:
    """F.cross_entropy(logits.float(), targets, reduction="none", label_smoothing=smoothing).

    Pretraining, whose logits must never exist as a whole, has solo/standin/chunked_loss.py.
    """
    return _SmoothedLoss.apply(logits, targets, smoothing)
