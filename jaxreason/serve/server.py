"""Runs a server: loads a model, listens, limits connections, and ends at a signal."""

import asyncio
import contextlib
import functools
import math
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, NamedTuple

import jax
import uvicorn
from etils import epath
from uvicorn.protocols.http.h11_impl import H11Protocol

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.host_memory import no_collection
from jaxreason.models.huggingface import ModelConfig, resolve
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.open_engine import open_engine
from jaxreason.serve.api import ServerState, make_app
from jaxreason.serve.engine_thread import EngineThread
from jaxreason.serve.multihost import ControlChannel, follow
from jaxreason.serve.preprocess import Preprocessor
from jaxreason.serve.prompt_logprobs import PromptScorer
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.serve.weight_updates import LoadedWeights, WeightUpdater

# Folder names that do not tell which run wrote the model.
GENERIC_FOLDERS = ("model", "final", "hf", "export", "checkpoint", "checkpoints", "best", "last")
STOPS = (signal.SIGTERM, signal.SIGINT)
LOOPBACK = ("127.0.0.1", "::1", "localhost")
# Connections beyond the replies that may run or wait: for /health, and for clients that keep a connection open.
SPARE_CONNECTIONS = 256
LINGER_S = 1.0  # A client that sends nothing for so long has stopped sending.


class LoadedModel(NamedTuple):
    """A model that is ready to be served; every process of a job has one."""

    tokenizer: Tokenizer
    vocab_size: int
    engine: Engine
    scorer: PromptScorer
    weights: LoadedWeights
    channel: ControlChannel


def run_serve(
    config: ServeConfig,
    model_config: ModelConfig,
    mesh: jax.sharding.Mesh,
    loading: Future[Tokenizer],
) -> None:
    """Serves until SIGTERM or SIGINT. Replies that have begun by then may finish, for at most `config.drain_s` seconds.

    If there are several processes, process 0 listens. A signal to any of them ends all of them in this way.

    Raises:
      ConfigError: the address is in use or is not an address of this machine, or `config.decoding` has a think budget
        and the tokenizer no token that closes a think block.
      RuntimeError: the engine failed and cannot continue.
    """
    if jax.process_index() > 0:
        with no_collection():
            loaded = load(config, model_config, mesh, loading)
        _follow(config, loaded)
        return
    with _listen(config) as listener:
        with no_collection():
            state = make_server_state(config, model_config, mesh, loading)
        host, port = listener.getsockname()[:2]
        if config.host not in LOOPBACK and not state.api_key:
            print(
                f"serve.host={host}: other machines reach this server, without an API key.",
                file=sys.stderr,
            )
        shown = f"[{host}]" if ":" in host else host
        print(f"{state.name} is served at http://{shown}:{port}/v1", flush=True)
        _serve(state, listener, config)


def load(
    config: ServeConfig,
    model_config: ModelConfig,
    mesh: jax.sharding.Mesh,
    loading: Future[Tokenizer],
) -> LoadedModel:
    """Loads the model and compiles what every request needs. Every process must call it."""
    engine, model = open_engine(model_config, mesh, config.sampler, loading)
    path, tokenizer = str(resolve(model_config.path)), loading.result()
    if config.decoding.think_budget and not tokenizer.close_think:
        raise ConfigError(
            f"serve.decoding.think_budget={config.decoding.think_budget}: expected 0, since the tokenizer has no token "
            "that closes a think block."
        )
    sampling_model = engine.sampled_from[0]
    scorer = PromptScorer(
        sampling_model,
        lambda: engine.sampled_from[1],  # Called each time, because weights may be updated.
        mesh,
        config.sampler.max_length,
        config.sampler.top_logprobs,
    )
    weights = LoadedWeights(engine, model, tokenizer, path)
    channel = ControlChannel(on_end_requested=lambda: os.kill(os.getpid(), signal.SIGTERM))
    return LoadedModel(tokenizer, model.architecture.vocab_size, engine, scorer, weights, channel)


def make_server_state(
    config: ServeConfig,
    model_config: ModelConfig,
    mesh: jax.sharding.Mesh,
    loading: Future[Tokenizer],
) -> ServerState:
    """Loads the model and starts the engine's thread. Only process 0 calls it; the others call `load` and follow."""
    loaded = load(config, model_config, mesh, loading)
    engine, weights = loaded.engine, loaded.weights
    engine_thread = EngineThread(
        engine,
        loaded.scorer,
        config.decoding,
        config.max_sequences,
        weights,
        loaded.channel,
    )
    engine_thread.start(mesh)
    path = str(weights.first_folder)
    name = config.name or model_name(path)
    names = (name, model_config.path, path)
    return ServerState(
        name=name,
        api_key=config.api_key or os.environ.get("JAXREASON_API_KEY", ""),
        max_body_bytes=config.max_body_bytes,
        body_timeout_s=config.body_timeout_s,
        preprocessor=Preprocessor(config, loaded.tokenizer, loaded.vocab_size, names),
        engine_thread=engine_thread,
        tokenizer=loaded.tokenizer,
        stats=engine.stats,
        weights=weights,
        updater=WeightUpdater(weights, engine_thread.update_weights, config.weights_root),
    )


