"""The log: one JSON object a line on stderr."""

import asyncio
import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

from weir_kit import telemetry
from weir_kit.inbound import whereabouts


class JsonLines(logging.Formatter):
    """Time, level, logger, service, trace id and message.

    Of an exception it writes the type and the place, not the text, which may hold a client's.
    """

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "service": telemetry.current_service(),
            "trace_id": telemetry.current_trace_id(),
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[1] is not None:
            line["error"] = whereabouts(record.exc_info[1])
        return json.dumps({key: value for key, value in line.items() if value}, ensure_ascii=False)


def start_logging(level: str) -> None:
    """Log from `level` (`debug`, `info`, `warning`, `error`) on to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)


def log_lost_errors(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """For `loop.set_exception_handler`: errors of tasks that nobody awaits."""
    error = context.get("exception")
    # Not asyncio's message: it shows the task, and the task shows the error's text.
    where = whereabouts(error) if error is not None else context.get("message", "")
    logging.getLogger("asyncio").error("an error that nobody awaited: %s", where)
