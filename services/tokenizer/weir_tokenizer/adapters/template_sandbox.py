"""The Jinja environment for chat templates: what they expect to find, and bounds on what they do.

A template comes with a model, so it is somebody else's program. The sandbox keeps it from Python's
inside; beyond that every loop turn and macro call takes a step from a budget, and products are
bounded. A hostile template can still waste memory: load models that you trust.
"""

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from jinja2 import nodes
from jinja2.exceptions import SecurityError, TemplateError
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Context
from jinja2.sandbox import ImmutableSandboxedEnvironment
from jinja2.utils import Namespace
from jinja2.visitor import NodeTransformer

from weir_kit.clock import Clock

STEPS_MAX = 200_000
PRODUCT_LENGTH_MAX = 100_000
EXPONENT_MAX = 64


class TemplateRefusal(TemplateError):
    """The template called `raise_exception`."""


class StepBudget(Extension):
    """Counts the steps of the rendering that runs in this thread."""

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._thread = threading.local()

    def refill(self) -> None:
        """Begin a rendering."""
        self._thread.left = STEPS_MAX

    def step(self) -> None:
        """Called from the template, once a loop turn or macro call."""
        self._thread.left -= 1
        if self._thread.left < 0:
            raise SecurityError(f"a chat template may take {STEPS_MAX} steps")

    def step_node(self, lineno: int) -> nodes.ExprStmt:
        """The statement that calls `step`; no name of the template can stand in its way."""
        return nodes.ExprStmt(self.call_method("step", lineno=lineno), lineno=lineno)


class GenerationBlock(Extension):
    """`{% generation %}` marks the assistant's text for training; here it is just its body."""

    tags = {"generation"}  # noqa: RUF012 (jinja declares it so)

    def parse(self, parser: Parser) -> nodes.Node:
        """The body, in a scope of its own."""
        lineno = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.Scope(body, lineno=lineno)


class TemplateSandbox(ImmutableSandboxedEnvironment):
    """Set up as the transformers library sets it up, so that templates render to the same text."""

    intercepted_binops = frozenset({"*", "**"})

    def __init__(self, clock: Clock) -> None:
        super().__init__(
            trim_blocks=True,
            lstrip_blocks=True,
            extensions=[StepBudget, GenerationBlock, loopcontrols],
        )
        self._clock = clock
        self.filters["tojson"] = _tojson
        del self.globals["lipsum"]
        self.globals["dict"] = _dict
        self.globals["namespace"] = _PlainNamespace
        self.globals["raise_exception"] = _raise_exception
        self.globals["strftime_now"] = self._strftime_now

    @property
    def budget(self) -> StepBudget:
        """The budget to refill before a rendering."""
        budget = self.extensions[StepBudget.identifier]
        assert isinstance(budget, StepBudget)
        return budget

    def call_binop(self, context: Context, operator: str, left: Any, right: Any) -> Any:
        """Multiply and raise within bounds; jinja calls this for the operators above."""
        if operator == "**" and not (
            _small(left, PRODUCT_LENGTH_MAX) and _small(right, EXPONENT_MAX)
        ):
            raise SecurityError("a power in a chat template is too large")
        for one, other in ((left, right), (right, left)):
            long = hasattr(one, "__len__") and isinstance(other, int)
            if long and len(one) * other > PRODUCT_LENGTH_MAX:
                raise SecurityError("a repetition in a chat template is too long")
        return super().call_binop(context, operator, left, right)

    def _parse(self, source: str, name: str | None, filename: str | None) -> nodes.Template:
        tree = super()._parse(source, name, filename)
        _Stepping(self.budget.step_node).visit(tree)
        return tree

    def _strftime_now(self, format: str) -> str:
        return datetime.fromtimestamp(self._clock.now_s(), UTC).strftime(format)


class _Stepping(NodeTransformer):
    """Puts a step at the head of every body that can run more than once."""

    def __init__(self, step: Callable[[int], nodes.ExprStmt]) -> None:
        self._step = step

    def visit_For(self, node: nodes.For) -> nodes.For:
        self.generic_visit(node)
        node.body.insert(0, self._step(node.lineno))
        return node

    def visit_Macro(self, node: nodes.Macro) -> nodes.Macro:
        self.generic_visit(node)
        node.body.insert(0, self._step(node.lineno))
        return node

    def visit_CallBlock(self, node: nodes.CallBlock) -> nodes.CallBlock:
        self.generic_visit(node)
        node.body.insert(0, self._step(node.lineno))
        return node


class _PlainNamespace(Namespace):
    """Jinja's namespace without names that Python gives a meaning to."""

    def __setitem__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            raise SecurityError("a chat template may not set names that begin with an underscore")
        super().__setitem__(name, value)


def _small(number: object, limit: int) -> bool:
    return isinstance(number, int | float) and abs(number) <= limit


def _dict(*args: Any, **kwargs: Any) -> dict[Any, Any]:
    return dict(*args, **kwargs)


def _raise_exception(message: str) -> None:
    raise TemplateRefusal(message)


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Jinja's own filter escapes HTML; a prompt is no page."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )
