"""Solo Connection as a method of the peft library: importing this makes it known to peft.

    import solo.peft
    from peft import get_peft_model

    model = get_peft_model(model, solo.peft.SoloConfig(r=128, sparsity=0.4))

From there on everything is peft's. A process that loads a saved adapter has to import this too.
"""

from solo.peft.gaps import check_versions, register

check_versions()

from solo.peft.config import SoloConfig  # noqa: E402
from solo.peft.tuner import SoloModel  # noqa: E402

register(SoloConfig, SoloModel)

__all__ = ["SoloConfig", "SoloModel"]
