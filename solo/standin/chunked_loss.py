"""Cross-entropy of a head that is trained, with no table of tokens x vocabulary made whole.

For pretraining: 32,768 tokens and GPT-2's 50,257 words make a table of 1.6 billion entries, which
a plain `F.cross_entropy(hidden @ weight.T)` keeps with its softmax and its gradient. Here loss and
gradients, the head's among them, are computed chunk by chunk of tokens, and a chunk's table is used
up before the next is made. Fine-tuning has a hundred target tokens a step and a head that does not
change: there the table is small, the product goes through packed weights, and the loss of logits
that exist (solo/training/loss.py, with label smoothing, token by token) is what is needed.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

CHUNK = 1024  # tokens whose logits exist at a time; on CUDA more, so that the products fill it
CUDA_CHUNK = 8192
MULTIPLE = 64  # 50,257 is odd: fast matrix products need rows that start at round addresses


def head_cross_entropy(
    hidden: Tensor, weight: Tensor, targets: Tensor, dtype: torch.dtype, chunk: int | None = None
) -> Tensor:
    """Mean cross-entropy (nats) of softmax(hidden @ weight.T) against `targets`, with gradients.

    hidden (N, d), weight (V, d), targets (N,). Matrix products and probabilities are in `dtype`,
    the sum of the weight's gradient over chunks in fp32. With bf16 and gradients the loss is that
    of probabilities rounded to bf16: off by up to 0.004 a token, in both directions alike. chunk:
    rows of logits at a time.
    """
    chunk = chunk or (CUDA_CHUNK if hidden.is_cuda else CHUNK)
    if not torch.is_grad_enabled():
        return _loss_and_gradients(hidden, weight, targets, dtype, chunk, (False, False))[0]
    return _Head.apply(hidden, weight, targets, dtype, chunk)


class _Head(torch.autograd.Function):
    """The loss with its gradients, which are known as soon as it is."""

    @staticmethod
    def forward(ctx, hidden, weight, targets, dtype, chunk):
        with torch.autocast(hidden.device.type, enabled=False):
            loss, *gradients = _loss_and_gradients(
                hidden, weight, targets, dtype, chunk, ctx.needs_input_grad
            )
        ctx.save_for_backward(*gradients)
        return loss

    @staticmethod
    def backward(ctx, upstream):
        gradients = (None if g is None else g.mul_(upstream.to(g.dtype)) for g in ctx.saved_tensors)
        return *gradients, None, None, None


def _loss_and_gradients(hidden, weight, targets, dtype, chunk, wanted):
    """(loss, gradient of hidden (N, d), gradient of weight (V, d)), None where not `wanted`."""
    n, vocabulary = max(1, len(targets)), len(weight)  # a batch of random tokens may have none
    words = F.pad(weight.to(dtype), (0, 0, 0, -vocabulary % MULTIPLE))  # (V', d)
    d_hidden = torch.empty_like(hidden) if wanted[0] else None
    d_words = torch.zeros_like(words, dtype=torch.float32) if wanted[1] else None
    total = torch.zeros((), device=hidden.device)
    for start in range(0, len(targets), chunk):
        rows, at = hidden[start : start + chunk].to(dtype), targets[start : start + chunk, None]
        logits = rows @ words.T  # (chunk, V')
        if not (wanted[0] or wanted[1]):
            total += F.cross_entropy(logits[:, :vocabulary].float(), at[:, 0], reduction="sum")
            continue
        logits[:, vocabulary:] = -torch.inf
        d_logits = torch.softmax(logits, 1)  # in fp32 within, whatever the type
        of_target = d_logits.gather(1, at).float()
        total -= of_target.clamp_min(torch.finfo(torch.float32).tiny).log().sum()
        d_logits.scatter_add_(1, at, -torch.ones_like(at, dtype=dtype))
        if wanted[0]:
            d_hidden[start : start + chunk] = d_logits @ words
        if wanted[1]:
            d_words += d_logits.T @ rows
    if wanted[0]:
        d_hidden /= n
    if wanted[1]:
        d_words = (d_words[:vocabulary] / n).to(weight.dtype)
    return total / n, d_hidden, d_words
