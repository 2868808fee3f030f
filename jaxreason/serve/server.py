"""The stage: a model, its engine and its worker behind a socket, until a signal."""

import contextlib
import gc
import math
import os
import re
import signal
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import uvicorn
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.models.huggingface import ModelConfig, open_model, resolve, static_model
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_calls import begin_engine_compiling
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.serve.app import make_app
from jaxreason.serve.calls import Parser
from jaxreason.serve.changes import Changes
from jaxreason.serve.connections import SPARE, server_settings
from jaxreason.serve.followers import follow
from jaxreason.serve.orders import Orders
from jaxreason.serve.scores import PromptScorer
from jaxreason.serve.service import Service
from jaxreason.serve.settings import ServeConfig
from jaxreason.serve.weights import Weights
from jaxreason.serve.worker import Worker

# What a folder may hold, which says nothing of whose it is.
UNTOLD = ("model", "final", "hf", "export", "checkpoint", "checkpoints", "best", "last")
STOPS = (signal.SIGTERM, signal.SIGINT)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


class Loaded(NamedTuple):
    """A model that is ready to be served, on every process of a job."""

    tokenizer: Tokenizer
    vocab_size: int
    engine: Engine
    scorer: PromptScorer
    weights: Weights
    orders: Orders


def run_serve(config: ServeConfig, model_config: ModelConfig, mesh: jax.sharding.Mesh) -> None:
    """Serves until SIGTERM or SIGINT; what has begun by then is finished, for at most `config.drain_s`.

    Of several processes process 0 listens; a signal to any of them ends all so.

    Raises:
      ConfigError: the address cannot be had.
      RuntimeError: the engine broke where it cannot go on.
    """
    if jax.process_index() > 0:
        _follow(config, load(config, model_config, mesh))
        return
    with _listen(config) as listener:
        service = make_service(config, model_config, mesh)
        host, port = listener.getsockname()[:2]
        if config.host not in LOOPBACK and not service.api_key:
            print(
                f"serve.host={host}: other machines reach this server, without an API key.",
                file=sys.stderr,
            )
        shown = f"[{host}]" if ":" in host else host
        print(f"{service.name} is served at http://{shown}:{port}/v1", flush=True)
        # What is there stays: looking through it again and again makes a body of many small
        # lists 15 times as slow to read.
        gc.freeze()
        _serve(service, listener, config)


def load(config: ServeConfig, model_config: ModelConfig, mesh: jax.sharding.Mesh) -> Loaded:
    """Loads the model and compiles what every request needs; every process must call it."""
    path = str(resolve(model_config.path))
    tokenizer = load_tokenizer(path)
    sizes = static_model(model_config), mesh, config.sampler
    compiling = begin_engine_compiling(*sizes, tokenizer.stop_ids, tokenizer.close_think)
    model, params = open_model(model_config, mesh)
    engine = Engine(
        *(model, params, config.sampler, mesh),
        *(tokenizer.stop_ids, tokenizer.pad_id, tokenizer.decode, tokenizer.close_think),
        compiling=compiling,
    )
    del params  # the engine may have copies
    _warm_up(engine, tokenizer.pad_id)
    sampling_model = engine.sampled_from[0]
    sizes = (config.sampler.max_length, config.sampler.top_logprobs)
    scorer = PromptScorer(sampling_model, lambda: engine.sampled_from[1], mesh, *sizes)
    weights = Weights(engine, model, tokenizer, path)
    orders = Orders(on_wish=lambda: os.kill(os.getpid(), signal.SIGTERM))
    return Loaded(tokenizer, model.architecture.vocab_size, engine, scorer, weights, orders)


def make_service(
    config: ServeConfig, model_config: ModelConfig, mesh: jax.sharding.Mesh
) -> Service:
    """Loads the model and starts the worker; process 0 only, the others `load` and follow."""
    loaded = load(config, model_config, mesh)
    engine, weights = loaded.engine, loaded.weights
    limits = (config.decoding, config.max_sequences)
    worker = Worker(engine, loaded.scorer, *limits, weights, loaded.orders)
    worker.start(mesh)
    path = str(weights.first)
    name = config.name or model_name(path)
    names = (name, model_config.path, path)
    key = config.api_key or os.environ.get("JAXREASON_API_KEY", "")
    return Service(
        name,
        key,
        config.max_body_bytes,
        config.body_timeout_s,
        Parser(config, loaded.tokenizer, loaded.vocab_size, names),
        worker,
        loaded.tokenizer,
        engine.stats,
        weights,
        Changes(weights, worker, config.weights_root),
    )


def model_name(path: str) -> str:
    """The name of a model's folder; of one that is called after what it holds, that of the run which wrote it.

    `runs/rl/model` is `rl`, `study/rl/seed_1/model` is `rl-seed_1`.
    """
    parts = [part for part in epath.Path(path).parts if part not in ("/", "..", ".")]
    while len(parts) > 1 and parts[-1] in UNTOLD:
        parts.pop()
    first = len(parts) - 1
    while first > 0 and re.fullmatch(r"(seed|step|epoch)?[-_]?\d+", parts[first]):
        first -= 1
    return "-".join(parts[first:])


def _warm_up(engine: Engine, token: int) -> None:
    """Compiles: the first client does not wait for that, and what does not fit into memory is known at once."""
    short = SamplingParams(0.0, 0, 1.0, 1, ())
    list(engine.generate([Request("warm-up", (token, token), 0, 1)], short))


def _listen(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise ConfigError(f"serve.host={config.host}, serve.port={config.port}: {error}.") from None


def _serve(service: Service, listener: socket.socket, config: ServeConfig) -> None:
    most = config.max_sequences + SPARE
    settings = server_settings(make_app(service), service, most, math.ceil(config.drain_s))
    server = uvicorn.Server(settings)

    def end() -> None:
        server.should_exit = True

    service.worker.on_error = end
    # uvicorn raises the signal that has stopped it once more when it is done; by then there is nothing to stop.
    with _handling(dict.fromkeys(STOPS, lambda: None) | {signal.SIGHUP: service.changes.again}):
        try:
            server.run(sockets=[listener])
        finally:
            service.worker.stop(cancel=True)
    if service.worker.error is not None:
        raise RuntimeError(f"serving ended: {service.worker.error}") from service.worker.error


def _follow(config: ServeConfig, loaded: Loaded) -> None:
    """Process 0 finishes what has begun, so a signal to this one only asks it to."""
    _, _, engine, scorer, weights, orders = loaded
    ends = dict.fromkeys(STOPS, orders.wish_end)
    with _handling(ends | {signal.SIGHUP: lambda: None}):
        follow(engine, scorer, config.decoding, weights, orders)


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
