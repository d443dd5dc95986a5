"""The HTTP API as an ASGI application."""

from collections.abc import Mapping, Sequence

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from weir_gateway.core.catalogue import Catalogue
from weir_gateway.core.generate import Generation
from weir_gateway.core.ports import Readiness
from weir_gateway.core.predict import Predictions
from weir_gateway.rpc.bearer import bearer_key
from weir_gateway.rpc.openai.answers import model_json, to_json
from weir_gateway.rpc.openai.chat import ChatShape
from weir_gateway.rpc.openai.completions import CompletionShape
from weir_gateway.rpc.openai.endpoint import Endpoint
from weir_gateway.rpc.openai.generation import GenerationHandler
from weir_gateway.rpc.openai.http_call import HttpCall
from weir_gateway.rpc.openai.prediction import READS, PredictionHandler
from weir_kit.clock import Clock
from weir_kit.ids import Ids


def openai_app(
    generation: Generation,
    predictions: Predictions,
    catalogue: Catalogue,
    readiness: Readiness,
    *,
    clock: Clock,
    ids: Ids,
    timeout_s: float,
    more: Sequence[Route] = (),
) -> Starlette:
    """The routes: completions, predictions, models, two probes that need no key; then `more`."""
    models, probes = ModelHandlers(catalogue), ProbeHandlers(readiness)
    routes = [
        Route("/healthz", probes.live, methods=["GET"]),
        Route("/readyz", probes.ready, methods=["GET"]),
        Route("/v1/models", Endpoint("GET /v1/models", ids, models.list), methods=["GET"]),
        Route(
            "/v1/models/{model:path}",
            Endpoint("GET /v1/models/{model}", ids, models.get),
            methods=["GET"],
        ),
    ]
    for shape in (ChatShape(), CompletionShape()):
        handler = GenerationHandler(shape, generation, clock, timeout_s)
        endpoint = Endpoint(f"POST {shape.path}", ids, handler)
        routes.append(Route(shape.path, endpoint, methods=["POST"]))
    for path, read in READS.items():
        endpoint = Endpoint(f"POST {path}", ids, PredictionHandler(read, predictions, timeout_s))
        routes.append(Route(path, endpoint, methods=["POST"]))
    routes.extend(more)
    return Starlette(routes=routes, exception_handlers={HTTPException: _no_such_route})


class ModelHandlers:
    """What models there are."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    async def list(self, http: HttpCall) -> None:
        """`GET /v1/models`."""
        key = bearer_key(http.headers.get("authorization", ""))
        models = await http.while_connected(self._catalogue.models(key))
        await http.answer(200, {"object": "list", "data": [*map(model_json, models)]})

    async def get(self, http: HttpCall) -> None:
        """`GET /v1/models/{model}`."""
        key = bearer_key(http.headers.get("authorization", ""))
        name = http.path_params["model"]
        model = await http.while_connected(self._catalogue.model(key, name))
        await http.answer(200, model_json(model))


class ProbeHandlers:
    """How the gateway is."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness

    async def live(self, request: Request) -> Response:
        """`GET /healthz`: this process answers."""
        return _json({"status": "ok"}, 200)

    async def ready(self, request: Request) -> Response:
        """`GET /readyz`: every peer serves, or 503 and which do not."""
        peers = await self._readiness.peers()
        ready = all(peers.values())
        status = "ready" if ready else "not ready"
        return _json({"status": status, "peers": peers}, 200 if ready else 503)


async def _no_such_route(request: Request, error: Exception) -> Response:
    """404 and 405 in OpenAI's shape, under `/v2` in the Open Inference Protocol's."""
    assert isinstance(error, HTTPException)
    what = "this path does not exist" if error.status_code == 404 else "the method is not allowed"
    message = f"{what}: {request.method} {request.url.path[:200]}"
    if request.url.path.startswith("/v2"):
        return _json({"error": message}, error.status_code, error.headers)
    content = {
        "message": message,
        "type": "invalid_request_error",
        "param": None,
        "code": None,
    }
    return _json({"error": content}, error.status_code, error.headers)


def _json(content: object, status: int, headers: Mapping[str, str] | None = None) -> Response:
    return Response(to_json(content), status, headers, media_type="application/json")
