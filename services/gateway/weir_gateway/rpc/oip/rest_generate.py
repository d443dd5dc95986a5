"""`POST /v2/models/{model}/generate` and `/generate_stream`, as Triton has them."""

from typing import Any

from weir_gateway.core.call import Call, Outcome, Piece, Started
from weir_gateway.core.catalogue import Catalogue
from weir_gateway.rpc.oip.rest_call import caller_of, model_of
from weir_gateway.rpc.oip.text_calls import TextCalls
from weir_gateway.rpc.oip.text_models import STREAM, TEXT_OUTPUT, TextAsked, read_text_asked
from weir_gateway.rpc.openai.answers import finding_json, to_json, usage_json, weir_json
from weir_gateway.rpc.openai.fields import Fields, parse_object
from weir_gateway.rpc.openai.http_call import HttpCall
from weir_gateway.rpc.openai.rate_limit import rate_limit_headers
from weir_gateway.rpc.openai.shape import Json
from weir_kit.errors import InvalidArgument


class GenerateHandlers:
    """Text in, text out; in the body each of a model's inputs is a field."""

    def __init__(self, texts: TextCalls, catalogue: Catalogue, timeout_s: float) -> None:
        self._texts = texts
        self._catalogue = catalogue
        self._timeout_s = timeout_s

    async def whole(self, http: HttpCall) -> None:
        """`/generate`: the text in one piece."""
        call, asked, head = await self._read(http, streamed=False)

        async def answer() -> None:
            completion = await self._texts.complete(call, asked.names)
            content = _text(head, completion.choices[0].text, call, completion.outcome)
            await http.answer(200, content, rate_limit_headers(completion.started.rate_limit))

        await http.within(self._timeout_s, answer())

    async def stream(self, http: HttpCall) -> None:
        """`/generate_stream`: the text as server-sent events, the last one with what it cost."""
        call, asked, head = await self._read(http, streamed=True)

        async def send(event: Started | Piece | Outcome) -> None:
            match event:
                case Started():
                    await http.begin_events(rate_limit_headers(event.rate_limit))
                case Piece():
                    await http.emit(to_json({**head, TEXT_OUTPUT: event.text}))
                case Outcome():
                    await http.emit(to_json(_text(head, "", call, event)), last=True)

        await http.within(self._timeout_s, self._texts.stream(call, asked.names, send))

    async def _read(self, http: HttpCall, *, streamed: bool) -> tuple[Call, TextAsked, Json]:
        """The call, how it was asked for, and what every answer begins with."""
        caller = caller_of(http, self._timeout_s)
        values = _values(parse_object(await http.body()), streamed=streamed)
        client_id = values.take("id")
        if client_id is not None and not isinstance(client_id, str):
            raise values.wrong("id", "must be a string")
        asked = read_text_asked(values)
        name, version = model_of(http)
        model = await http.while_connected(self._catalogue.generating(name))
        head: Json = {} if client_id is None else {"id": client_id}
        head |= {"model_name": name, "model_version": model.version if model else ""}
        return asked.call(name, version, caller), asked, head


def _values(body: dict[str, Any], *, streamed: bool) -> Fields:
    """Inputs, and `parameters` beside them, as one."""
    parameters = body.pop("parameters", None) or {}
    if not isinstance(parameters, dict):
        raise InvalidArgument("parameters must be an object", field="parameters")
    for name in parameters:
        if name in body:
            where = f"parameters.{name[:64]}"
            raise InvalidArgument(f"{where} is in the body too: send one", field=where)
    values = {**parameters, **body}
    if values.setdefault(STREAM, streamed) is not streamed:
        other = "generate" if streamed else "generate_stream"
        raise InvalidArgument(f"{STREAM} is as the path says; for the other: {other}", field=STREAM)
    return Fields(values)


def _text(head: Json, text: str, call: Call, outcome: Outcome) -> Json:
    return {
        **head,
        TEXT_OUTPUT: text,
        "finish_reason": outcome.finish.value,
        "usage": usage_json(outcome.usage),
        "weir": weir_json(call.request_id, outcome.cost, [*map(finding_json, outcome.findings)]),
    }
