"""Full fine-tuning: every parameter of the backbone is trained; the tied head counts once."""

from solo.adapters.base import NoOptions
from solo.adapters.shared.copies import TrainedCopies
from solo.backbones import backbone_of


class FullFineTuning(TrainedCopies):
    """Full fine-tuning, on copies of the weights, so that `detach` needs no reload."""

    label = "Full fine-tuning"
    trains = "everything"
    where = "everywhere"
    count = "all"

    def __init__(self, model, config: NoOptions, seed: int):
        super().__init__(model, dict(model.named_parameters()))  # the tied head appears once

    @staticmethod
    def n_params(shape, config: NoOptions) -> int:
        """Everything that the backbone has."""
        return backbone_of(shape).n_parameters(shape)
