"""Opens the engine of a model that nobody trains, for programs that answer people: the chat and the server."""

from collections.abc import Callable, Collection, Sequence

from jax.sharding import Mesh

from jaxreason.models.architecture import Model
from jaxreason.models.huggingface import ModelConfig, open_reader, static_model
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_calls import begin_engine_compiling
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Request, SamplingParams


def open_engine(
    model_config: ModelConfig,
    mesh: Mesh,
    config: SamplerConfig,
    stop_ids: Collection[int],
    pad_id: int,
    decode: Callable[[Sequence[int]], str],
    close_think: Sequence[int],
) -> tuple[Engine, Model]:
    """Loads a model while its programs are compiled, and returns its engine, warm, with the trainer's model.

    Every process must call it. The engine reads one parameter at a time into its own layout.

    Args:
      model_config: the model, and how it is run.
      mesh: where it runs.
      config: the engine's sizes.
      stop_ids, pad_id, decode, close_think: of the tokenizer, as the engine takes them.

    Raises:
      UserError: the model cannot be loaded, or the sizes do not fit it.
    """
    compiling = begin_engine_compiling(
        static_model(model_config), mesh, config, stop_ids, close_think, reads=True
    )
    model, read = open_reader(model_config, mesh)
    engine = Engine(
        model, read, config, mesh, stop_ids, pad_id, decode, close_think, compiling=compiling
    )
    _warm_up(engine, pad_id)
    return engine, model


def _warm_up(engine: Engine, token: int) -> None:
    """Compiles the programs, so that the first question does not wait and a lack of memory shows at the start."""
    short = SamplingParams(temperature=0.0, top_k=0, top_p=1.0, max_tokens=1, stop=())
    list(engine.generate([Request("warm-up", (token, token), 0, 1)], short))
