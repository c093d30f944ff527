"""The blocks of a backbone, compiled by torch one by one.

They are alike, so that two compilations serve them all, with and without gradients: a fraction of
what the whole step takes, and nearly all that there is to gain, since what is around the blocks is
few operations. Methods whose blocks differ in Python (InjectLoR2C: which have LoRA) need more, up
to torch's limit of eight; the remaining blocks stay uncompiled. docs/speed_notes.md: what it gains.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from solo.backbones import blocks_of


@contextmanager
def compiled_blocks(model: nn.Module) -> Iterator[Callable[[Callable], Callable]]:
    """Within: a function that gives a function of the model with its blocks compiled.

    Other functions of the model are as they were, which makes the two comparable.
    """
    compiled = {block: torch.compile(block.forward, dynamic=True) for block in blocks_of(model)}

    def of(function: Callable) -> Callable:
        def with_compiled(*args):
            for block, forward in compiled.items():
                block.forward = forward
            try:
                return function(*args)
            finally:
                for block in compiled:
                    del block.forward

        return with_compiled

    try:
        yield of
    finally:
        torch.compiler.reset()  # or those of a process's next runs would count as recompilations
