"""A stream's events, put together."""

from weir.answers import Generation, generation_of
from weir_contracts.gateway.v1 import generation_pb2


class Telling:
    """Takes a stream's events, and has the generation when the last one came."""

    def __init__(self) -> None:
        self._started = generation_pb2.StreamStarted()
        self._texts: list[str] = []
        self._result: Generation | None = None

    @property
    def request_id(self) -> str:
        """The id that the request is known by; empty until it has started."""
        return self._started.request_id

    @property
    def result(self) -> Generation:
        """The whole generation. Raises `RuntimeError` before the stream has ended."""
        if self._result is None:
            raise RuntimeError("the stream has not ended; its result is there when it has")
        return self._result

    def take(self, event: generation_pb2.StreamGenerateResponse) -> str:
        """Take an event: its text, or an empty one."""
        match event.WhichOneof("event"):
            case "started":
                self._started = event.started
            case "delta":
                self._texts.append(event.delta.text)
                return event.delta.text
            case "finished":
                text = "".join(self._texts)
                self._result = generation_of(
                    self._started.request_id, self._started.model, text, event.finished
                )
        return ""
