"""The published charging rule, case by case."""

import pytest

from weir_gateway.core.call import Usage
from weir_gateway.core.charge import Ending, charged_usage

USED = Usage(input_tokens=10, cached_input_tokens=4, output_tokens=20)


@pytest.mark.parametrize(
    ("ending", "engine_started", "released_tokens", "charged"),
    [
        (Ending.FINISHED, True, 20, USED),
        (Ending.FINISHED, True, 0, USED),
        (Ending.DISCONNECTED, False, 0, None),
        (Ending.DISCONNECTED, True, 0, Usage(10, 4, 0)),
        (Ending.DISCONNECTED, True, 7, Usage(10, 4, 7)),
        (Ending.FAILED, False, 0, None),
        (Ending.FAILED, True, 0, None),
        (Ending.FAILED, True, 7, Usage(10, 4, 7)),
    ],
)
def test_each_ending_is_charged_as_published(
    ending: Ending, engine_started: bool, released_tokens: int, charged: Usage | None
) -> None:
    assert (
        charged_usage(
            ending,
            engine_started=engine_started,
            usage=USED,
            released_tokens=released_tokens,
        )
        == charged
    )
