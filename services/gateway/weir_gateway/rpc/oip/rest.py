"""The Open Inference Protocol over HTTP: `/v2`."""

from collections.abc import Iterable

from starlette.routing import Route

from weir_contracts.oip.v2 import inference_pb2 as pb
from weir_gateway.core.ports import Readiness
from weir_gateway.rpc.oip.calls import OipCalls
from weir_gateway.rpc.oip.rest_call import caller_of, key_of, model_of, oip_error_json
from weir_gateway.rpc.oip.rest_codec import LENGTH_HEADER, read_request, write_response
from weir_gateway.rpc.oip.rest_generate import GenerateHandlers
from weir_gateway.rpc.oip.tensor_catalogue import TensorCatalogue
from weir_gateway.rpc.openai.endpoint import Endpoint, Handler
from weir_gateway.rpc.openai.http_call import ITEMS_BODY_BYTES_MAX, HttpCall
from weir_gateway.rpc.openai.rate_limit import rate_limit_headers
from weir_gateway.rpc.openai.shape import Json
from weir_kit.ids import Ids

MODEL = "/v2/models/{model:path}"
VERSION = "/versions/{version}"
JSON = "application/json"
BINARY = "application/octet-stream"


def oip_routes(
    calls: OipCalls,
    generate: GenerateHandlers,
    models: TensorCatalogue,
    readiness: Readiness,
    *,
    ids: Ids,
    timeout_s: float,
) -> list[Route]:
    """The routes. A model's name may have slashes: what follows it is looked for first."""
    server, of_model = ServerHandlers(models, readiness), ModelHandlers(calls, models, timeout_s)
    routes = [
        _route("GET", "/v2", server.metadata, ids),
        _route("GET", "/v2/health/live", server.live, ids),
        _route("GET", "/v2/health/ready", server.ready, ids),
    ]
    of_each = (
        ("POST", "/infer", of_model.infer),
        ("POST", "/generate", generate.whole),
        ("POST", "/generate_stream", generate.stream),
        ("GET", "/ready", of_model.ready),
        ("GET", "", of_model.metadata),
    )
    for method, end, handler in of_each:
        routes.append(_route(method, MODEL + VERSION + end, handler, ids))
    for method, end, handler in of_each:
        routes.append(_route(method, MODEL + end, handler, ids))
    return routes


class ServerHandlers:
    """What needs no key."""

    def __init__(self, models: TensorCatalogue, readiness: Readiness) -> None:
        self._models = models
        self._readiness = readiness

    async def metadata(self, http: HttpCall) -> None:
        """`GET /v2`."""
        server = self._models.server()
        content = {
            "name": server.name,
            "version": server.version,
            "extensions": [*server.extensions],
        }
        await http.answer(200, content)

    async def live(self, http: HttpCall) -> None:
        """`GET /v2/health/live`."""
        await http.answer(200, {"live": True})

    async def ready(self, http: HttpCall) -> None:
        """`GET /v2/health/ready`: every peer serves, or 503."""
        ready = all((await self._readiness.peers()).values())
        await http.answer(200 if ready else 503, {"ready": ready})


class ModelHandlers:
    """What is about one model."""

    def __init__(self, calls: OipCalls, models: TensorCatalogue, timeout_s: float) -> None:
        self._calls = calls
        self._models = models
        self._timeout_s = timeout_s

    async def metadata(self, http: HttpCall) -> None:
        """`GET /v2/models/{model}`."""
        key = key_of(http)
        told = await http.while_connected(self._models.metadata(key, *model_of(http)))
        content = {
            "name": told.name,
            "versions": [*told.versions],
            "platform": told.platform,
            "inputs": _tensors(told.inputs),
            "outputs": _tensors(told.outputs),
        }
        await http.answer(200, content)

    async def ready(self, http: HttpCall) -> None:
        """`GET /v2/models/{model}/ready`: it can be called, or 503."""
        key = key_of(http)
        name, version = model_of(http)
        ready = await http.while_connected(self._models.ready(key, name, version))
        await http.answer(200 if ready else 503, {"name": name, "ready": ready})

    async def infer(self, http: HttpCall) -> None:
        """`POST /v2/models/{model}/infer`."""
        caller = caller_of(http, self._timeout_s)
        body = await http.body(ITEMS_BODY_BYTES_MAX)
        name, version = model_of(http)
        request, form = read_request(body, http.headers.get(LENGTH_HEADER), name, version)

        async def answer() -> None:
            response, limit = await self._calls.infer(request, caller)
            content, json_length = write_response(response, form)
            headers = rate_limit_headers(limit)
            if json_length is not None:
                headers[LENGTH_HEADER] = str(json_length)
            content_type = JSON if json_length is None else BINARY
            await http.answer_bytes(200, content, content_type, headers)

        await http.within(self._timeout_s, answer())


def _tensors(told: Iterable[pb.ModelMetadataResponse.TensorMetadata]) -> list[Json]:
    return [{"name": one.name, "datatype": one.datatype, "shape": [*one.shape]} for one in told]


def _route(method: str, path: str, handler: Handler, ids: Ids) -> Route:
    name = f"{method} {path.replace(':path', '')}"
    return Route(path, Endpoint(name, ids, handler, oip_error_json), methods=[method])
