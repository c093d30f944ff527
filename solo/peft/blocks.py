"""The list of blocks of any model of transformers, found by its shape."""

from torch import nn
from transformers import PreTrainedConfig, PreTrainedModel

from solo.options import check

HELP = "name the list with SoloConfig(blocks='path.in.the.model')"


def text_config(model: nn.Module) -> PreTrainedConfig:
    """The part of a model's configuration that describes its blocks (the decoder's of two stacks).

    Raises ValueError for a model that is not one of transformers.
    """
    check(
        isinstance(model, PreTrainedModel),
        f"{type(model).__name__} is no model of transformers; Solo Connection needs its list of "
        "blocks and their width (compile a model after it was adapted; where another method of "
        "peft is to work beside this one, give the model both by its own add_adapter)",
    )
    return model.config.get_text_config(decoder=True)


def find_blocks(model: nn.Module, path: str | None = None) -> tuple[str, nn.ModuleList]:
    """(path, blocks): the ModuleList of num_hidden_layers modules of one class, in the decoder.

    With `path` the list at that place. Lists inside another one that fits do not count. Raises
    ValueError if there is no such list, or more than one.
    """
    config = text_config(model)
    count = config.num_hidden_layers  # T5's is the encoder's
    if model.config.is_encoder_decoder:
        count = getattr(config, "num_decoder_layers", None) or count
    lists = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and len({type(block) for block in module}) == 1
    }
    known = ", ".join(f"{name} ({len(module)})" for name, module in lists.items()) or "none"
    if path is not None:
        check(
            path in lists,
            f"{type(model).__name__} has no list of equal modules {path!r}; it has: {known}",
        )
        return path, lists[path]
    fitting = {name: module for name, module in lists.items() if len(module) == count}
    if model.config.is_encoder_decoder:
        inside = {id(module) for module in model.get_decoder().modules()}
        fitting = {name: module for name, module in fitting.items() if id(module) in inside}
    fitting = {
        name: module
        for name, module in fitting.items()
        if not any(name.startswith(other + ".") for other in fitting)
    }
    check(
        len(fitting) == 1,
        f"{type(model).__name__} has {len(fitting)} lists of {count} equal blocks, and one is "
        f"needed; lists of equal modules: {known}; {HELP}",
    )
    return next(iter(fitting.items()))
