"""How a body steers the engine: OpenAI's fields, and vLLM's for what OpenAI has none."""

import json
from typing import Any

from weir_gateway.core.limits import INT32_MAX, UINT32_MAX, UINT64_MAX
from weir_gateway.core.sampling import Grammar, GrammarKind, Priority, Sampling
from weir_gateway.rpc.openai.fields import Fields

SEED_MIN = -(2**63)  # OpenAI's seeds are signed; ours are the same 64 bits
ANY_OBJECT = '{"type":"object"}'


def read_sampling(fields: Fields) -> tuple[Sampling, str]:
    """How to choose tokens, and the name of the field that had the grammar."""
    seed = fields.integer("seed", SEED_MIN, UINT64_MAX)
    grammar, grammar_field = _grammar(fields)
    sampling = Sampling(
        temperature=fields.number("temperature"),
        top_p=fields.number("top_p"),
        top_k=fields.integer("top_k", 0, INT32_MAX),
        min_p=fields.number("min_p"),
        seed=None if seed is None else seed & UINT64_MAX,
        repetition_penalty=fields.number("repetition_penalty"),
        presence_penalty=fields.number("presence_penalty"),
        frequency_penalty=fields.number("frequency_penalty"),
        logit_bias=_logit_bias(fields),
        stop_token_ids=_stop_token_ids(fields),
        ignore_eos=fields.flag("ignore_eos"),
        grammar=grammar,
    )
    return sampling, grammar_field


def read_priority(fields: Fields) -> Priority:
    """`high`, `normal` or `low`; normal if it is absent."""
    value = fields.text("priority")
    if value is None:
        return Priority.NORMAL
    if value not in list(Priority):
        raise fields.wrong("priority", f"must be one of {', '.join(Priority)}")
    return Priority(value)


def _logit_bias(fields: Fields) -> tuple[tuple[int, float], ...]:
    """An object: token ids, as JSON's names are strings, to numbers."""
    value = fields.take("logit_bias") or {}
    if not isinstance(value, dict):
        raise fields.wrong("logit_bias", "must be an object of token ids and numbers")
    biases = []
    for token_id, bias in value.items():
        if not (
            token_id.isascii() and token_id.isdigit() and len(token_id) <= len(str(UINT32_MAX))
        ):
            raise fields.wrong("logit_bias", "must have token ids for names")
        if type(bias) not in (int, float) or not -100 <= bias <= 100:
            raise fields.wrong("logit_bias", "must have numbers between -100 and 100")
        biases.append((int(token_id), float(bias)))
    return tuple(biases)


def _stop_token_ids(fields: Fields) -> tuple[int, ...]:
    value = fields.take("stop_token_ids") or []
    if not isinstance(value, list) or not all(type(token_id) is int for token_id in value):
        raise fields.wrong("stop_token_ids", "must be a list of token ids")
    return tuple(value)


def _grammar(fields: Fields) -> tuple[Grammar | None, str]:
    formatted = _response_format(fields)
    structured = _structured_outputs(fields)
    if formatted is not None and structured is not None:
        raise fields.wrong("structured_outputs", "and response_format say the same: send one")
    name = "response_format" if structured is None else "structured_outputs"
    return (formatted if structured is None else structured), name


def _response_format(fields: Fields) -> Grammar | None:
    """OpenAI's: `text`, `json_object`, `json_schema`."""
    wanted = fields.object("response_format")
    if wanted is None:
        return None
    grammar = None
    match wanted.text("type"):
        case "text":
            pass
        case "json_object":
            grammar = Grammar(GrammarKind.JSON_SCHEMA, (ANY_OBJECT,))
        case "json_schema":
            given = wanted.object("json_schema")
            if given is None:
                raise wanted.wrong("json_schema", "is missing")
            grammar = _json_schema(given, "schema", given.take("schema"))
            given.refuse_rest(frozenset({"name", "description", "strict"}), {})
        case _:
            raise wanted.wrong("type", "must be one of text, json_object, json_schema")
    wanted.refuse_rest(frozenset(), {})
    return grammar


def _structured_outputs(fields: Fields) -> Grammar | None:
    """vLLM's: one of `json`, `regex`, `choice`, `grammar`, `json_object`."""
    wanted = fields.object("structured_outputs")
    if wanted is None:
        return None
    grammars = []
    if (schema := wanted.take("json")) is not None:
        grammars.append(_json_schema(wanted, "json", schema))
    if (regex := wanted.text("regex")) is not None:
        grammars.append(Grammar(GrammarKind.REGEX, (regex,)))
    if (lark := wanted.text("grammar")) is not None:
        grammars.append(Grammar(GrammarKind.LARK, (lark,)))
    if (texts := wanted.take("choice")) is not None:
        if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
            raise wanted.wrong("choice", "must be a list of strings")
        choices = tuple(wanted.checked("choice", text) for text in texts)
        grammars.append(Grammar(GrammarKind.CHOICES, choices))
    if wanted.flag("json_object"):
        grammars.append(Grammar(GrammarKind.JSON_SCHEMA, (ANY_OBJECT,)))
    wanted.refuse_rest(frozenset(), {})
    if len(grammars) != 1:
        raise fields.wrong(
            "structured_outputs", "must have one of json, regex, choice, grammar, json_object"
        )
    return grammars[0]


def _json_schema(fields: Fields, name: str, schema: Any) -> Grammar:
    """A schema, as an object or, as vLLM takes it too, as JSON text."""
    if isinstance(schema, dict | bool):
        schema = json.dumps(schema, ensure_ascii=False, separators=(",", ":"))
    if not isinstance(schema, str):
        raise fields.wrong(name, "must be a JSON schema")
    return Grammar(GrammarKind.JSON_SCHEMA, (fields.checked(name, schema),))
