"""The routes."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Callable

from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from jaxreason.serve import metrics
from jaxreason.serve.answers import answer, json_response
from jaxreason.serve.body import read_body, to_json
from jaxreason.serve.errors import ApiError
from jaxreason.serve.fields import Fields
from jaxreason.serve.service import Service

OFF = (
    "this server takes no new weights: start it with serve.api_key (or JAXREASON_API_KEY) and serve.weights_root, "
    "the folder that they may be in"
)
ROUTES = (
    "/v1/completions",
    "/v1/chat/completions",
    "/v1/models",
    "/v1/weights",
    "/health",
    "/metrics",
)


def make_app(service: Service) -> FastAPI:
    """The application; when it is shut down, the worker is stopped."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(service.worker.stop, cancel=True)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(_Counted, responses=service.responses)
    app.add_exception_handler(ApiError, lambda request, error: _failed(error))
    app.add_exception_handler(HTTPException, _unknown_route)
    app.add_exception_handler(
        Exception, lambda request, error: _failed(ApiError(500, "the server failed"))
    )
    _add_routes(app, service)
    return app


def _add_routes(app: FastAPI, service: Service) -> None:
    @app.get("/health")
    async def health() -> Response:
        if not service.worker.alive:
            raise ApiError(503, "the engine has stopped")
        return json_response({"status": "ok"})

    @app.get("/metrics")
    async def show_metrics() -> Response:
        text = metrics.render(service.worker, service.stats, service.responses)
        return Response(text, media_type=metrics.CONTENT_TYPE)

    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        service.authorize(request)
        return json_response({"object": "list", "data": [service.describe()]})

    @app.get("/v1/models/{name:path}")
    async def model(request: Request, name: str) -> Response:
        service.authorize(request)
        if name != service.name:
            raise ApiError(404, f"{name!r} is not served here", "model", "model_not_found")
        return json_response(service.describe())

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await answer(service, request, service.parser.completion)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await answer(service, request, service.parser.chat)

    @app.post("/v1/weights")
    async def weights(request: Request) -> Response:
        service.authorize(request)
        if service.changes is None or not (service.api_key and service.changes.root):
            raise ApiError(403, OFF, None, "weights_endpoint_off")
        body = await read_body(request, service.max_body_bytes, service.body_timeout_s)
        fields = Fields(to_json(body))
        path = fields.take("path", str, "")
        fields.finish()
        await asyncio.wrap_future(service.changes.to_folder(path))
        return json_response(service.describe())


def _failed(error: ApiError) -> Response:
    return json_response(error.to_json(), error.status, error.headers)


def _unknown_route(request: Request, error: Exception) -> Response:
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _failed(ApiError(error.status_code, message, headers=error.headers))


class _Counted:
    """Counts responses by route and status."""

    def __init__(self, app: Callable, responses: Counter[tuple[str, int]]):
        self._app, self._responses = app, responses

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def counted(message: dict) -> None:
            if message["type"] == "http.response.start":
                route = scope["path"] if scope["path"] in ROUTES else "other"
                self._responses[route, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted if scope["type"] == "http" else send)
