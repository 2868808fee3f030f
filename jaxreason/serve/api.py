"""The HTTP routes, the state that they share, and the metrics.

All of this runs in the event loop, which must never block: tokenization has a thread of its own (`parsing`), and so do
the engine (`engine_thread`) and updates of weights (`weight_updates`).
"""

import asyncio
import contextlib
import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from fastapi import FastAPI, Request, Response
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.registry import Collector
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.sampling.engine_config import EngineStats
from jaxreason.serve.api_errors import ApiError, parse_body
from jaxreason.serve.completions import json_response, respond
from jaxreason.serve.engine_thread import EngineThread
from jaxreason.serve.preprocess import GenerationJob, Preprocessor
from jaxreason.serve.protocol import WeightsRequest, validate
from jaxreason.serve.weight_updates import LoadedWeights, WeightUpdater

WEIGHTS_OFF = (
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
READ = ["GET", "HEAD"]
CLIENT_GONE = 499  # No client reads this status; it shows up in the counts of responses.


@dataclass
class ServerState:
    """A served model: the state that all routes share.

    Attributes:
      name: name of the model.
      api_key: the key that clients must send; "" for none.
      max_body_bytes: the largest body of a request.
      body_timeout_s: seconds within which a whole body must arrive.
      preprocessor: turns bodies into jobs.
      engine_thread: the thread of the engine, already started.
      tokenizer: the model's tokenizer.
      stats: the engine's statistics.
      weights: the weights that the engine has loaded; None if that is not known.
      updater: updates the weights; None if they cannot be updated.
      responses: number of responses by (route, status).
      created: Unix time of the start.
      parsing: turns bodies into jobs, one at a time, in a thread of its own.
      registry: registry of the metrics. Each server has its own, so that two servers in one process do not mix.
    """

    name: str
    api_key: str
    max_body_bytes: int
    body_timeout_s: float
    preprocessor: Preprocessor
    engine_thread: EngineThread
    tokenizer: Tokenizer
    stats: EngineStats
    weights: LoadedWeights | None = None
    updater: WeightUpdater | None = None
    responses: Counter[tuple[str, int]] = field(default_factory=Counter)
    created: int = field(default_factory=lambda: int(time.time()))
    parsing: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, "parse"))
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    def __post_init__(self) -> None:
        self.registry.register(ServerMetrics(self.engine_thread, self.stats, self.responses))

    def authorize(self, request: Request) -> None:
        """Checks the key of a request.

        Raises:
          ApiError: (401) the server has a key, and the request has a different one or none.
        """
        if not self.api_key:
            return
        scheme, _, sent = request.headers.get("authorization", "").partition(" ")
        # Comparing takes equally long for every wrong key, so that nobody can find the key letter by letter.
        # Starlette reads the header's bytes as Latin-1.
        key = self.api_key.encode(errors="surrogateescape")
        right = secrets.compare_digest(sent.encode("latin-1"), key)
        if scheme.lower() != "bearer" or not right:
            headers = {"WWW-Authenticate": "Bearer"}
            raise ApiError(401, "a valid API key is needed", None, "invalid_api_key", headers)

    def describe(self) -> dict[str, Any]:
        """Describes the model as /v1/models lists it; `created` and `fingerprint` are those of its weights."""
        created = self.created if self.weights is None else self.weights.loaded_at
        model = {"id": self.name, "object": "model", "created": created, "owned_by": "jaxreason"}
        return model if self.weights is None else model | {"fingerprint": self.weights.fingerprint}


def make_app(state: ServerState) -> FastAPI:
    """Makes the application; its shutdown stops the engine's thread."""

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(state.engine_thread.stop, cancel=True)

    app = FastAPI(lifespan=lifespan, openapi_url=None)
    app.add_middleware(_CountResponses, responses=state.responses)
    app.add_exception_handler(ApiError, lambda request, error: _error_response(error))
    app.add_exception_handler(HTTPException, _unknown_route)
    app.add_exception_handler(ClientDisconnect, lambda *_: Response(status_code=CLIENT_GONE))
    app.add_exception_handler(
        Exception, lambda request, error: _error_response(ApiError(500, "the server failed"))
    )
    _add_status_routes(app, state)
    _add_model_routes(app, state)
    return app


def _add_status_routes(app: FastAPI, state: ServerState) -> None:
    @app.api_route("/health", methods=READ)
    async def health() -> Response:
        if not state.engine_thread.alive:
            raise ApiError(503, "the engine has stopped")
        return json_response({"status": "ok"})

    @app.api_route("/metrics", methods=READ)
    async def metrics(request: Request) -> Response:
        # Prometheus asks for its newer format, OpenMetrics, by the header Accept.
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(state.registry), headers={"Content-Type": content_type})


