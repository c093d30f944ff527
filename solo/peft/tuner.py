"""Solo Connection as a method of peft: what get_peft_model puts around a model."""

import threading
from collections.abc import Sequence
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from accelerate import init_empty_weights
from peft import PeftConfig
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn
from transformers import GenerationConfig

from solo.adapters.base import MODULE_NAME
from solo.adapters.solo import connections
from solo.options import check
from solo.peft.blocks import find_blocks, text_config
from solo.peft.config import SoloConfig
from solo.peft.layer import CONTAINER, DRAWN, NO_MERGE, PLACE, Connections, SoloLayer, names_of_rows
from solo.tensors import check_names_and_shapes

PEFTS = ("classifier", "score", "qa_outputs")  # what peft itself adds to modules_to_save, by task


class SoloModel(BaseTuner):
    """The tuner: it makes the layer, finds it again, and says what peft asks of a method."""

    prefix = "solo_"
    tuner_layer_cls = SoloLayer
    target_module_mapping: dict = {}

    def inject_adapter(
        self,
        model: nn.Module,
        adapter_name: str,
        autocast_adapter_dtype: bool = True,
        low_cpu_mem_usage: bool = False,
        state_dict: dict[str, Tensor] | None = None,
    ) -> None:
        """Attach an adapter. All checks come first: after a ValueError the model is as it was.

        `state_dict` could only say where the layers are, which the configuration does.
        """
        check(
            not hasattr(model, MODULE_NAME),
            "this model has a method attached by solo.adapters already; detach it first",
        )
        with init_empty_weights() if low_cpu_mem_usage else nullcontext():
            self.peft_config[adapter_name], made = prepared(model, self.peft_config[adapter_name])
        check_name(adapter_name, self.peft_config[adapter_name].backbone["blocks"], made)
        self._made = (made,)  # in a tuple: it becomes a child of the layer, not of this
        super().inject_adapter(model, adapter_name, autocast_adapter_dtype, low_cpu_mem_usage)
        del self._made

    def _prepare_adapter_config(self, peft_config: SoloConfig, model_config: dict) -> SoloConfig:
        return peft_config

    def _check_new_adapter_config(self, config: PeftConfig) -> None:
        """Adapters of one model need not agree in anything (`bias` is not peft's option)."""

    @staticmethod
    def _check_target_module_exists(peft_config: SoloConfig, key: str) -> bool:
        return key == peft_config.backbone["blocks"]

    def _create_and_replace(
        self, peft_config, adapter_name, target, target_name, parent, current_key, **_
    ) -> None:
        layer = getattr(parent, PLACE, None) or SoloLayer(parent, target).train(parent.training)
        layer.add(adapter_name, self._made[0].train(parent.training))

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        kept = (SoloLayer, AuxiliaryTrainingWrapper)  # they see to their own parameters
        own = {p for m in model.modules() if isinstance(m, kept) for p in m.parameters()}
        for parameter in model.parameters():
            if parameter not in own:
                parameter.requires_grad_(False)

    def add_weighted_adapter(self, *args, **kwargs) -> None:
        raise ValueError(
            "adapters of Solo Connection have no weighted mean, since masks and ranks differ; "
            "several can work in one batch: adapter_names"
        )

    def disable_adapter_layers(self) -> None:
        self._enable_adapter_layers(enabled=False)

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:
        if autocast_adapter_dtype:
            return super()._cast_adapter_dtype(adapter_name)
        for layer in self._layers():
            if adapter_name not in layer.solo_connections:
                continue
            weights = (p for p in layer.around[1].parameters() if p.is_floating_point())
            layer.solo_connections[adapter_name].to(next(weights).dtype)

    def _layers(self) -> list[SoloLayer]:
        return [module for module in self.model.modules() if isinstance(module, SoloLayer)]

    @contextmanager
    def _enable_peft_forward_hooks(self, *args, adapter_names=None, **kwargs):
        if adapter_names is None:
            yield
            return
        check(not self.training, "adapter_names is for inference; call model.eval() first")
        unknown = sorted(set(adapter_names) - set(self.peft_config) - {"__base__"})
        check(not unknown, f"adapter_names has unknown adapters: {', '.join(unknown)}")
        names, repeats, layers = tuple(adapter_names), self._repeats(args, kwargs), self._layers()
        # those of modules_to_save
        saved = [m for m in self.model.modules() if isinstance(m, AuxiliaryTrainingWrapper)]
        for module in saved:
            check_mixable(module)
        name_rows = partial(_name_rows, names, repeats, threading.get_ident())
        handles = [m.register_forward_pre_hook(name_rows, with_kwargs=True) for m in saved]
        for layer in layers:
            layer.passing.adapter_names, layer.passing.repeats = names, repeats
        try:
            yield
        finally:
            for layer in layers:
                layer.passing.adapter_names = None
            for handle in handles:
                handle.remove()

    def _repeats(self, args: tuple, kwargs: dict) -> int:
        """How often generate() repeats each example."""
        given = [
            value for value in (*args, *kwargs.values()) if isinstance(value, GenerationConfig)
        ]
        config = given[0] if given else getattr(self.model, "generation_config", None)
        names = ("num_beams", "num_return_sequences")
        return max(kwargs.get(name) or getattr(config, name, None) or 1 for name in names)

    def _check_merge_allowed(self) -> None:
        raise ValueError(NO_MERGE)

    def _unload_and_optionally_merge(self, merge: bool = True, **options) -> nn.Module:
        if merge:
            self._check_merge_allowed()
        for layer in self._layers():
            layer.remove()
        return super()._unload_and_optionally_merge(merge=False)

    @classmethod
    def _get_learnable_bias_state_dict(cls, model, state_dict, config) -> dict[str, Tensor]:
        return {}  # `bias` is not peft's option

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return key.replace(f".{CONTAINER}.{adapter_name}.", f".{CONTAINER}.", 1)

    @classmethod
    def _get_adapter_state_dict(
        cls, model, config, adapter_name, state_dict, unwanted_adapter_names
    ) -> dict[str, Tensor]:
        part = f".{CONTAINER}.{adapter_name}."
        found = {key: tensor for key, tensor in state_dict.items() if part in key}
        check_names_and_shapes(found, _tensors(model, adapter_name), "what is to be saved")
        if config.adapter_config().resolved().lambda_bounded:  # the last step may have left [0, 1]
            for key in found:
                if key.endswith(".lambda_"):
                    found[key] = found[key].clamp(0, 1)
        return found

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls, model, config, adapter_name, state_dict
    ) -> dict[str, Tensor]:
        remapped = super()._remap_adapter_state_dict_for_load(
            model, config, adapter_name, state_dict
        )
        expected = _tensors(model, adapter_name)
        for key, own in expected.items():
            if key.endswith(f".{DRAWN}"):  # a file of an earlier version has none, or half of it
                found = remapped.setdefault(key, own)
                remapped[key] = torch.cat([found, own[len(found) :]])
        given = {key: tensor for key, tensor in remapped.items() if f".{CONTAINER}." in key}
        check_names_and_shapes(given, expected, "the file of the adapter")
        return remapped


