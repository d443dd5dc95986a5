"""Grammars by llguidance (guidance-ai/llguidance): which tokens an output may go on with."""

import asyncio
import json
import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path

import llguidance

from weir_inference.adapters.engines.torch.model_config import ModelConfig
from weir_inference.adapters.grammar_error import reason_of
from weir_inference.core.grammar import Grammar, GrammarSpec, Matcher
from weir_kit.errors import InvalidArgument, QueueFull

log = logging.getLogger(__name__)

COMPILE_S = 5.0
COMPILING_MAX = 2
WAITING_MAX = 64
COMPILED_MAX = 128
# llguidance recurses over rules that name rules: 64 KiB of them overflow 8 MiB, and that would end
# the process. What is not touched of a stack takes no memory.
STACK_BYTES = 256 * 2**20
# One blank at most, where JSON may have any: else a small model fills its answer with line breaks.
# A schema's own `x-guidance` goes before.
JSON_WHITESPACE = " "


class GrammarCompiler:
    """Compiles grammars for the vocabulary of a model's folder, and keeps those used last.

    `compile_s` bounds a compilation, in seconds. Used by one event loop.
    """

    def __init__(self, folder: Path, compile_s: float = COMPILE_S) -> None:
        self._folder = folder
        self._compile_s = compile_s
        self._tokenizer: llguidance.LLTokenizer | None = None
        self._tokenizer_lock = threading.Lock()
        self._compiled: OrderedDict[GrammarSpec, LlguidanceGrammar] = OrderedDict()
        self._turns = asyncio.Semaphore(COMPILING_MAX)
        self._n_waiting = 0

    async def compile(self, spec: GrammarSpec) -> Grammar:
        """A grammar ready for use, compiled on a thread of its own.

        The caller bounds the size of `spec`. Raises `InvalidArgument` (field
        `sampling.grammar.<kind>`) for one that is wrong or takes too long, `InvalidArgument` (field
        `sampling.grammar`) where the model has no tokenizer.json, `QueueFull` while too many wait.
        """
        grammar = self._compiled.get(spec)
        if grammar is None or grammar.outgrown:
            grammar = await self._compile(spec)
        self._compiled[spec] = grammar
        self._compiled.move_to_end(spec)
        if len(self._compiled) > COMPILED_MAX:
            self._compiled.popitem(last=False)
        return grammar

    async def _compile(self, spec: GrammarSpec) -> "LlguidanceGrammar":
        if not (self._folder / "tokenizer.json").is_file():
            raise InvalidArgument(
                "this model's folder has no tokenizer.json: it cannot follow a grammar",
                field="sampling.grammar",
            )
        if self._n_waiting >= WAITING_MAX:
            raise QueueFull("too many grammars are being compiled", retry_after_s=1.0)
        self._n_waiting += 1
        try:
            await self._turns.acquire()
        finally:
            self._n_waiting -= 1
        # The turn ends with the thread, not with the wait for it.
        compiling = asyncio.wrap_future(self._start(spec))
        compiling.add_done_callback(lambda _: self._turns.release())
        await asyncio.wait({compiling}, timeout=self._compile_s)
        field = f"sampling.grammar.{spec.kind}"
        if not compiling.done():
            raise InvalidArgument(
                f"the grammar takes more than {self._compile_s:g} s to compile", field=field
            )
        compiled = compiling.result()
        if isinstance(compiled, str):
            raise InvalidArgument(reason_of(compiled, spec.texts), field=field)
        return compiled

    def _start(self, spec: GrammarSpec) -> "Future[LlguidanceGrammar | str]":
        """Begin on a new thread: the grammar, or what llguidance says is wrong with it."""
        result: Future[LlguidanceGrammar | str] = Future()

        def work() -> None:
            result.set_running_or_notify_cancel()
            try:
                result.set_result(self._build(spec))
            except BaseException as error:
                result.set_exception(error)

        thread = threading.Thread(target=work, name="grammar", daemon=True)
        usual = threading.stack_size(STACK_BYTES)
        try:
            thread.start()
        finally:
            threading.stack_size(usual)
        return result

    def _build(self, spec: GrammarSpec) -> "LlguidanceGrammar | str":
        tokenizer = self._load_tokenizer()
        try:
            text = _grammar_text(spec)
        except ValueError as error:
            return str(error)
        prototype = llguidance.LLMatcher(tokenizer, text, log_level=0, limits=_limits())
        # What is too complex shows with the first masks, whose work all outputs share: a limit that
        # the first one passes stops the second.
        for _ in range(2):
            if prototype.is_error():
                return prototype.get_error()
            first = prototype.deep_copy()
            first.compute_bitmask()
            if first.is_error():
                return first.get_error()
        return LlguidanceGrammar(prototype, tokenizer.eos_tokens)

    def _load_tokenizer(self) -> llguidance.LLTokenizer:
        with self._tokenizer_lock:
            if self._tokenizer is None:
                self._tokenizer = llguidance.LLTokenizer(
                    (self._folder / "tokenizer.json").read_text(encoding="utf-8"),
                    eos_token=list(ModelConfig.load(self._folder).eos_token_ids) or None,
                )
            return self._tokenizer


