"""The sides that `bench_load.py` puts under load: our engine in this process, or a server with OpenAI's completions."""

import asyncio
import functools
import json
import os
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import httpx
import jax
import numpy as np
from bench_peer import settings
from engine_sizes import engine_sizes
from jax.sharding import Mesh

from configs import qwen3
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.models.huggingface import ModelConfig, static_model
from jaxreason.models.sampler_weight_loading import read_layout
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import EngineStats, SamplerConfig
from jaxreason.sampling.sampling_params import Completion, Request, SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh, unstacked

TINY = qwen3.architecture("0.6b") | {
    **{"vocab_size": 88, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1},
    **{"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 16},
}


class Timed(NamedTuple):
    """A request: the seconds from the start of its arrival, its first token and its end; tokens of prompt and reply."""

    arrived: float
    first: float
    ended: float
    prompt: int
    tokens: int


Side = Callable[[np.ndarray], tuple[list[Timed], dict[str, float]]]


def random_reader(model: Model, mesh: Mesh) -> Callable[..., jax.Array]:
    """Returns a function that draws parameters as `read_layout` reads them, so that there is no second copy of them."""
    leaves = jax.tree_util.tree_leaves_with_path(abstract_params(model))
    shardings = jax.tree.leaves(param_shardings(model, mesh))
    both = enumerate(zip(leaves, shardings, strict=True))
    wanted = {path: (number, x, kept) for number, ((path, x), kept) in both}

    def read(path: tuple, before: Any = None, layer: int | None = None) -> jax.Array:
        number, x, sharding = wanted[path]
        shape = x.shape if layer is None else x.shape[1:]
        draw = drawing(shape, x.dtype, sharding if layer is None else unstacked(sharding))
        return draw(1000 * number + (layer or 0), float(path[-1].key == "scale"))

    return read


@functools.cache
def drawing(shape: tuple[int, ...], dtype: Any, sharding: jax.sharding.Sharding) -> Callable:
    """The program that draws an array around a mean."""

    def draw(seed: jax.Array, mean: jax.Array) -> jax.Array:
        return (mean + 0.02 * jax.random.normal(jax.random.key(seed), shape)).astype(dtype)

    return jax.jit(draw, out_shardings=sharding)


def engine_side(arguments, prompts: np.ndarray, replies: np.ndarray) -> Side:
    """Makes our engine with random weights on all devices, its programs compiled."""
    mesh = make_mesh(MeshConfig(1, 1, -1, 1))
    with jax.set_mesh(mesh):
        model = static_model(_model(arguments))
        config = _sampler(arguments, int(prompts.max() + replies.max()))
        layout = model, mesh, random_reader(model, mesh), config.weights
        engine = Engine(model, lambda: read_layout(*layout), config, mesh, (), 0, str)
        vocab = model.architecture.vocab_size
        requests = _requests(arguments, vocab, prompts, replies)
        few = SamplingParams(arguments.temperature, 0, 1.0, 2, ())
        list(engine.generate([Request("warm-up", (1, 2, 3), 0, 1)], few))

    def run(arrivals: np.ndarray) -> tuple[list[Timed], dict[str, float]]:
        with jax.set_mesh(mesh):
            engine.release()  # So that no prompt is found in the cache.
            engine.stats = EngineStats()
            times = EngineRun(engine, requests, arrivals).times()
        return times, counts(engine.stats)

    return run


def counts(stats: EngineStats) -> dict[str, float]:
    """Returns the engine's counts, and the mean number of busy slots in a decode step."""
    return {"slots_busy": stats.decoded_tokens / max(stats.decode_steps, 1), **vars(stats)}


def _model(arguments) -> ModelConfig:
    architecture = TINY if arguments.size == "tiny" else settings(arguments.size)
    return ModelConfig(
        path="",
        init="random",
        architecture=architecture,
        dtype=arguments.dtype,
        param_dtype=arguments.dtype,
        remat="none",
        attention="plain" if arguments.size == "tiny" else "blockwise",
        unroll=architecture["num_hidden_layers"],
    )


def _sampler(arguments, longest: int) -> SamplerConfig:
    names = ("decode_block", "prefill_tokens", "prefill_block", "pages")
    changes = {name: getattr(arguments, name) for name in names}
    return engine_sizes(arguments.slots, longest, **changes)


def _requests(arguments, vocab: int, prompts: np.ndarray, replies: np.ndarray) -> list[Request]:
    rng = np.random.default_rng(arguments.seed + 1)
    return [
        Request(
            *(str(i), tuple(rng.integers(3, vocab, length).tolist()), i, 1),
            SamplingParams(arguments.temperature, 0, 1.0, int(most), ()),
        )
        for i, (length, most) in enumerate(zip(prompts, replies, strict=True))
    ]


class EngineRun:
    """One run of the engine, timed."""

    def __init__(self, engine: Engine, requests: list[Request], arrivals: np.ndarray):
        self._engine, self._requests, self._arrivals = engine, requests, arrivals
        self._first: dict[str, float] = {}
        self._given = self._done = 0
        self._began = 0.0

    def times(self) -> list[Timed]:
        """Returns the times of every request."""
        self._began = time.perf_counter()
        ended = self._engine.generate(
            self._arriving(), self._requests[0].decoding, on_tokens=self._show
        )
        return [self._timed(completion) for completion in ended]

    def _now(self) -> float:
        return time.perf_counter() - self._began

    def _arriving(self) -> Iterator[Request | None]:
        for request, at in zip(self._requests, self._arrivals, strict=True):
            while (wait := at - self._now()) > 0:
                if self._given == self._done:
                    time.sleep(min(wait, 0.01))
                yield None
            self._given += 1
            yield request

    def _show(self, partial: Completion) -> None:
        if partial.tokens:
            self._first.setdefault(partial.id, self._now())

    def _timed(self, completion: Completion) -> Timed:
        assert not completion.finish_reason.startswith("error"), completion.finish_reason
        self._done += 1
        index, now = int(completion.id), self._now()
        prompt, tokens = len(self._requests[index].tokens), len(completion.tokens)
        first = self._first.get(completion.id, now)
        return Timed(float(self._arrivals[index]), first, now, prompt, tokens)


def http_side(arguments, prompts: np.ndarray, replies: np.ndarray) -> Side:
    """Makes a side for a server; every request has a connection of its own."""
    requests = _requests(arguments, arguments.vocab, prompts, replies)
    bodies = [_body(arguments, request) for request in requests]

    def run(arrivals: np.ndarray) -> tuple[list[Timed], dict[str, float]]:
        return asyncio.run(_ask_all(arguments.url, bodies, arrivals)), {}

    return run


def _body(arguments, request: Request) -> dict[str, Any]:
    body = {
        "model": arguments.model,
        "prompt": list(request.tokens),
        "max_tokens": request.decoding.max_tokens,
        "temperature": arguments.temperature,
        "seed": request.seed,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    return body | ({"ignore_eos": True} if arguments.ignore_eos else {})


async def _ask_all(url: str, bodies: list[dict], arrivals: np.ndarray) -> list[Timed]:
    key = os.environ.get("OPENAI_API_KEY", "none")
    client = httpx.AsyncClient(
        headers={"Authorization": f"Bearer {key}"}, timeout=None, limits=httpx.Limits()
    )
    began = time.perf_counter()
    async with client:
        asked = (
            _ask(client, f"{url}/completions", body, float(at), began)
            for body, at in zip(bodies, arrivals, strict=True)
        )
        return list(await asyncio.gather(*asked))


async def _ask(client: httpx.AsyncClient, url: str, body: dict, at: float, began: float) -> Timed:
    await asyncio.sleep(max(began + at - time.perf_counter(), 0))
    first, tokens = None, 0
    async with client.stream("POST", url, json=body) as response:
        if response.status_code != 200:
            raise SystemExit(f"{url}: {response.status_code} {(await response.aread())[:500]!r}")
        async for line in response.aiter_lines():
            if not line.startswith("data: {"):
                continue
            chunk = json.loads(line.removeprefix("data: "))
            if chunk.get("choices") and first is None:
                first = time.perf_counter() - began
            tokens = (chunk.get("usage") or {}).get("completion_tokens", tokens)
    ended = time.perf_counter() - began
    return Timed(at, ended if first is None else first, ended, len(body["prompt"]), tokens)
