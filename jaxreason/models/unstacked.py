"""Parameters with every layer in arrays of its own, for programs on CPU that unroll all layers.

XLA's CPU compiler copies a layer's slice of the stacked weights before each product. For the few rows of a decode step
that takes several times as long as the product itself.
"""

import functools
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.models.decoder import Model, param_shardings


def wants_unstacked(model: Model, mesh: Mesh) -> bool:
    """Whether programs of `model` on `mesh` run faster on unstacked layers."""
    on_cpu = all(device.platform == "cpu" for device in mesh.devices.flat)
    return on_cpu and model.unroll >= model.architecture.num_hidden_layers


def unstack_layers(model: Model, mesh: Mesh, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters with a tuple of L layers in place of the stacked ones; `decoder.forward` takes either."""
    return params | {"layers": _program(model, mesh)(params["layers"])}


@functools.lru_cache(maxsize=8)
def _program(model: Model, mesh: Mesh):
    number = model.architecture.num_hidden_layers
    layer = jax.tree.map(
        lambda s: NamedSharding(mesh, PartitionSpec(*s.spec[1:])),
        param_shardings(model, mesh)["layers"],
    )

    def unstack(stacked: Any) -> tuple[Any, ...]:
        return tuple(_layer(stacked, index) for index in range(number))

    return jax.jit(unstack, out_shardings=(layer,) * number)


def _layer(stacked: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], stacked)
