"""Prompt tuning (Lester et al., 2021, arXiv 2104.08691): trained embeddings before the input.

P embeddings stand where tokens would, at the positions 0 ... P-1, and go through the frozen model.
They do not see the input, so their keys and values in every layer are computed by a pass of their
own and used as a prefix (prefixes.py); the result is that of a longer input. They start as copies
of the embeddings of tokens drawn at random (the paper's "sampled vocabulary", but out of all tokens
rather than the 5,000 most common).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from solo.adapters.base import Attached, check, generator
from solo.adapters.shared.prefixes import attach_prefix


@dataclass(frozen=True)
class Config:
    """length P of the prompt (the paper's default is 100)."""

    length: int = 100

    def __post_init__(self):
        check(self.length >= 1, f"adapter.length is {self.length}; it must be at least 1")


class Prompt(nn.Module):
    """The embeddings (P, d), and each layer's keys and values of them during a forward pass."""

    def __init__(self, embeddings: Tensor):
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)
        self.states: list[tuple[Tensor, Tensor]] | None = None
        self.busy = False

    def read(self, transformer: nn.Module, args) -> None:
        """Before a pass of the model: run the prompt through it, without itself before it."""
        if self.busy:
            return
        self.states, self.busy = None, True
        cache = transformer(inputs_embeds=self.embeddings[None], use_cache=True).past_key_values
        self.busy = False
        # (1, heads, P, d / heads) -> (P, d)
        self.states = [
            tuple(s[0].transpose(0, 1).flatten(1) for s in (layer.keys, layer.values))
            for layer in cache.layers
        ]


def attach(model, config: Config, seed: int) -> Attached:
    """Put the prompt before every input. ValueError if it takes all of the model's positions."""
    tokens = torch.randint(model.config.vocab_size, (config.length,), generator=generator(seed))
    table = model.transformer.wte.weight
    prompt = Prompt(table.detach()[tokens.to(table.device)].clone())

    def states(i: int):
        return None if prompt.states is None else prompt.states[i]

    of_layers = [lambda i=i: states(i) for i in range(model.config.n_layer)]
    attached = attach_prefix(model, prompt, config.length, of_layers)
    handle, take_out = model.transformer.register_forward_pre_hook(prompt.read), attached.detach

    def detach() -> None:
        handle.remove()
        take_out()

    attached.detach = detach
    return attached


def n_params(model_config, config: Config) -> int:
    """P d."""
    return config.length * model_config.n_embd
