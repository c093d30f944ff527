"""An exported adapter, or a whole model, from a folder or the hub."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from peft import (
    PeftConfig,
    PeftModel,
    PeftModelForCausalLM,
    TaskType,
    get_peft_model_state_dict,
    load_peft_weights,
)
from peft.utils import SAFETENSORS_WEIGHTS_NAME
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
from transformers.tokenization_utils_base import TOKENIZER_CONFIG_FILE
from transformers.utils import CONFIG_NAME, cached_file, find_adapter_config_file

from solo.backbones.loading import check_report, load_with_report
from solo.options import check
from solo.peft.layer import DRAWN
from solo.run_files import ADAPTER
from solo.tensors import check_names_and_shapes

ADAPTER_CONFIG = "adapter_config.json"


def load_export(source: str, backbone: str | None = None) -> PreTrainedModel | PeftModel:
    """The model of a folder or of a name on the hub, in eval mode and in fp32, as runs compute.

    Of an adapter it is peft's model around its backbone: `backbone`, or that which it names. Raises
    ValueError, in one line, if there is neither an adapter nor a model, or no such backbone, for
    an adapter of no causal language model, and for the first tensor of a file that is missing,
    unexpected or of another shape.
    """
    folder = Path(source)
    if folder.is_dir():
        files = {path.name for path in folder.iterdir()}
        check(
            ADAPTER not in files,
            f"{source} holds an adapter that save_adapter wrote; solo.runs.checkpoint.load_adapter "
            "reads it",
        )
        check(
            bool(files & {CONFIG_NAME, ADAPTER_CONFIG}),
            f"{source} holds neither a run nor an adapter nor a model (no {CONFIG_NAME}, no "
            f"{ADAPTER_CONFIG})",
        )
        check(
            ADAPTER_CONFIG not in files or SAFETENSORS_WEIGHTS_NAME in files,
            f"{source} has {ADAPTER_CONFIG}, but no {SAFETENSORS_WEIGHTS_NAME} with its weights",
        )
        check(
            backbone is None or ADAPTER_CONFIG in files,
            f"{source} holds no adapter; leave backbone out",
        )
    nothing = (
        f"{source!r} is no folder with a run, an adapter or a model, nor a name that the hub gave "
        "one for"
    )
    with _in_one_line(f"{source} cannot be loaded" if folder.is_dir() else nothing):
        if find_adapter_config_file(source) is None:
            model, report = load_with_report(AutoModelForCausalLM, source)
            config = None
        else:
            config = PeftConfig.from_pretrained(source)
    if config is None:
        check_report(report, model.config.model_type, source)
        return model
    _check_causal(config, source)
    place = backbone or config.base_model_name_or_path
    check(bool(place), f"{source} names no backbone; name the folder of one with backbone=DIR")
    with _in_one_line(
        f"{source} cannot be loaded, or its backbone ({place}) is not at hand or not the one it "
        "was made for; backbone=DIR names another"
    ):
        revision = None if backbone else config.revision
        model, report = load_with_report(AutoModelForCausalLM, place, revision=revision)
        check_report(report, model.config.model_type, place)
        resized = _fit_vocabulary(model, source)
        with warnings.catch_warnings():  # what is missing is an error below
            warnings.filterwarnings("ignore", "Found missing adapter keys")
            model = PeftModelForCausalLM.from_pretrained(model, source)
        _check_whole(model, source, resized)
    return model.eval()


@contextmanager
def _in_one_line(problem: str) -> Iterator[None]:
    """What transformers and peft raise becomes a ValueError: the problem, and their reason."""
    try:
        yield
    # KeyError, TypeError: peft's, where a field of its configuration is unknown or of another kind
    except (OSError, ValueError, RuntimeError, KeyError, TypeError, SafetensorError) as error:
        raise ValueError(f"{problem} ({' '.join(str(error).split())})") from error


def _check_causal(config: PeftConfig, source: str) -> None:
    """Raise ValueError for an adapter of a model with another head than a language model's."""
    made_for = (config.auto_mapping or {}).get("base_model_class")  # only without a task_type
    causal = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.values()
    if config.task_type not in (None, TaskType.CAUSAL_LM) or made_for not in (None, *causal):
        raise ValueError(
            f"{source} is an adapter for {config.task_type or made_for}, and that is not a causal "
            "language model; load the model that it was made for, and use PeftModel.from_pretrained"
        )


def _fit_vocabulary(model: PreTrainedModel, source: str) -> bool:
    """Give the model as many embeddings as a larger tokenizer beside the adapter has tokens, as
    peft's own loading does; whether that was needed. Their values come with the adapter."""
    quiet = {
        "_raise_exceptions_for_missing_entries": False,
        "_raise_exceptions_for_connection_errors": False,
    }
    if cached_file(source, TOKENIZER_CONFIG_FILE, **quiet) is None:
        return False
    size = len(AutoTokenizer.from_pretrained(source))
    if size <= model.get_input_embeddings().num_embeddings:
        return False
    model.resize_token_embeddings(size)
    return True


def _check_whole(model: PeftModel, source: str, resized: bool) -> None:
    """Raise ValueError unless every tensor of the adapter's file has a place in the model, and none
    of the adapter is left without: peft fills gaps at random and drops what is too much.

    An adapter may train tensors of the backbone (a LoRA with bias="all"), and a file may hold more
    of them (embeddings), which are the adapter's own only where they were `resized`.
    """
    given, backbone = load_peft_weights(source, device="cpu"), model.state_dict().keys()
    own = get_peft_model_state_dict(model, save_embedding_layers=resized)
    # A file of an earlier version has no checksum of its masks.
    own = {n: t for n, t in own.items() if n in given or not n.endswith(f".{DRAWN}")}
    given = {name: t for name, t in given.items() if name in own or name not in backbone}
    check_names_and_shapes(given, own, f"the adapter in {source}")
