"""A model's chat template: messages to the text that the model was trained on."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from jinja2 import nodes

from weir_kit.clock import Clock
from weir_kit.errors import InvalidArgument
from weir_tokenizer.adapters.template_sandbox import TemplateRefusal, TemplateSandbox

RENDERED_CHARACTERS_MAX = 4 << 20
NOTHING: Mapping[str, Any] = MappingProxyType({})


class ChatTemplate:
    """One compiled template. `special_tokens` are `bos_token`, `eos_token` and the like, by name.

    Raises jinja2.TemplateSyntaxError if the source is no template.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str], clock: Clock) -> None:
        self._sandbox = TemplateSandbox(clock)
        self._template = self._sandbox.from_string(source)
        self._special_tokens = dict(special_tokens)
        constants = self._sandbox.parse(source).find_all(nodes.Const)
        self._literals = {node.value for node in constants if isinstance(node.value, str)}

    def render(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        add_generation_prompt: bool,
        variables: Mapping[str, Any] = NOTHING,
    ) -> str:
        """The prompt. `variables` are more names for the template, such as `tools`.

        Raises InvalidArgument for the field `chat` if the template refuses the messages, fails on
        them, or writes or does too much.
        """
        names = {
            **self._special_tokens,
            "tools": None,
            "documents": None,
            **variables,
            "messages": list(messages),
            "add_generation_prompt": add_generation_prompt,
        }
        try:
            return self._render(names)
        except InvalidArgument:
            raise
        except (
            Exception
        ) as error:  # the template is the model publisher's program: it may raise anything
            # Not chained: a template's error may quote the messages.
            raise InvalidArgument(self._complaint(error), field="chat") from None

    def _render(self, names: Mapping[str, Any]) -> str:
        self._sandbox.budget.refill()
        pieces: list[str] = []
        n_characters = 0
        for piece in self._template.generate(names):
            n_characters += len(piece)
            if n_characters > RENDERED_CHARACTERS_MAX:
                raise InvalidArgument(
                    f"the rendered chat is longer than {RENDERED_CHARACTERS_MAX} characters",
                    field="chat",
                )
            pieces.append(piece)
        return "".join(pieces)

    def _complaint(self, error: Exception) -> str:
        """What to tell; a template's message only if it is a constant, as it may quote the chat."""
        if isinstance(error, TemplateRefusal) and error.message in self._literals:
            return f"the model's chat template refuses the conversation: {error.message}"
        if isinstance(error, TemplateRefusal):
            return "the model's chat template refuses the conversation"
        return f"the model's chat template cannot render the conversation ({type(error).__name__})"
