"""The training state and its sharding: the optimizer's moments are sharded like their parameters."""

import logging
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int

from jaxreason.memory import check_room
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.sharding import abstract_arrays, bytes_on_device

_LOG = logging.getLogger(__name__)


class TrainState(NamedTuple):
    """Everything that a step changes and a checkpoint holds. The position in the data follows from `step`.

    Attributes:
      step: number of updates made.
      params: the model's parameters, in its param_dtype.
      opt_state: the state of the Optax optimizer.
    """

    step: Int[Array, ""]
    params: Any
    opt_state: Any


def init_state(optimizer: optax.GradientTransformation, params: Any, mesh: Mesh) -> TrainState:
    """Makes the state before the first step. It takes over `params`, which the first step donates.

    Raises:
      MemoryError: as `check_room`.
    """

    def start(params):
        return jnp.zeros((), jnp.int32), optimizer.init(wide(params))

    whole = NamedSharding(mesh, PartitionSpec())
    param_shards = jax.tree.map(lambda x: x.sharding, params)
    moments = jax.eval_shape(start, params)[1]
    shards = _like_params(moments, param_shards, whole)
    on_each = bytes_on_device(abstract_arrays(moments, shards))
    check_room(on_each * len(mesh.local_devices), "the optimizer's state")
    step, opt_state = jax.jit(start, out_shardings=(whole, shards))(params)
    return TrainState(step, params, opt_state)


def abstract_train_state(
    model: Model, optimizer: optax.GradientTransformation, mesh: Mesh
) -> TrainState:
    """Returns shapes, dtypes and shardings of the state of `model`, to restore a checkpoint with."""
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
    """Returns the sharding of every array of a state, abstract or real."""
    return jax.tree.map(lambda x: x.sharding, state)


def wide(tree: Any) -> Any:
    """Returns the arrays in float32: gradients are summed and optimizers compute in it, however params are stored."""
    return optax.tree.cast(tree, jnp.float32)


def warn_of_rounding(model: Model) -> None:
    """Logs a warning if parameters are kept in so few bits that small updates leave them as they are."""
    if model.param_dtype == "float32":
        return
    share = float(jnp.finfo(model.param_dtype).eps) / 2
    _LOG.warning(
        "model.param_dtype=%s: a step changes no weight by less than about 1/%d of its size, so with a usual learning "
        "rate most weights never change; update_norm says how much they did. float32 loses nothing.",
        model.param_dtype,
        round(1 / share),
    )


def _like_params(opt_state: Any, param_shards: Any, whole: NamedSharding) -> Any:
    """The path of a moment ends with its parameter's path, so it gets that sharding; all
    else (counts) is replicated.
    """
    by_path = dict(jax.tree_util.tree_leaves_with_path(param_shards))

    def find(path, leaf):
        tails = (path[start:] for start in range(len(path)))
        return next((by_path[tail] for tail in tails if tail in by_path), whole)

    return jax.tree_util.tree_map_with_path(find, opt_state)
