"""The log is JSON lines that never hold what an error says."""

import asyncio
import json
import logging

import pytest

from weir_kit import telemetry
from weir_kit.logs import JsonLines, log_lost_errors

CANARY = "4111-1111-1111-1111"


def record_of(error: BaseException | None = None) -> logging.LogRecord:
    info = None if error is None else (type(error), error, error.__traceback__)
    return logging.LogRecord("x", logging.ERROR, "f.py", 1, "it %s", ("failed",), info)


def test_a_line_says_where_in_which_trace() -> None:
    with telemetry.use_service("billing"), telemetry.span("root") as span:
        line = json.loads(JsonLines().format(record_of()))
    assert line["trace_id"] == span.context.trace_id
    assert (line["service"], line["level"], line["message"]) == ("billing", "error", "it failed")


def test_an_errors_text_stays_out() -> None:
    try:
        raise ValueError(CANARY)
    except ValueError as error:
        line = JsonLines().format(record_of(error))
    assert CANARY not in line
    assert "ValueError at" in json.loads(line)["error"]


async def test_an_error_that_nobody_awaited_is_logged_without_its_text(
    caplog: pytest.LogCaptureFixture,
) -> None:
    loop = asyncio.get_running_loop()
    error = ValueError(CANARY)
    log_lost_errors(loop, {"message": f"Task exception: {CANARY}", "exception": error})
    assert "ValueError" in caplog.text
    assert CANARY not in caplog.text
