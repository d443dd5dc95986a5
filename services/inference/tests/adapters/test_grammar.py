"""An output of allowed tokens matches its grammar, and may end only where it is whole."""

import json
import random
import re
import shutil
from functools import cache
from pathlib import Path

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from weir_inference.adapters import grammar as grammar_module
from weir_inference.adapters.grammar import GrammarCompiler
from weir_inference.core.grammar import Grammar, GrammarSpec
from weir_kit.errors import InvalidArgument, QueueFull

FOLDER = Path(__file__).parents[2] / "models" / "weir-tales"
VOCAB, EOS = 4096, 1
N_TOKENS_MAX = 60

SCHEMAS = [
    {"type": "integer", "minimum": -20, "maximum": 300},
    {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 4},
    {"enum": ["weir", "lock", 7, None]},
    {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[a-f]{2,5}$"}]},
    {
        "type": "object",
        "properties": {"depth": {"type": "number"}, "open": {"type": "boolean"}},
        "required": ["open"],
        "additionalProperties": False,
    },
    {"$ref": "#/$defs/a", "$defs": {"a": {"type": "array", "items": {"$ref": "#/$defs/a"}}}},
]
PATTERNS = [r"a+b?", r"(cat|dog)s? [0-9]{1,3}", r"[A-Za-z]{3,5}!", r"[^\n]{1,8}\.", r"é*x", r""]
LISTS = [("yes", "no"), ("a", "ab", "abc"), ('say "hi"\n', "é", "ünder the weir")]


@cache
def tokenizer() -> Tokenizer:
    return Tokenizer.from_file(str(FOLDER / "tokenizer.json"))


def tokens_of(mask: bytes | None) -> list[int]:
    bits = int.from_bytes(mask or b"", "little")
    return [token for token in range(VOCAB) if bits >> token & 1]


def ids_of(text: str) -> list[int]:
    ids: list[int] = tokenizer().encode(text, add_special_tokens=False).ids
    return ids


def text_of(output: list[int]) -> str:
    text: str = tokenizer().decode(output, skip_special_tokens=False)
    return text


def spec_of(schema: object) -> GrammarSpec:
    return GrammarSpec("json_schema", (json.dumps(schema),))


def walk(grammar: Grammar, choose: random.Random) -> tuple[list[int], bool]:
    """Allowed tokens at random, ending where that is allowed: the output, and whether it ended."""
    matcher, output = grammar.matcher(), list[int]()
    while len(output) < N_TOKENS_MAX:
        allowed = tokens_of(matcher.allowed(output))
        assert allowed
        if EOS in allowed and (allowed == [EOS] or choose.random() < 0.4):
            return output, True
        output.append(choose.choice([token for token in allowed if token != EOS]))
    return output, False


@pytest.fixture
def compiler() -> GrammarCompiler:
    return GrammarCompiler(FOLDER)


@pytest.mark.parametrize("schema", SCHEMAS, ids=str)
async def test_whatever_ends_matches_its_schema(
    compiler: GrammarCompiler, schema: dict[str, object]
) -> None:
    grammar = await compiler.compile(spec_of(schema))
    walks = [walk(grammar, random.Random(seed)) for seed in range(60)]
    for output, ended in walks:
        if ended:
            jsonschema.validate(json.loads(text_of(output)), schema)
    assert any(ended for _, ended in walks)


@pytest.mark.parametrize("pattern", PATTERNS)
async def test_whatever_ends_matches_its_regex_and_may_end_only_then(
    compiler: GrammarCompiler, pattern: str
) -> None:
    grammar = await compiler.compile(GrammarSpec("regex", (pattern,)))
    for seed in range(40):
        output, ended = walk(grammar, random.Random(seed))
        matcher = grammar.matcher()
        for n in range(len(output) + 1):
            may_end = EOS in tokens_of(matcher.allowed(output[:n]))
            text = text_of(output[:n])
            if "\ufffd" not in text:  # not between the bytes of a letter
                assert may_end == bool(re.fullmatch(pattern, text))
        assert not ended or re.fullmatch(pattern, text_of(output))


@pytest.mark.parametrize(
    ("json_text", "may_stand"),
    [
        ('{"depth":[1,2]}', True),
        ('{"depth": [1, 2]}', True),
        ('{ "depth" : [ 1 ] }', True),
        ('{"depth":  [1]}', False),
        ('{"depth":\n[1]}', False),
        ('{\t"depth":[1]}', False),
        (' {"depth":[1]}', False),
    ],
)
@pytest.mark.parametrize("schema", ["{}", "true", ' {"type": "object"}'])
async def test_json_has_one_blank_at_most_between_its_parts(
    compiler: GrammarCompiler, schema: str, json_text: str, may_stand: bool
) -> None:
    grammar = await compiler.compile(GrammarSpec("json_schema", (schema,)))
    matcher, output = grammar.matcher(), ids_of(json_text)
    stands = all(token in tokens_of(matcher.allowed(output[:n])) for n, token in enumerate(output))
    assert stands == may_stand


async def test_a_schema_may_ask_for_other_whitespace(compiler: GrammarCompiler) -> None:
    schema = {"type": "array", "x-guidance": {"whitespace_pattern": "[ \\n]*"}}
    output = ids_of("[\n 1]")
    matcher = (await compiler.compile(spec_of(schema))).matcher()
    for n, token in enumerate(output):
        assert token in tokens_of(matcher.allowed(output[:n]))


@pytest.mark.parametrize("texts", LISTS)
async def test_every_choice_is_reached_and_nothing_else(
    compiler: GrammarCompiler, texts: tuple[str, ...]
) -> None:
    grammar = await compiler.compile(GrammarSpec("choices", texts))
    walks = [walk(grammar, random.Random(seed)) for seed in range(80)]
    assert {text_of(output) for output, _ in walks} == set(texts)


async def test_a_lark_grammar_is_followed(compiler: GrammarCompiler) -> None:
    lark = 'start: "(" start ")" | "x"'
    grammar = await compiler.compile(GrammarSpec("lark", (lark,)))
    for seed in range(30):
        output, ended = walk(grammar, random.Random(seed))
        depth = text_of(output).count("(")
        assert not ended or text_of(output) == "(" * depth + "x" + ")" * depth


async def test_drafts_are_tried_and_undone(compiler: GrammarCompiler) -> None:
    grammar = await compiler.compile(spec_of(SCHEMAS[4]))

    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32), st.data())
    def check(seed: int, data: st.DataObject) -> None:
        output, _ = walk(grammar, random.Random(seed))
        other, _ = walk(grammar, random.Random(seed + 1))
        matcher = grammar.matcher()
        for _ in range(6):
            tokens = data.draw(st.sampled_from([output, other]))
            tokens = tokens[: data.draw(st.integers(0, len(tokens)))]
            tokens = tokens + data.draw(st.sampled_from([[], [EOS], [EOS, 5], [17]]))
            assert matcher.allowed(tokens) == grammar.matcher().allowed(tokens)

    check()


