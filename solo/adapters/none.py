"""The bare backbone: nothing is trained. The floor of every table."""

from solo.adapters.base import Method, NoOptions, check_free, freeze


class Bare(Method):
    """The frozen backbone as it is."""

    label = "The backbone as it is"
    trains = "nothing"
    where = "–"
    count = "0"
    cannot_merge = None

    def __init__(self, model, config: NoOptions, seed: int):
        check_free(model)
        self.frozen = freeze(model)
        super().__init__({})
        self.hooks = []

    def detach(self) -> None:
        for parameter in self.frozen:
            parameter.requires_grad_(True)

    @staticmethod
    def n_params(shape, config: NoOptions) -> int:
        """Zero."""
        return 0
