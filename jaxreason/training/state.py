"""The training state, and where its arrays live: optimizer moments lie as their parameters do."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.sharding import abstract_arrays


class TrainState(NamedTuple):
    """Everything a step changes, and all that a checkpoint holds: the data position is the step.

    Attributes:
      step: updates made.
      params: the model's parameters, in its param_dtype.
      opt_state: Optax's.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any


def init_state(optimizer: optax.GradientTransformation, params: Any, mesh: Mesh) -> TrainState:
    """The state before the first step. It takes `params` over: the first step donates them."""

    def start(params):
        return jnp.zeros((), jnp.int32), optimizer.init(wide(params))

    whole = NamedSharding(mesh, PartitionSpec())
    param_shards = jax.tree.map(lambda x: x.sharding, params)
    shards = _like_params(jax.eval_shape(start, params)[1], param_shards, whole)
    step, opt_state = jax.jit(start, out_shardings=(whole, shards))(params)
    return TrainState(step, params, opt_state)


def abstract_train_state(
    model: Model, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Shapes, dtypes and shardings of the state of `model`, to restore a checkpoint with."""
    whole = NamedSharding(mesh, PartitionSpec())
    params = abstract_params(model)
    opt_state = jax.eval_shape(lambda params: optimizer.init(wide(params)), params)
    param_shards = param_shardings(model, mesh)
    shards = _like_params(opt_state, param_shards, whole)
    return TrainState(
        jax.ShapeDtypeStruct((), jnp.int32, sharding=whole),
        abstract_arrays(params, param_shards),
        abstract_arrays(opt_state, shards),
    )


def state_shardings(state: TrainState) -> TrainState:
    """The sharding of every array of a state, abstract or real."""
    return jax.tree.map(lambda x: x.sharding, state)


def wide(params: Any) -> Any:
    """The parameters in float32, in which optimizers compute whatever dtype they are kept in."""
    return jax.tree.map(lambda x: x.astype(jnp.float32), params)


def _like_params(opt_state: Any, param_shards: Any, whole: NamedSharding) -> Any:
    """A moment's path ends with its parameter's; whatever else is in there (counts) is whole."""
    by_path = dict(jax.tree_util.tree_leaves_with_path(param_shards))

    def find(path, leaf):
        tails = (path[start:] for start in range(len(path)))
        return next((by_path[tail] for tail in tails if tail in by_path), whole)

    return jax.tree_util.tree_map_with_path(find, opt_state)
