"""The beam search of LoRA's E2E recipe, slow and obvious: one context, no cache, no tensors.

Written from the description of the rules; shares nothing with solo/decoding/rules.py.
"""

import math

import torch


def next_logits(model, tokens):
    """Logits of the token after `tokens`, as a list of floats; the whole text is run each time."""
    with torch.no_grad():
        return model(torch.tensor([tokens], device=model.device)).logits[0, -1].tolist()


def banned_tokens(generated, n):
    """Tokens that would make an n-gram occur for the second time."""
    if n == 0:
        return set()
    banned = set()
    for start in range(len(generated) - n + 1):
        ngram = generated[start : start + n]
        if ngram[:-1] == generated[len(generated) - n + 1 :]:
            banned.add(ngram[-1])
    return banned


def log_softmax(logits):
    top = max(logits)
    if top == -math.inf:
        return logits
    log_total = top + math.log(math.fsum(math.exp(x - top) for x in logits))
    return [x - log_total for x in logits]


def reference_beam_search(model, prompt, beam, penalty, no_repeat, max_new, end_ids):
    """The best hypothesis (list of ids) for one prompt, or None where none is left."""
    best_score, best = -math.inf, None
    live = [(0.0, [])]  # (sum of log p, generated tokens)
    for step in range(1, max_new + 1):
        candidates = []
        for total, generated in live:
            logits = next_logits(model, prompt + generated)
            for token in banned_tokens(generated, no_repeat):
                logits[token] = -math.inf
            for token, log_p in enumerate(log_softmax(logits)):
                if log_p > -math.inf:
                    candidates.append((total + log_p, generated + [token]))
        candidates.sort(key=lambda candidate: -candidate[0])
        live = []
        unfinished = []
        for total, generated in candidates[:beam]:
            if generated[-1] in end_ids:
                score = total / len(generated) ** penalty
                if score > best_score:
                    best_score, best = score, generated
            else:
                live.append((total, generated))
                if step == max_new:
                    unfinished.append((total / max_new**penalty, generated))
        for score, generated in unfinished:
            if score > best_score:
                best_score, best = score, generated
    return best
