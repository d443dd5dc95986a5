"""How far the outputs of a request have come."""

from weir_gateway.core.call import Ended, Finding, Piece, Usage
from weir_gateway.core.charge import Ending, charged_usage


class Progress:
    """Takes note of pieces that are handed out; at first no output has any."""

    def __init__(self, input_tokens: int, n_outputs: int, *, streamed: bool) -> None:
        self._streamed = streamed
        self.engine_started = False
        self._newest: list[Piece] = [
            Piece("", 0, Usage(input_tokens), output=n) for n in range(n_outputs)
        ]
        self._findings: list[tuple[Finding, ...]] = [()] * n_outputs

    def count(self, piece: Piece) -> None:
        """A piece is handed out now."""
        self._newest[piece.output] = piece
        self._findings[piece.output] += piece.findings

    @property
    def usage(self) -> Usage:
        """The prompt's tokens, once, and those generated in all outputs."""
        usages = [piece.usage for piece in self._newest]
        return Usage(
            usages[0].input_tokens,
            max(usage.cached_input_tokens for usage in usages),
            sum(usage.output_tokens for usage in usages),
        )

    @property
    def released_tokens(self) -> int:
        """Tokens whose text has been handed out, in all outputs."""
        return sum(piece.released_tokens for piece in self._newest)

    def owed(self, ending: Ending) -> Usage | None:
        """What is charged if the request ends now."""
        return charged_usage(
            ending,
            engine_started=self.engine_started,
            usage=self.usage,
            # An answer that is not streamed is handed out at its end.
            released_tokens=self.released_tokens if self._streamed else 0,
        )

    def ended(self) -> tuple[Ended, ...]:
        """How the outputs ended; all of them have."""
        ends = []
        for piece, findings in zip(self._newest, self._findings, strict=True):
            assert piece.finish is not None
            ends.append(Ended(piece.finish, findings))
        return tuple(ends)