async def test_an_output_that_outgrows_its_grammar_is_cut_and_the_next_begins_anew(
    compiler: GrammarCompiler,
) -> None:
    # Whether the end is near hangs on each of the last 60 letters: many states to tell apart.
    spec = GrammarSpec("regex", ("(?s:.*)[aeiou](?s:.){60}[xyz](?s:.){60}!",))
    choose = random.Random(0)
    for _ in range(2):
        matcher, output = (await compiler.compile(spec)).matcher(), list[int]()
        while (mask := matcher.allowed(output)) is not None:
            output.append(choose.choice(tokens_of(mask)))
            assert len(output) < 200
        assert output
        assert matcher.allowed(output) is None


async def test_after_the_end_only_the_end_may_follow(compiler: GrammarCompiler) -> None:
    grammar = await compiler.compile(GrammarSpec("choices", ("yes",)))
    matcher, yes = grammar.matcher(), ids_of("yes")
    for output in ([*yes], [*yes, EOS], [*yes, EOS, EOS], [*yes, *yes]):
        assert tokens_of(matcher.allowed(output)) == [EOS]


@pytest.mark.parametrize(
    ("kind", "text", "reason"),
    [
        ("json_schema", '{"type": "zebra"}', "Invalid type"),
        ("json_schema", '{"type": zebra', "expected value"),
        ("json_schema", '"zebra"', "must be an object or boolean"),
        ("json_schema", '{"properties": {"zebra": {"not": {}}}}', '"not"'),
        ("json_schema", '{"$ref": "http://zebra.com/zebra"}', "Default retriever"),
        ("json_schema", '{"$ref": "#/zebra"}', "Pointer"),
        ("json_schema", '{"type": "string", "pattern": "zebra("}', "unclosed group"),
        ("json_schema", '{"type": "integer", "minimum": 5, "maximum": 2}', "greater than"),
        ("json_schema", '{"type": "string", "format": "zebra"}', "Unknown format"),
        ("regex", "zebra(", "unclosed group"),
        ("regex", "(?=zebra)", "is not supported"),
        ("regex", r"\p{Zebra}", "Unicode property not found"),
        ("lark", "start: zebra", "unknown name"),
        ("lark", 'zebra: "a"', "no start rule"),
        ("lark", 'start: "zebra" zebra (', "Expected"),
        ("lark", 'start: %json {"type": "zebra"}', "failed to compile JSON schema"),
        ("lark", "%import common.ZEBRA\nstart: ZEBRA", "Unknown common regex"),
    ],
)
async def test_a_wrong_grammar_is_refused_with_the_reason_but_not_the_text(
    compiler: GrammarCompiler, kind: str, text: str, reason: str
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await compiler.compile(GrammarSpec(kind, (text,)))
    assert refused.value.field == f"sampling.grammar.{kind}"
    assert reason in refused.value.message
    assert "zebra" not in refused.value.message.lower()


def chain(link: str, n: int) -> str:
    return "\n".join(link.format(i, i + 1) for i in range(n))


REFERENCES = ",".join(f'"{i}":{{"items":{{"$ref":"#/$defs/{i + 1}"}}}}' for i in range(1600))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("regex", "a{1000}{1000}"),
        ("regex", "a?" * 30_000),
        ("regex", "(" * 60_000),
        ("lark", "start: " + "(" * 60_000),
        ("regex", "(a|b*)" * 9000),
        ("json_schema", '{"not":' * 8000 + "{}" + "}" * 8000),
        ("json_schema", f'{{"$defs":{{{REFERENCES},"1600":{{}}}},"$ref":"#/$defs/0"}}'),
    ],
)
async def test_what_is_too_complex_is_refused(
    compiler: GrammarCompiler, kind: str, text: str
) -> None:
    with pytest.raises(InvalidArgument):
        await compiler.compile(GrammarSpec(kind, (text,)))


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("lark", chain("a{}: a{}", 5000) + '\na5000: "x"\nstart: a0'),
        ("lark", chain("A{}: A{}", 5000) + '\nA5000: "x"\nstart: A0'),
    ],
    ids=["rules", "terminals"],
)
async def test_rules_of_rules_do_not_overflow_the_stack(
    compiler: GrammarCompiler, kind: str, text: str
) -> None:
    grammar = await compiler.compile(GrammarSpec(kind, (text,)))
    walk(grammar, random.Random(0))


