"""Choosing a learning rate, by validation loss alone: no test set, no scores."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Choice:
    """losses: mean validation loss over the seeds by rate, None where one did not train to its end.

    best: the rate with the lowest; at_edge: it is the lowest or highest of what was tried.
    """

    losses: dict[float, float | None]
    best: float
    at_edge: bool


def choose(losses: Mapping[float, Sequence[float | None]]) -> Choice:
    """The rate with the lowest mean validation loss (nats a token, one for each seed).

    A rate of which some seed has none (it diverged) is out. Raises ValueError if all are.
    """
    means = {
        rate: None if None in of_seeds or not of_seeds else statistics.fmean(of_seeds)
        for rate, of_seeds in sorted(losses.items())
    }
    candidates = [rate for rate, mean in means.items() if mean is not None]
    if not candidates:
        raise ValueError(
            f"no rate of {', '.join(f'{rate:g}' for rate in means)} trained to its end; try lower "
            "ones"
        )
    best = min(candidates, key=means.get)
    return Choice(means, best, at_edge(best, means))


def at_edge(best: float, tried: Iterable[float]) -> bool:
    """Whether a rate is the lowest or the highest of those tried."""
    tried = [*tried]
    return best in (min(tried), max(tried))
