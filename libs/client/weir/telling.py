"""A stream's events, put together."""

from weir.answers import Generation, Piece, generation_of, piece_of
from weir_contracts.gateway.v1 import generation_pb2


class Telling:
    """Takes a stream's events, and has the generation when the last one came."""

    def __init__(self) -> None:
        self._started = generation_pb2.StreamStarted()
        self._deltas: list[generation_pb2.StreamDelta] = []
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

    def take(self, event: generation_pb2.StreamGenerateResponse) -> Piece | None:
        """Take an event: its piece, if it has one."""
        match event.WhichOneof("event"):
            case "started":
                self._started = event.started
            case "delta":
                self._deltas.append(event.delta)
                return piece_of(event.delta)
            case "finished":
                self._result = self._generation(event.finished)
        return None

    def _generation(self, result: generation_pb2.GenerationResult) -> Generation:
        """The result, with the texts and tokens that the deltas had."""
        for delta in self._deltas:
            choice = result.choices[delta.choice]
            choice.logprobs.extend(delta.logprobs)
        for index, choice in enumerate(result.choices):
            choice.text = "".join(delta.text for delta in self._deltas if delta.choice == index)
        return generation_of(
            generation_pb2.GenerateResponse(
                request_id=self._started.request_id, model=self._started.model, result=result
            )
        )
