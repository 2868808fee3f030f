"""Opens the engine of a model that nobody trains, for programs that answer people: the chat and the server.

They should start fast. So three things happen at the same time, each in a thread: the tokenizer is loaded, the weights
are read, and programs are compiled.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import jax
from jax.sharding import Mesh

from jaxreason.compiling import Compiling
from jaxreason.models.architecture import Model
from jaxreason.models.huggingface import ModelConfig, check_weights_room, open_reader, static_model
from jaxreason.models.sampler_weight_loading import part_programs, read_layout
from jaxreason.models.sampler_weights import sampling_model
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_calls import engine_calls
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Request, SamplingParams


class EngineTokens(Protocol):
    """What an engine needs of a tokenizer; each is described with `Engine`."""

    stop_ids: Collection[int]
    pad_id: int
    decode: Callable[[Sequence[int]], str]
    close_think: Sequence[int]
    open_think: int | None


def open_engine(
    model_config: ModelConfig, mesh: Mesh, config: SamplerConfig, tokenizer: Future[EngineTokens]
) -> tuple[Engine, Model]:
    """Loads a model while its programs are compiled, and returns its engine, warm, with the trainer's model.

    Every process must call it. One parameter is read at a time, into the engine's own layout.

    Args:
      model_config: the model, and how it is run.
      mesh: where it runs.
      config: the engine's sizes.
      tokenizer: the model's tokenizer, which may still be loading.

    Raises:
      UserError: the model or its tokenizer cannot be loaded, or the sizes do not fit the model.
    """
    model = static_model(model_config)
    compiling = Compiling(mesh, part_programs(model, mesh, config.weights))
    reading = ThreadPoolExecutor(1, "reading").submit(
        _read, model_config, mesh, config, compiling.wait
    )
    tokens = tokenizer.result()
    ends = tokens.stop_ids, tokens.close_think, tokens.open_think
    compiling.begin(engine_calls(model, mesh, config, *ends))
    engine = engine_for(model, reading.result, config, mesh, tokens, compiling)
    _warm_up(engine, tokens.pad_id)
    return engine, model


def engine_for(
    model: Model,
    params: Any,
    config: SamplerConfig,
    mesh: Mesh,
    tokens: EngineTokens,
    compiling: Compiling | None = None,
) -> Engine:
    """Makes an engine that ends replies and closes think blocks as a model's tokenizer says; as `Engine`."""
    ends = tokens.stop_ids, tokens.pad_id, tokens.decode
    think = tokens.close_think, tokens.open_think
    return Engine(model, params, config, mesh, *ends, *think, compiling=compiling)


def _read(
    model_config: ModelConfig, mesh: Mesh, config: SamplerConfig, ready: Callable[[str], None]
) -> dict[str, Any]:
    """Reads the weights into the engine's layout."""
    model, read = open_reader(model_config, mesh)
    check_weights_room(sampling_model(model, mesh, config.weight_dtype), mesh)
    with jax.set_mesh(mesh):
        return read_layout(model, mesh, read, config.weights, ready)


def _warm_up(engine: Engine, token: int) -> None:
    """Compiles the programs, so that the first question does not wait and a lack of memory shows at the start."""
    short = SamplingParams(temperature=0.0, top_k=0, top_p=1.0, max_tokens=1, stop=())
    list(engine.generate([Request("warm-up", (token, token), 0, 1)], short))