def model_name(path: str) -> str:
    """Returns the name of a model's folder; if that is a generic name, the name of the run that wrote it.

    `runs/rl/model` is `rl`, `study/rl/seed_1/model` is `rl-seed_1`.
    """
    parts = [part for part in epath.Path(path).parts if part not in ("/", "..", ".")]
    while len(parts) > 1 and parts[-1] in GENERIC_FOLDERS:
        parts.pop()
    first = len(parts) - 1
    while first > 0 and re.fullmatch(r"(seed|step|epoch)?[-_]?\d+", parts[first]):
        first -= 1
    return "-".join(parts[first:])


def _listen(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise ConfigError(f"serve.host={config.host}, serve.port={config.port}: {error}.") from None


def _serve(state: ServerState, listener: socket.socket, config: ServeConfig) -> None:
    most = config.max_sequences + SPARE_CONNECTIONS
    settings = uvicorn_config(
        make_app(state), state.body_timeout_s, most, math.ceil(config.drain_s)
    )
    server = uvicorn.Server(settings)

    def end() -> None:
        server.should_exit = True

    state.engine_thread.on_error = end
    if state.engine_thread.error is not None:  # It has failed already, and has called nobody.
        end()
    # While uvicorn runs, it handles STOPS itself. When it is done, it raises the signal that stopped it again, for the
    # earlier handlers. Those must do nothing, or the process would not exit with 0.
    with _handling(dict.fromkeys(STOPS, lambda: None) | {signal.SIGHUP: state.updater.reload}):
        try:
            server.run(sockets=[listener])
        finally:
            state.engine_thread.stop(cancel=True)
    error = state.engine_thread.error
    if error is not None:
        raise RuntimeError(f"serving ended: {error}") from error


def _follow(config: ServeConfig, loaded: LoadedModel) -> None:
    """Follows process 0. A signal to this process only asks process 0 to end, which first finishes what has begun."""
    channel = loaded.channel
    ends = dict.fromkeys(STOPS, channel.request_end)
    with _handling(ends | {signal.SIGHUP: lambda: None}):
        follow(loaded.engine, loaded.scorer, config.decoding, loaded.weights, channel)


@contextlib.contextmanager
def _handling(actions: dict[signal.Signals, Callable[[], Any]]) -> Iterator[None]:
    before = {
        number: signal.signal(number, lambda *_, act=act: act()) for number, act in actions.items()
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def uvicorn_config(app: Callable, timeout_s: float, most: int, drain_s: int) -> uvicorn.Config:
    """Returns settings of uvicorn with which many clients, or slow ones, cost little.

    Args:
      app: the ASGI application.
      timeout_s: seconds within which headers must arrive, and again the rest of an unwanted body.
      most: the most connections at a time; they may use at most half of the files that this process may open.
      drain_s: seconds that running requests have left when the server is stopped.
    """
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(most, max(files // 2, 1))
    protocol = functools.partial(Connection, header_s=timeout_s, most=most)
    return uvicorn.Config(
        ReadWholeBody(app, timeout_s),
        http=protocol,
        ws="none",
        log_level="warning",
        timeout_graceful_shutdown=drain_s,
    )


class Connection(H11Protocol):
    """A connection that is closed if the headers of a request do not arrive in time.

    If there are too many connections, the one that has waited longest for headers is closed.

    Args:
      header_s: seconds from the start of the connection, or from the first byte of its next request,
        to the end of the headers.
      most: the most connections of the server.
    """

    def __init__(self, *args: Any, header_s: float, most: int, **settings: Any):
        super().__init__(*args, **settings)
        self._header_s, self._most = header_s, most
        self._waits: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:
        """Starts the time limit for headers."""
        super().connection_made(transport)
        self._watch()
        if len(self.connections) > self._most:
            waiting = [one for one in self.connections if one._waits is not None]
            min(waiting, key=lambda one: one._waits.when()).drop()

    def data_received(self, data: bytes) -> None:
        """Ends the time limit when a request has begun."""
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Ends the time limit."""
        self._forget()
        super().connection_lost(exc)

    def drop(self) -> None:
        """Closes a connection that has no request."""
        self._forget()
        self.connections.discard(self)
        self.transport.abort()

    def _watch(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._forget()
        elif self._waits is None and not self.transport.is_closing():
            self._waits = self.loop.call_later(self._header_s, self.drop)

    def _forget(self) -> None:
        if self._waits is not None:
            self._waits.cancel()
        self._waits = None


class ReadWholeBody:
    """Reads and discards the rest of a request's body before the answer is sent.

    Otherwise a client that is still sending would find its connection reset and never read why it was refused. This
    takes `timeout_s` at most. A client that waits to be asked for its body (`Expect: 100-continue`) is not asked.
    """

    def __init__(self, app: Callable, timeout_s: float):
        self._app, self._timeout_s = app, timeout_s

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        """Serves one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        left = True  # Whether a part of the body is left.
        waits = (b"expect", b"100-continue") in scope["headers"]

        async def read() -> dict:
            nonlocal left, waits
            waits, message = False, await receive()
            left = message.get("more_body", False)
            return message

        async def answer(message: dict) -> None:
            if message["type"] == "http.response.start" and left and not waits:
                await self._read_on(read, lambda: left)
            await send(message)

        await self._app(scope, read, answer)

    async def _read_on(self, read: Callable, left: Callable[[], bool]) -> None:
        try:
            async with asyncio.timeout(self._timeout_s):
                while left():
                    await asyncio.wait_for(read(), LINGER_S)
        except TimeoutError:
            return
