"""The loss as CUDA graphs, one for each shape of a batch: a step without its launches.

A step of GPT-2 is some 800 short kernels. An H100 runs them in some 3 ms, and Python takes some 20
ms to launch them one by one. Recorded once, they are launched as one; torch's own
`make_graphed_callables` does that, forward and backward. What was recorded reads parameters where
they were then, so a change of those that are trained makes new graphs.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

from solo.training.batches import Batch

WARM_UP = 3  # runs before a recording, as torch advises
ROOM = 4  # times the gradients, which every graph holds for itself, that must be free for one more


class _Loss(nn.Module):
    """A loss as a module, in which torch finds the parameters that a recording has to know."""

    def __init__(self, model: nn.Module, loss_of: Callable[..., Tensor], kind: type):
        super().__init__()
        self.model, self.loss_of, self.kind = model, loss_of, kind

    def forward(self, *tensors: Tensor) -> Tensor:
        return self.loss_of(self.model, self.kind(*tensors))


def recorded(
    model: nn.Module, loss_of: Callable[[nn.Module, Batch], Tensor]
) -> Callable[[Batch], Tensor]:
    """`loss_of(model, batch)` as a function of the batch alone, whose shapes should be few.

    The model is on a CUDA device. What the function gives must be used before its next call. Where
    the device's memory is nearly full, or a recording finds too little, further shapes are not
    recorded, and slower.
    """
    # Recording runs on a stream of its own, once, which torch takes for a mistake.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    pool = torch.cuda.graph_pool_handle()  # the graphs run one at a time: they share their memory
    graphs: dict[tuple, nn.Module] = {}

    def loss(batch: Batch) -> Tensor:
        trained = [p.data_ptr() for p in model.parameters() if p.requires_grad]
        key = (type(batch), *(tensor.shape for tensor in batch), *trained)
        if key not in graphs:
            step = _Loss(model, loss_of, type(batch))
            if _has_room(model):
                try:
                    step = torch.cuda.make_graphed_callables(
                        step,
                        tuple(batch),
                        num_warmup_iters=WARM_UP,
                        allow_unused_input=True,
                        pool=pool,
                    )
                except RuntimeError as error:
                    # Leaving the recording raises a second error; the first is its __context__.
                    if not isinstance(error.__context__ or error, torch.OutOfMemoryError):
                        raise
                    torch.cuda.empty_cache()  # the step alone may do with what is free
            graphs[key] = step
        return graphs[key](*batch)

    return loss


def _has_room(model: nn.Module) -> bool:
    gradients = sum(p.nbytes for p in model.parameters() if p.requires_grad)
    return torch.cuda.mem_get_info(model.device)[0] > ROOM * gradients
