"""The bare backbone: nothing is trained. The floor of every table."""

from torch import nn

from solo.adapters.base import MODULE_NAME, Method, NoOptions, check_free, freeze, leave


class Bare(Method):
    """The frozen backbone as it is."""

    label = "The backbone as it is"
    trains = "nothing"
    where = "–"
    count = "0"
    cannot_merge = None

    def __init__(self, model, config: NoOptions, seed: int):
        check_free(model)
        self.model, self.mark, self.frozen = model, nn.Module(), freeze(model)
        model.add_module(MODULE_NAME, self.mark)
        super().__init__({})
        self.hooks = []

    def detach(self) -> None:
        leave(self.model, self.mark, self.frozen)

    @staticmethod
    def n_params(shape, config: NoOptions) -> int:
        """Zero."""
        return 0
