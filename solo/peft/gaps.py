"""What peft has no place for, and what stands in for it.

- **The kind of method.** `register_peft_method` takes only members of peft's enum PeftType, which
  lists the methods that peft ships. So the enum gets one more member.
- **After a step of the optimizer** peft calls nothing, but lambda has to come back to [0, 1]. That
  happens before each forward pass and when the adapter is saved: nothing in between uses it.
- **A method whose parts are no layers.** peft replaces layers; a connection goes around blocks. So
  one layer of peft's, beside the list of blocks, holds all connections and acts through hooks.
"""

import peft
import transformers
from packaging.version import Version
from peft import PeftType
from peft.utils import register_peft_method

NAME = "SOLO"
NEEDED = {"peft": "0.21.2", "transformers": "5.23.0"}  # tested; older ones call hooks elsewhere


def check_versions() -> None:
    """Raise ImportError if peft or transformers is older than this package was tested with."""
    for package in (peft, transformers):
        name, found = package.__name__, package.__version__
        if Version(found) < Version(NEEDED[name]):
            raise ImportError(
                f"solo.peft needs {name} >= {NEEDED[name]}, this is {found}; "
                f"pip install -U '{name}>={NEEDED[name]}'"
            )


def peft_type() -> PeftType:
    """The member of PeftType that stands for Solo Connection, made on first use."""
    if NAME not in PeftType.__members__:
        member = str.__new__(PeftType, NAME)
        member._name_ = member._value_ = NAME
        member._sort_order_ = len(PeftType)
        setattr(PeftType, NAME, member)
        PeftType._member_names_.append(NAME)
        PeftType._member_map_[NAME] = PeftType._value2member_map_[NAME] = member
    return PeftType(NAME)


def register(config: type, tuner: type) -> None:
    """Make the method known to peft."""
    register_peft_method(name=peft_type().lower(), config_cls=config, model_cls=tuner)
