"""The configuration of Solo Connection as peft has it."""

from dataclasses import dataclass, field, fields, replace

import torch
from peft import PeftConfig

from solo.adapters import make_config
from solo.adapters.solo import Config
from solo.options import check
from solo.peft.gaps import peft_type

NEW = "; for a new adapter with these options, take dataclasses.replace(config, backbone=None)"


class _Noted(dict):
    """What a configuration was attached to in this process; one from a file has a plain dict."""


@dataclass
class SoloConfig(PeftConfig):
    """Options of Solo Connection for `get_peft_model`.

    r is the rank. From sparsity to mask_seed the options are those of solo.adapters.solo.Config,
    whose docstring explains them; an option left at None is as the variant has it. Raises
    ValueError, in one line, for a value that does not fit.
    """

    r: int = field(default=128, metadata={"help": "rank of the encoder and the decoder"})
    variant: str = "paper"
    sparsity: float = field(default=0.0, metadata={"help": "the MASKED fraction, in [0, 1)"})
    span: int = field(default=1, metadata={"help": "blocks that a connection goes around"})
    start: int | None = None
    stride: int | None = None
    reach: int | None = None
    trainable_matrices: bool = True
    homotopy: bool = True
    encoding: str | None = None
    vector_init: str | None = None
    lambda_init: float | None = None
    lambda_bounded: bool | None = None
    weight_init: str | None = None
    bias: bool | None = field(
        default=None, metadata={"help": "of the encoder and the decoder, not of the backbone"}
    )
    bias_init: str | None = None
    mask: str | None = None
    dropout: float | None = None
    mask_seed: int | None = None
    seed: int = field(default=0, metadata={"help": "of everything drawn at the start"})
    blocks: str | None = field(
        default=None,
        metadata={"help": "path of the list of blocks, where it is not found without"},
    )
    modules_to_save: list[str] | None = field(
        default=None, metadata={"help": "other modules to train in full and to save"}
    )
    target_modules: None = field(default=None, metadata={"help": "of peft; not used here"})
    backbone: dict | None = field(
        default=None,
        metadata={"help": "what it was attached to, and a checksum of its masks; filled in"},
    )

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = peft_type()
        check(self.target_modules is None, "SoloConfig: target_modules is not used; see blocks")
        check(
            not isinstance(self.modules_to_save, str),
            f"SoloConfig: modules_to_save is {self.modules_to_save!r}; it must be a list of names",
        )
        check(
            isinstance(self.seed, int) and not isinstance(self.seed, bool),
            f"SoloConfig: seed is {self.seed!r}; it must be a whole number",
        )
        if isinstance(self.backbone, _Noted):  # dataclasses.replace of one at work: a new adapter
            self.backbone = None
        self._saved = dict(self.backbone or {})  # no field: what came with a saved adapter
        self.adapter_config()

    def adapter_config(self) -> Config:
        """The same options as the adapter's own configuration, checked."""
        options = {f.name: getattr(self, f.name, None) for f in fields(Config)} | {"rank": self.r}
        try:
            return make_config({"name": "solo", **options})[1]
        except ValueError as error:
            text = str(error).replace("adapter.rank", "r").replace("adapter.", "")
            raise ValueError(f"SoloConfig: {text}") from None

    def check_backbone(self, found: dict) -> None:
        """Raise ValueError if the configuration was saved with an adapter of another backbone."""
        for name, value in found.items():
            saved = self._saved.get(name, value)
            check(
                saved == value,
                f"this adapter was made for a backbone with {name}={saved!r}, and this one has "
                f"{value!r}; load the backbone that it was trained on "
                f"({self.base_model_name_or_path or 'its name was not saved'}){NEW}",
            )

    def check_drawn(self, checksum: str) -> None:
        """Raise ValueError if the masks drawn now are not those that the saved adapter had."""
        check(
            self._saved.get("drawn_sha256", checksum) == checksum,
            "the masks of this adapter come out otherwise with these options and torch "
            f"{torch.__version__}; take r, sparsity, seed and mask_seed as they were saved, and "
            f"the version that it was trained with{NEW}",
        )

    def attached(self, backbone: dict) -> "SoloConfig":
        """This configuration, with `backbone` noted; a copy, if it is at work in another model."""
        config = self if self.backbone in (None, backbone) else replace(self, backbone=None)
        config.backbone = _Noted(backbone)
        return config
