"""A small GPT-2 with one adapter of Solo Connection, and with two."""

import pytest
from peft import get_peft_model

from solo.peft import SoloConfig
from tests.solo.peft.tiny import OTHER, SMALL


@pytest.fixture
def adapted(model):
    return get_peft_model(model, SoloConfig(**SMALL)).eval()


@pytest.fixture
def two(adapted):
    """With a second adapter, of another rank and span."""
    adapted.add_adapter("other", SoloConfig(**OTHER))
    return adapted.eval()
