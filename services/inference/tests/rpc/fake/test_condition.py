"""The service is as well as its engine's steps go on."""

import math
from typing import Any

import pytest

from weir_kit.condition import Condition

FakeBench = Any


@pytest.mark.parametrize(
    ("stalled_s", "condition"),
    [
        (0.0, Condition.WELL),
        (8.9, Condition.WELL),
        (9.0, Condition.UNWELL),
        (29.9, Condition.UNWELL),
        (30.0, Condition.BROKEN),
        (math.inf, Condition.BROKEN),
    ],
)
async def test_a_step_that_does_not_end_is_told(
    fake: FakeBench, stalled_s: float, condition: Condition
) -> None:
    fake.engine.stalled = stalled_s
    assert fake.service.condition() is condition
    fake.engine.stalled = 0.0
    assert fake.service.condition() is Condition.WELL