class LlguidanceGrammar:
    """A compiled grammar: a matcher at its start, to be copied.

    What copies learn of it they share, and with it llguidance's limits: where one has outgrown
    them, none goes on.
    """

    def __init__(self, start: llguidance.LLMatcher, eos_token_ids: Sequence[int]) -> None:
        self.outgrown = False
        self._start = start
        mask = sum(1 << token_id for token_id in set(eos_token_ids))
        self._only_eos = mask.to_bytes(mask.bit_length() // 8 + 1, "little")

    def matcher(self) -> Matcher:
        """A matcher for a new output."""
        return LlguidanceMatcher(self, self._start.deep_copy(), self._only_eos)


class LlguidanceMatcher:
    """Where one output stands. Tokens that an earlier call had and a later one has not are undone.

    So drafts can be tried. Where the output left the grammar, as after the end-of-text token, only
    that token may follow.
    """

    def __init__(
        self, grammar: LlguidanceGrammar, matcher: llguidance.LLMatcher, only_eos: bytes
    ) -> None:
        self._grammar = grammar
        self._matcher = matcher
        self._only_eos = only_eos
        self._consumed: list[int] = []

    def allowed(self, output: Sequence[int]) -> bytes | None:
        """See `Matcher`; bits beyond the tokenizer's vocabulary may be missing."""
        if self._matcher.is_error():
            return None
        self._follow(list(output))
        mask = self._matcher.compute_bitmask()
        if self._matcher.is_error():
            log.warning("an output has outgrown the limits of its grammar, and is cut off")
            self._grammar.outgrown = True
            return None
        return mask if len(self._consumed) == len(output) else self._only_eos

    def _follow(self, output: list[int]) -> None:
        """Consume what of `output` is new and in the grammar, undo what is no longer in it."""
        n_same = len(self._consumed)
        if output[:n_same] != self._consumed:
            pairs = zip(self._consumed, output, strict=False)
            n_same = next((n for n, (old, new) in enumerate(pairs) if old != new), len(output))
            self._matcher.rollback(len(self._consumed) - n_same)
        n_new = self._matcher.try_consume_tokens(output[n_same:])
        self._consumed = output[: n_same + n_new]


def _grammar_text(spec: GrammarSpec) -> str:
    match spec.kind:
        case "json_schema":
            return _json_grammar_text(spec.texts[0])
        case "regex":
            return llguidance.LLMatcher.grammar_from_regex(spec.texts[0])
        case "lark":
            return llguidance.LLMatcher.grammar_from_lark(spec.texts[0])
        case "choices":
            return llguidance.grammar_from("choice", json.dumps(spec.texts))
        case kind:
            raise AssertionError(f"no such kind of grammar: {kind}")


def _json_grammar_text(schema: str) -> str:
    """llguidance takes options with an object only; of what is none it says what is wrong."""
    if schema.strip() == "true":
        schema = "{}"
    if not schema.lstrip().startswith("{"):
        return llguidance.LLMatcher.grammar_from_json_schema(schema)
    return llguidance.LLMatcher.grammar_from_json_schema(
        schema, defaults={"whitespace_pattern": JSON_WHITESPACE}
    )


def _limits() -> llguidance.LLParserLimits:
    """Tighter than llguidance's own: a step's mask stays in tens of ms, a grammar in tens of MB."""
    return llguidance.LLParserLimits(
        initial_lexer_fuel=50_000,
        step_lexer_fuel=20_000,
        max_lexer_states=25_000,
        max_grammar_size=100_000,
        verbose_errors=False,
    )
