"""The learning rate with the lowest validation loss."""

import pytest

from solo.runs.rates import choose


def test_the_lowest_mean_over_the_seeds():
    choice = choose({1e-3: [2.0, 4.0], 1e-4: [2.9, 2.9], 1e-2: [1.0, None]})
    assert choice.losses == {1e-4: 2.9, 1e-3: 3.0, 1e-2: None}
    assert choice.best == 1e-4 and choice.at_edge
    assert not choose({1: [3.0], 2: [1.0], 3: [2.0]}).at_edge


def test_a_rate_that_diverged_is_no_candidate_but_an_edge():
    choice = choose({1: [3.0], 2: [1.0], 3: [None]})
    assert choice.best == 2 and not choice.at_edge  # beyond it training fails: it is inside


def test_nothing_trained_to_its_end():
    with pytest.raises(ValueError, match="no rate of 1, 2 trained to its end; try lower ones"):
        choose({1.0: [None], 2.0: []})
