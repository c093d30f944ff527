"""BitFit (Ben Zaken et al., 2022, arXiv 2106.10199): only the biases are trained.

All of them: of the projections and of the norms, in every block and at the end. (Embeddings and
heads have none.)
"""

from solo.adapters.base import NoOptions
from solo.adapters.shared.copies import TrainedCopies
from solo.backbones import backbone_of
from solo.options import check


class BitFit(TrainedCopies):
    """Fine-tuning of the biases alone, on copies."""

    label = "BitFit"
    trains = "biases"
    where = "everywhere"
    count = "L(7d+h)+d"
    source = "arXiv 2106.10199"

    @classmethod
    def check_backbone(cls, shape, config: NoOptions) -> None:
        check(backbone_of(shape).n_biases(shape) > 0, "this backbone has no biases")

    def __init__(self, model, config: NoOptions, seed: int):
        biases = {name: p for name, p in model.named_parameters() if name.endswith(".bias")}
        super().__init__(model, biases)

    @staticmethod
    def n_params(shape, config: NoOptions) -> int:
        """The biases of projections and LayerNorms."""
        return backbone_of(shape).n_biases(shape)
