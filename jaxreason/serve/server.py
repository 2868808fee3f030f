"""The stage: a model, its engine and its worker behind a socket, until a signal."""

import gc
import math
import os
import re
import signal
import socket
import sys

import jax
import uvicorn
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import ModelConfig, open_model, resolve, static_model
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import Engine, Request
from jaxreason.sampling.engine_calls import begin_compiling
from jaxreason.serve.app import make_app
from jaxreason.serve.calls import Parser
from jaxreason.serve.connections import SPARE, server_settings
from jaxreason.serve.scores import PromptScorer
from jaxreason.serve.service import Service
from jaxreason.serve.settings import ServeConfig
from jaxreason.serve.worker import Worker

# What a folder may hold, which says nothing of whose it is.
UNTOLD = ("model", "final", "hf", "export", "checkpoint", "checkpoints", "best", "last")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def run_serve(config: ServeConfig, model_config: ModelConfig, mesh: jax.sharding.Mesh) -> None:
    """Serves until SIGTERM or SIGINT; what has begun by then is finished, for at most `config.drain_s`.

    Raises:
      ConfigError: the address cannot be had, or this is one of several processes.
    """
    if jax.process_count() > 1:
        raise ConfigError("jaxreason serve: one process serves one model; this is one of several.")
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


def make_service(
    config: ServeConfig, model_config: ModelConfig, mesh: jax.sharding.Mesh
) -> Service:
    """Loads the model, compiles what every request needs, and starts the worker."""
    path = str(resolve(model_config.path))
    tokenizer = load_tokenizer(path)
    sizes = static_model(model_config), mesh, config.sampler
    compiling = begin_compiling(*sizes, tokenizer.stop_ids, tokenizer.close_think)
    model, params = open_model(model_config, mesh)
    engine = Engine(
        *(model, params, config.sampler, mesh),
        *(tokenizer.stop_ids, tokenizer.pad_id, tokenizer.decode, tokenizer.close_think),
        compiling=compiling,
    )
    del params  # the engine may have copies
    _warm_up(engine, tokenizer.pad_id)
    sizes = (config.sampler.max_length, config.sampler.top_logprobs)
    scorer = PromptScorer(*engine.sampled_from, mesh, *sizes)
    worker = Worker(engine, scorer, config.decoding, config.max_sequences)
    worker.start(mesh)
    name = config.name or model_name(path)
    names = (name, model_config.path, path)
    return Service(
        name,
        config.api_key or os.environ.get("JAXREASON_API_KEY", ""),
        config.max_body_bytes,
        config.body_timeout_s,
        Parser(config, tokenizer, model.architecture.vocab_size, names),
        worker,
        tokenizer,
        engine.stats,
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
    short = Decoding(0.0, 0, 1.0, 1, ())
    list(engine.generate([Request("warm-up", (token, token), 0, 1)], short))


def _listen(config: ServeConfig) -> socket.socket:
    family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
    try:
        return socket.create_server((config.host, config.port), family=family)
    except OSError as error:
        raise ConfigError(f"serve.host={config.host}, serve.port={config.port}: {error}.") from None


def _serve(service: Service, listener: socket.socket, config: ServeConfig) -> None:
    # uvicorn raises the signal that has stopped it once more when it is done; by then there is nothing to stop.
    before = {n: signal.signal(n, lambda *_: None) for n in (signal.SIGTERM, signal.SIGINT)}
    most = config.max_sequences + SPARE
    settings = server_settings(make_app(service), service, most, math.ceil(config.drain_s))
    try:
        uvicorn.Server(settings).run(sockets=[listener])
    finally:
        service.worker.stop(cancel=True)
        for number, handler in before.items():
            signal.signal(number, handler)
