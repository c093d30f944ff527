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

from solo.adapters.base import generator
from solo.adapters.shared.passing import Passing
from solo.adapters.shared.prefixes import PrefixMethod
from solo.backbones import trunk_of
from solo.options import check


@dataclass(frozen=True)
class Config:
    """length P of the prompt (the paper's default is 100)."""

    length: int = 100

    def __post_init__(self):
        check(self.length >= 1, f"adapter.length is {self.length}; it must be at least 1")


class States(Passing):
    """states: each layer's keys and values of the prompt; busy: the prompt itself is being read."""

    def __init__(self):
        self.states: list[tuple[Tensor, Tensor]] | None = None
        self.busy = False


class Prompt(nn.Module):
    """The embeddings (P, d), and each layer's keys and values of them during a forward pass."""

    def __init__(self, embeddings: Tensor):
        super().__init__()
        self.embeddings = nn.Parameter(embeddings)
        self.passing = States()

    def read(self, trunk: nn.Module, args) -> None:
        """Before a pass of the model: run the prompt through it, without itself before it.

        Raises ValueError where the model gives no keys and values (gradient checkpointing).
        """
        passing = self.passing
        if passing.busy:
            return
        passing.states, passing.busy = None, True
        try:
            cache = trunk(inputs_embeds=self.embeddings[None], use_cache=True).past_key_values
        finally:  # an interrupted pass must not leave the model without its prompt
            passing.busy = False
        check(
            cache is not None,
            "prompt tuning needs the keys and values of its prompt, which a model with gradient "
            "checkpointing does not give; call model.activation_checkpointing_disable()",
        )
        # (1, heads, P, d / heads) -> (P, d)
        passing.states = [
            tuple(s[0].transpose(0, 1).flatten(1) for s in (layer.keys, layer.values))
            for layer in cache.layers
        ]


class PromptTuning(PrefixMethod):
    """Trained embeddings before the input."""

    Config = Config
    label = "Prompt tuning"
    trains = "P embeddings"
    where = "before the input"
    count = "Pd"
    source = "arXiv 2104.08691"

    def __init__(self, model, config: Config, seed: int):
        draws = generator(seed)
        tokens = torch.randint(model.config.vocab_size, (config.length,), generator=draws)
        table = model.get_input_embeddings().weight
        prompt = Prompt(table.detach()[tokens.to(table.device)].clone())
        super().__init__(model, prompt, config.length)
        self.handles.append(trunk_of(model).register_forward_pre_hook(prompt.read))

    def of_layer(self, i: int) -> tuple[Tensor, Tensor] | None:
        passing = self.module.passing
        if passing.busy:
            return None
        check(
            passing.states is not None, "this pass has not read its prompt; call the model itself"
        )
        return passing.states[i]

    @staticmethod
    def n_params(shape, config: Config) -> int:
        """P d."""
        return config.length * shape.hidden_size
