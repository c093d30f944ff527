"""The one layer of peft's that holds all connections of a model, and acts through hooks."""

import hashlib
from collections.abc import Sequence
from functools import partial

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from solo.adapters.shared.passing import Outputs
from solo.adapters.solo import Computed, SoloConnections
from solo.options import check
from solo.tensors import tensors_sha256

PLACE = "around_blocks"  # the layer's name in the module that holds the list of blocks
CONTAINER = "solo_connections"  # peft finds by this prefix what belongs to the method
DRAWN = "_extra_state"  # torch's name for it in state dicts, see `Connections`


def names_of_rows(names: Sequence[str], repeats: int, batch: int) -> list[str]:
    """The adapter of each row; generate() repeats each example `repeats` times for its beams.

    Raises ValueError where there are not as many names as examples.
    """
    rows = list(names)
    if len(rows) * repeats == batch:
        rows = [name for name in rows for _ in range(repeats)]
    check(
        len(rows) == batch,
        f"adapter_names has {len(rows)} names for a batch of {batch}; give one for each",
    )
    return rows


class Connections(SoloConnections):
    """The connections of an adapter that know which masks they were drawn with.

    A state dict has, beside the values, the checksums of all that is drawn again from the seed and
    of what values are for (encoding, ends of the connections), 64 bytes (torch's extra state), so
    that values of another adapter are never put among these. A file of an earlier version has none,
    or the first one alone, and is taken as it is. `sharded`: fully_shard took lambda.
    """

    drawn_sha256, sharded = "", False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        saved = self.state_dict()
        drawn = {name: tensor for name, tensor in self.named_buffers() if name not in saved}
        self.drawn_sha256 = tensors_sha256(drawn)

    def __setattr__(self, name: str, value) -> None:
        """fully_shard puts a shard in lambda's place, and for each forward pass a whole copy."""
        super().__setattr__(name, value)
        if name == "lambda_" and is_shard(value):
            self.sharded = True

    def get_extra_state(self) -> Tensor:
        said = f"{self.config.encoding} {self.ends}"  # what no shape tells
        digest = bytes.fromhex(self.drawn_sha256) + hashlib.sha256(said.encode()).digest()
        # not on the context's device: meta, say
        return torch.tensor(list(digest), dtype=torch.uint8, device="cpu")

    def set_extra_state(self, state: Tensor) -> None:
        """ValueError for the checksum of other masks, of another encoding or of other connections;
        a file of an earlier version has that of the masks alone."""
        given, own = state.tolist(), self.get_extra_state().tolist()
        check(
            given[:32] == own[:32],
            "these values were saved with other masks than this adapter has: make it with the seed "
            "and mask_seed that are in their adapter_config.json. (If they were averaged: "
            "solo_connections.*._extra_state is a checksum; take it over as it is.)",
        )
        check(
            given[32:] in ([], own[32:]),
            "these values were saved with another encoding or around other blocks; make the "
            "adapter with the options that are in their adapter_config.json",
        )

    def _save_to_state_dict(self, destination, prefix, keep_vars) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        if is_shard(self.e):  # accelerate wants nothing but shards then
            del destination[prefix + DRAWN]

    def _load_from_state_dict(self, state_dict, prefix, *arguments) -> None:
        """The check comes before anything of the adapter changes; torch's comes after that."""
        self.set_extra_state(state_dict.setdefault(prefix + DRAWN, self.get_extra_state()))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


def layerdrop_of(owner: nn.Module) -> float:
    """How often a stack of blocks leaves one out in training."""
    config = getattr(owner, "config", None)
    return getattr(owner, "layerdrop", getattr(config, "layerdrop", 0)) or 0


def is_shard(value) -> bool:
    """Whether a tensor is one process's part of a parameter (torch's DTensor)."""
    return type(value).__name__ == "DTensor"


class OfABatch(Outputs):
    """What belongs to a forward pass, and so to its thread: outputs by (adapter, connection), what
    an adapter's connections compute with, and which example of a batch of several adapters is
    whose."""

    def __init__(self):
        super().__init__()
        self.computed: dict[str, Computed] = {}
        self.adapter_names: Sequence[str] | None = None
        self.repeats = 1