def _add_model_routes(app: FastAPI, state: ServerState) -> None:
    @app.api_route("/v1/models", methods=READ)
    async def models(request: Request) -> Response:
        state.authorize(request)
        return json_response({"object": "list", "data": [state.describe()]})

    @app.api_route("/v1/models/{name:path}", methods=READ)
    async def model(request: Request, name: str) -> Response:
        state.authorize(request)
        if name != state.name:
            raise ApiError(404, f"{name!r} is not served here", "model", "model_not_found")
        return json_response(state.describe())

    @app.post("/v1/completions")
    async def completions(request: Request) -> Response:
        return await _answer(state, request, state.preprocessor.completion)

    @app.post("/v1/chat/completions")
    async def chat_completions(request: Request) -> Response:
        return await _answer(state, request, state.preprocessor.chat)

    @app.post("/v1/weights")
    async def weights(request: Request) -> Response:
        state.authorize(request)
        if state.updater is None or not (state.api_key and state.updater.root):
            raise ApiError(403, WEIGHTS_OFF, None, "weights_endpoint_off")
        body = await _read_body(request, state)
        wanted = validate(WeightsRequest, parse_body(body))
        await asyncio.wrap_future(state.updater.update(wanted.path))
        return json_response(state.describe())


async def _answer(
    state: ServerState, request: Request, make_job: Callable[[Any], GenerationJob]
) -> Response:
    state.authorize(request)
    # An overloaded server does not read a body that it will refuse.
    state.engine_thread.check_room(1)
    body = await _read_body(request, state)
    loop = asyncio.get_running_loop()
    job = await loop.run_in_executor(state.parsing, lambda: make_job(parse_body(body)))
    return await respond(request, job, state.engine_thread, state.tokenizer, state.name)


async def _read_body(request: Request, state: ServerState) -> bytes:
    """Reads the whole body.

    Raises:
      ApiError: 413 if it is longer than `max_body_bytes`, 408 if it does not arrive in time.
      ClientDisconnect: the client hung up.
    """
    most = state.max_body_bytes
    too_long = ApiError(413, f"the body is longer than {most} bytes", None, "body_too_large")
    length = request.headers.get("content-length", "")
    # Python converts at most 4,300 digits, and 20 digits are enough to be too long.
    if length.isdecimal() and int(length[:20]) > most:
        raise too_long
    parts, size = [], 0
    try:
        async with asyncio.timeout(state.body_timeout_s):
            async for part in request.stream():
                parts.append(part)
                size += len(part)
                if size > most:
                    raise too_long
    except TimeoutError:
        message = f"the body was not there within {state.body_timeout_s:g} s"
        raise ApiError(408, message) from None
    return b"".join(parts)


def _error_response(error: ApiError) -> Response:
    return json_response(error.to_json(), error.status, error.headers)


def _unknown_route(request: Request, error: Exception) -> Response:
    message = f"{request.method} {request.url.path}: {error.detail}"
    return _error_response(ApiError(error.status_code, message, headers=error.headers))


class _CountResponses:
    """Counts responses by route and status. All unknown routes count as one, so that clients cannot add metrics."""

    def __init__(self, app: Callable, responses: Counter[tuple[str, int]]):
        self._app, self._responses = app, responses

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def counted(message: dict) -> None:
            if message["type"] == "http.response.start":
                route = scope["path"] if scope["path"] in ROUTES else "other"
                self._responses[route, message["status"]] += 1
            await send(message)

        await self._app(scope, receive, counted if scope["type"] == "http" else send)


class ServerMetrics(Collector):
    """The metrics that GET /metrics shows.

    The engine counts its work itself, so the numbers are read when they are asked for and not stored a second time.

    Args:
      engine_thread: the source of the counts of replies and tokens.
      stats: the engine's statistics.
      responses: number of responses by (route, status); counted in the event loop, where `collect` runs too.
    """

    def __init__(
        self, engine_thread: EngineThread, stats: EngineStats, responses: Counter[tuple[str, int]]
    ):
        self._engine_thread, self._stats, self._responses = engine_thread, stats, responses

    def collect(self) -> Iterator[Metric]:
        """Yields all metrics; prometheus_client adds `_total` to the names of counters."""
        yield self._count_responses()
        running, waiting = self._engine_thread.load()
        text = "Replies that the engine is working on."
        yield GaugeMetricFamily("jaxreason_running_sequences", text, value=running)
        text = "Replies that wait for the engine."
        yield GaugeMetricFamily("jaxreason_waiting_sequences", text, value=waiting)
        counts = self._engine_thread.counts()
        yield _by_finish_reason(counts)
        yield _counter("prompt_tokens", "Tokens of prompts that the engine was given.", counts)
        yield _counter("generated_tokens", "Tokens of replies that have ended.", counts)
        for name, value in vars(self._stats).items():
            text = f"The engine's {name.replace('_', ' ')}."
            yield CounterMetricFamily(f"jaxreason_engine_{name}", text, value=value)

    def _count_responses(self) -> Metric:
        labels = ["route", "status"]
        metric = CounterMetricFamily("jaxreason_responses", "HTTP responses.", labels=labels)
        for (route, status), number in sorted(self._responses.items()):
            metric.add_metric([route, str(status)], number)
        return metric


def _counter(name: str, text: str, counts: dict[str, int]) -> Metric:
    return CounterMetricFamily(f"jaxreason_{name}", text, value=counts.get(name, 0))


def _by_finish_reason(counts: dict[str, int]) -> Metric:
    text = "Replies by how they ended."
    metric = CounterMetricFamily("jaxreason_sequences", text, labels=["finish_reason"])
    for name, number in sorted(counts.items()):
        if name.startswith("ended:"):
            metric.add_metric([name.removeprefix("ended:")], number)
    return metric
