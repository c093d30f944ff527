"""Keys and values that stand before every input in the attention; prefix and prompt tuning.

peft does this by a past (prefix tuning) or by longer inputs (prompt tuning), both of which it hands
to the model from outside. Here the model itself must do it: the trunk's call in training
and `model(ids, past_key_values=cache, ...)` in decoding know nothing of a prefix, masks and
positions included. So the prefix never enters the cache: it joins the keys and values in the
attention function, and the positions of the input move up by its length, as they do with peft.
"""

from functools import partial

import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn

from solo.adapters.base import HookedMethod
from solo.backbones import backbone_of, blocks_of, trunk_of
from solo.options import check

ATTENTION = "sdpa_behind_prefix"  # transformers' name for the function below


class PrefixMethod(HookedMethod):
    """Put `length` keys and values before the input of every layer; `module` is what is trained.

    Raises ValueError if they take all of the model's positions, and for a model that shares its
    config object with one that has a prefix: the attention is chosen by the config.
    """

    identity_at_start = False
    position_wise = False

    def __init__(self, model, module: nn.Module, length: int):
        places = model.config.max_position_embeddings
        check(
            length < places, f"adapter.length is {length}; the model has {places} positions in all"
        )
        check(
            model.config._attn_implementation != ATTENTION,
            "another model that shares this one's config has a prefix; give each its own, "
            "copy.deepcopy(config)",
        )
        super().__init__(model, module, [])
        model.positions_taken = length  # solo.backbones.positions_of
        self.hooks = None  # it works in the attention, not at modules
        self.before = model.config._attn_implementation
        transformers.AttentionInterface.register(ATTENTION, _attention)
        transformers.AttentionMaskInterface.register(ATTENTION, _mask)
        model.config._attn_implementation = ATTENTION
        backbone = backbone_of(model.config)
        self.layers = [block.get_submodule(backbone.ATTENTION) for block in blocks_of(model)]
        for i, layer in enumerate(self.layers):
            layer.prefix = partial(self.of_layer, i)
        embeddings = trunk_of(model).get_submodule(backbone.POSITIONS)

        def shift(embedding, args):
            return args if self.of_layer(0) is None else (args[0] + length,)

        self.handles.append(embeddings.register_forward_pre_hook(shift))

    @classmethod
    def check_backbone(cls, shape, config) -> None:
        check(
            backbone_of(shape).POSITIONS is not None,
            "it moves the input's positions in a table of them, as GPT-2 has one",
        )

    def of_layer(self, i: int) -> tuple[Tensor, Tensor] | None:
        """Keys and values (P, d) before layer i; None for a pass that is to go without them."""
        raise NotImplementedError

    def detach(self) -> None:
        super().detach()
        self.model.config._attn_implementation = self.before
        del self.model.positions_taken
        for layer in self.layers:
            del layer.prefix


def _attention(layer, query: Tensor, key: Tensor, value: Tensor, attention_mask, **options):
    """transformers' SDPA attention, the prefix before keys and values (B, heads, L, d / heads).

    attention_mask (B, 1, queries, keys): True where a query sees a key, or numbers that are added
    to its score, 0 for such a key. All see the prefix.
    """
    # Another model may share this one's configuration, and with it this attention.
    states = layer.prefix() if hasattr(layer, "prefix") else None
    if states is not None:
        shape = (key.shape[1], key.shape[3])
        prefix = [
            s.view(1, -1, *shape).transpose(1, 2).expand(len(key), -1, -1, -1) for s in states
        ]
        key, value = (
            torch.cat([p.to(x), x], dim=2) for p, x in zip(prefix, (key, value), strict=True)
        )
        seen = attention_mask.dtype == torch.bool  # True, or the number 0
        attention_mask = F.pad(attention_mask, (prefix[0].shape[2], 0), value=seen)
    sdpa = transformers.modeling_utils.ALL_ATTENTION_FUNCTIONS["sdpa"]
    return sdpa(layer, query, key, value, attention_mask, **options)


def _mask(*args, **options):
    """The mask in full: SDPA's own causal mode does not know where the prefix ends."""
    skips = {"allow_is_causal_skip": False, "allow_is_bidirectional_skip": False}
    return transformers.masking_utils.ALL_MASK_ATTENTION_FUNCTIONS["sdpa"](*args, **options | skips)