def prepared(model: nn.Module, config: SoloConfig) -> tuple[SoloConfig, Connections]:
    """(configuration, connections) of an adapter for a model, which is only read.

    Raises ValueError if the model has no list of blocks or nothing of modules_to_save, if the
    options leave no block to adapt, if the configuration comes from an adapter of another backbone,
    or if its masks cannot be drawn again.
    """
    path, blocks = find_blocks(model, config.blocks)
    check_saved(model, path, config.modules_to_save or [])
    backbone = {
        "model_type": model.config.model_type,
        "blocks": path,
        "num_blocks": len(blocks),
        "hidden_size": text_config(model).hidden_size,
    }
    config.check_backbone(backbone)
    options = config.adapter_config().resolved()
    try:
        ends = connections(len(blocks), options)
    except ValueError as error:
        raise ValueError(f"SoloConfig: {str(error).replace('adapter.', '')}") from None
    with torch.device("cpu"):  # the same draws everywhere
        made = Connections(backbone["hidden_size"], ends, options, config.seed)
    config.check_drawn(made.drawn_sha256)
    return config.attached(backbone | {"drawn_sha256": made.drawn_sha256}), made


def check_saved(model: nn.Module, path: str, names: Sequence[str]) -> None:
    """Raise ValueError for names of modules_to_save that the model does not have, and for such as
    have the adapted blocks in them; path: of the list of blocks."""
    places = {name: [part for part, _ in model.named_modules()
                     if f".{part}".endswith(f".{name}")] for name in names}  # fmt: skip
    missing = [name for name in names if not places[name]]
    if len(missing) < len(names):  # peft adds names of its own, of which a model has one
        missing = [name for name in missing if name not in PEFTS]
    check(not missing, f"SoloConfig: the model has no {', '.join(missing)} of modules_to_save")
    around = [
        name for name, found in places.items() for part in found
        if f"{path}.".startswith(f"{part}.") or part.rpartition(".")[0] == path
    ]  # fmt: skip
    check(
        not around,
        f"SoloConfig: modules_to_save has {', '.join(around)}, which has adapted blocks in it; "
        "name what is inside a block (h.3.mlp), or train without Solo Connection",
    )


def check_mixable(module: AuxiliaryTrainingWrapper) -> None:
    """Raise ValueError for what peft cannot take apart by rows."""
    layer = module.original_module
    check(
        isinstance(layer, nn.Linear | nn.Embedding),
        f"adapter_names cannot mix what modules_to_save keeps of a {type(layer).__name__}, only of "
        "Linear and Embedding; give each adapter a batch of its own",
    )


def _name_rows(names, repeats: int, thread: int, module: AuxiliaryTrainingWrapper, args, kwargs):
    """Before a saved module: which adapter's form of it each row of the thread's batch goes
    through."""
    if threading.get_ident() != thread:
        return None
    rows = names_of_rows(names, repeats, len(args[0]))
    known = module._adapters
    kwargs["adapter_names"] = [name if name in known else "__base__" for name in rows]
    return args, kwargs


def check_name(adapter: str, path: str, connections: Connections) -> None:
    """Raise ValueError for a name by which peft, saving another adapter, would drop tensors of it:
    it knows the adapters of a model by parts of their tensors' names."""
    parts = {"base_model", "model", PLACE, CONTAINER, *path.split(".")}
    parts |= {part for name in connections.state_dict() for part in name.split(".")} | {"__base__"}
    check("." not in adapter, f"an adapter cannot be called {adapter!r}; leave out the dot")
    check(
        adapter not in parts,
        f"an adapter cannot be called {adapter!r}, which stands for something else in peft's or "
        "torch's names; choose another adapter_name",
    )


def _tensors(model: nn.Module, adapter_name: str) -> dict[str, Tensor]:
    """What is saved of an adapter, by its names in the model."""
    part = f".{CONTAINER}.{adapter_name}."
    return {key: tensor for key, tensor in model.state_dict().items() if part in key}