class SoloLayer(nn.Module, BaseTunerLayer):
    """Every adapter's connections, beside the list of blocks that they go around.

    The blocks stay where they are: no wrapper changes their names, their class, or what
    `output_hidden_states` records. Hooks run outside of a block's gradient checkpoint.
    """

    adapter_layer_names = (CONTAINER,)

    def __init__(self, owner: nn.Module, blocks: nn.ModuleList):
        super().__init__()
        self.solo_connections = nn.ModuleDict()
        self.around = (owner, blocks)  # in a tuple: they are no children of this layer
        self.passing = OfABatch()
        self.handles = []
        owner.add_module(PLACE, self)

    @property
    def weight(self):
        """None: this layer is around others and in the place of none (peft's would look for it)."""
        raise AttributeError("a SoloLayer has no weight of its own")

    bias = weight

    def add(self, name: str, connections: SoloConnections) -> None:
        """Take in an adapter."""
        self.solo_connections[name] = connections
        self._move_adapter_to_device_of_base_layer(name)
        self._hook()

    def delete_adapter(self, adapter_name: str) -> None:
        super().delete_adapter(adapter_name)
        self._hook()

    def remove(self) -> None:
        """Leave the model as it was."""
        self.solo_connections.clear()
        self._hook()
        delattr(self.around[0], PLACE)

    def _hook(self) -> None:
        for handle in self.handles:
            handle.remove()
        owner, blocks = self.around
        adapters = self.solo_connections.values()
        numbers = {number for adapter in adapters for ends in adapter.ends for number in ends}
        self.handles = [  # first of a block's hooks, so that the others see the sum
            blocks[number - 1].register_forward_hook(
                partial(self._after_block, number), prepend=True
            )
            for number in sorted(numbers)
        ]
        if numbers:
            self.handles.append(owner.register_forward_pre_hook(self._before_blocks))

    def _before_blocks(self, owner: nn.Module, args: tuple) -> None:
        self.passing.of.clear()
        self.passing.computed.clear()
        rate = layerdrop_of(owner) if owner.training else 0
        check(
            not rate,
            f"{type(owner).__name__} leaves out blocks in training (layerdrop={rate}), and a "
            "connection needs both of its own; load the model with layerdrop=0",
        )
        if torch.compiler.is_exporting():  # which takes no change of a parameter
            return
        for adapter in self.solo_connections.values():
            of = adapter.lambda_
            if of is None or not adapter.config.lambda_bounded:
                continue
            trained = owner.training and of.requires_grad
            check(
                not trained or not adapter.sharded or is_shard(of),
                "fully_shard keeps lambda from coming back to [0, 1] after a step; train with "
                "DistributedDataParallel, or set lambda_bounded=False",
            )
            adapter.project()  # also of one that is not trained any more

    def _after_block(self, number: int, block: nn.Module, args: tuple, output):
        check(
            not getattr(block, "_is_replica", False),
            "torch.nn.DataParallel is not supported; use one process for each device: "
            "torchrun or accelerate launch",
        )
        y = output[0] if isinstance(output, tuple) else output  # (B, L, d)
        work = self._work(len(y), y.device)
        for name, rows in work:
            connections = self.solo_connections[name]
            for i, (start, end) in enumerate(connections.ends):
                if end == number:
                    if (name, i) not in self.passing.of:
                        raise RuntimeError(
                            f"block {start} did not run before block {end} in this forward pass; "
                            "set layerdrop to 0, and checkpoint with gradient_checkpointing_enable"
                        )
                    x, computed = self.passing.of.pop((name, i)), self._computed(name)
                    y = _add(connections, i, x, y, rows, computed)
            if number == max(end for _, end in connections.ends):
                self.passing.computed.pop(name, None)  # the next pass has other values
        for name, _ in work:
            for i, (start, _) in enumerate(self.solo_connections[name].ends):
                if start == number:
                    self.passing.of[name, i] = y
        return (y, *output[1:]) if isinstance(output, tuple) else y

    def _computed(self, name: str) -> Computed | None:
        """None where the parameters, or parts of them, are elsewhere until their module runs."""
        connections = self.solo_connections[name]
        if any(is_shard(p) or p.is_meta for p in connections.parameters()):
            return None
        if name not in self.passing.computed:
            self.passing.computed[name] = connections.computed()
        return self.passing.computed[name]

    def _work(self, batch: int, device) -> list[tuple[str, Tensor | None]]:
        """(adapter, the rows of the batch that it works on; None for all) of those at work."""
        if self.disable_adapters:
            return []
        if self.passing.adapter_names is None:
            active = dict.fromkeys(self.active_adapters)  # which may name one twice
            return [(name, None) for name in active if name in self.solo_connections]
        names = names_of_rows(self.passing.adapter_names, self.passing.repeats, batch)
        rows = {name: [i for i, of in enumerate(names) if of == name] for name in names}
        rows.pop("__base__", None)
        return [(name, torch.tensor(of, device=device)) for name, of in rows.items()]

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device=None) -> None:
        if adapter_name not in self.solo_connections:
            return
        connections = self.solo_connections[adapter_name]
        if any(p.is_meta for p in connections.parameters()):
            return
        if device is None:  # that of the first block, or of the first that is not kept elsewhere
            devices = (p.device for p in self.around[1].parameters() if not p.is_meta)
            device = next(devices, torch.device("cpu"))
        connections.to(device)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        raise ValueError(NO_MERGE)

    def unmerge(self) -> None:
        raise ValueError(NO_MERGE)


NO_MERGE = (
    "Solo Connection cannot be merged: a connection goes around whole blocks, and no weight of the "
    "backbone can hold that; keep the adapter, or take it out with unload()"
)


def _add(
    connections: SoloConnections,
    i: int,
    x: Tensor,
    y: Tensor,
    rows: Tensor | None,
    computed: Computed | None,
) -> Tensor:
    """y plus connection i of x, in the given rows or all; computed in the adapter's own type and on
    its device, for blocks may be on several."""
    device = x.device if connections.e.is_meta else connections.e.device  # meta: is offloaded
    x = x.to(device, connections.e.dtype)
    if rows is None:
        return y + connections(x, i, computed).to(y.device, y.dtype)
    x = x[rows.to(x.device)]
    return y.index_add(0, rows, connections(x, i, computed).to(y.device, y.dtype))
