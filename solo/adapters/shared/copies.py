"""Methods that train the backbone's own parameters."""

from collections.abc import Mapping

import torch
from torch import nn

from solo.adapters.base import MODULE_NAME, Method, check_free, freeze, leave, unfreeze


class TrainedCopies(Method):
    """Train `parameters` of the frozen model, as copies; `detach` puts the originals back."""

    cannot_merge = None

    def __init__(self, model: nn.Module, parameters: Mapping[str, nn.Parameter]):
        check_free(model)
        self.frozen, self.mark = freeze(model), nn.Module()
        model.add_module(MODULE_NAME, self.mark)  # empty: the sign that the model has a method
        self.model = model
        self.originals = {name: parameter.data for name, parameter in parameters.items()}
        self.gradients = {name: parameter.grad for name, parameter in parameters.items()}
        for parameter in parameters.values():
            parameter.grad = None  # one of before would count in the first step
            parameter.data = parameter.data.clone()
            parameter.requires_grad_(True)
        super().__init__(dict(parameters))

    def detach(self) -> None:
        self._leave()
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.data = self.originals[name].to(parameter)
        self._give_back_gradients()

    def merge(self) -> None:
        """What is trained is the backbone's already: nothing to fold, nothing left to train."""
        self._leave()
        self._give_back_gradients()

    def _leave(self) -> None:
        leave(self.model, self.mark, ())
        freeze(self.model)  # what was trained, too
        unfreeze(self.frozen)
        for parameter in self.parameters.values():
            parameter.grad = None

    def _give_back_gradients(self) -> None:
        """Those of before; the method's own would be added to in the model's next pass."""
        for name, parameter in self.parameters.items():
            gradient = self.gradients[name]
            parameter.grad = None if gradient is None else gradient.to(parameter)