async def test_the_longest_choices_compile(compiler: GrammarCompiler) -> None:
    texts = tuple(
        f"{n * 7919 % 9973:04} is what the weir-keeper wrote into his book, day {n}"
        for n in range(1024)
    )
    await compiler.compile(GrammarSpec("choices", texts))


async def test_the_grammars_used_last_are_kept(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar_module, "COMPILED_MAX", 2)
    first, second, third = (GrammarSpec("regex", (text,)) for text in "abc")
    kept = await compiler.compile(first)
    dropped = await compiler.compile(second)
    assert await compiler.compile(first) is kept
    await compiler.compile(third)
    assert await compiler.compile(first) is kept
    assert await compiler.compile(second) is not dropped


async def test_a_grammar_that_takes_too_long_is_refused() -> None:
    compiler = GrammarCompiler(FOLDER, compile_s=0.0)
    with pytest.raises(InvalidArgument, match="to compile"):
        await compiler.compile(GrammarSpec("regex", ("a{1000}{1000}",)))


async def test_too_many_waiting_are_turned_away(
    compiler: GrammarCompiler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grammar_module, "WAITING_MAX", 0)
    with pytest.raises(QueueFull):
        await compiler.compile(GrammarSpec("regex", ("a",)))


async def test_a_model_without_a_tokenizer_says_so(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "config.json", tmp_path)
    with pytest.raises(InvalidArgument) as refused:
        await GrammarCompiler(tmp_path).compile(GrammarSpec("regex", ("a",)))
    assert refused.value.field == "sampling.grammar"
    assert "tokenizer.json" in refused.value.message
