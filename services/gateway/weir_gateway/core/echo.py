"""The prompt, given before the output as the beginning of the same text."""

from dataclasses import dataclass, field

from weir_gateway.core.call import Call, Prompt
from weir_gateway.core.logprob import Scored
from weir_gateway.core.ports import Delta
from weir_kit.errors import Internal


@dataclass(frozen=True)
class Echo:
    """What is given, and whether the engine was asked to score it. Screened as output is."""

    text: str = field(repr=False)
    first_token_id: int = field(repr=False)
    is_scored: bool

    def is_due(self, delta: Delta) -> bool:
        """Whether the prompt goes out before this delta. Raises `Internal` if it came too late."""
        if not self.is_scored or delta.prompt_scored is not None:
            return True
        if delta.token_ids or delta.finish is not None:
            raise Internal("the engine generated before it scored the prompt")
        return False

    def scored(self, delta: Delta) -> tuple[Scored, ...]:
        """The prompt's tokens, if they were to be scored; nothing precedes the first."""
        if delta.prompt_scored is None:
            return ()
        return (Scored(self.first_token_id, None), *delta.prompt_scored)


def echo_of(call: Call, prompt: Prompt) -> Echo | None:
    """What is echoed of a prompt as the engine reads it: redacted, where a rule redacted it."""
    if not call.echo:
        return None
    return Echo(prompt.text, prompt.token_ids[0], call.top_logprobs is not None)
