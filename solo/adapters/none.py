"""The bare backbone: nothing is trained. The floor of every table."""

from solo.adapters.base import NoOptions
from solo.adapters.shared.copies import TrainedCopies


class Bare(TrainedCopies):
    """The frozen backbone as it is."""

    label = "The backbone as it is"
    trains = "nothing"
    where = "–"
    count = "0"

    def __init__(self, model, config: NoOptions, seed: int):
        super().__init__(model, {})

    @staticmethod
    def n_params(shape, config: NoOptions) -> int:
        """Zero."""
        return 0
