"""Parameters laid out for the few rows of a decode step, for models on CPU that unroll all layers.

XLA's CPU compiler copies a layer's slice of stacked weights before each product, which takes several times as long as
the product itself: here every layer has arrays of its own. And the product of few rows with a kernel is made in half
the time where the kernel is kept output by output (`layers.multiply_rows_by_outputs`).
"""

import dataclasses
import functools
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.models.decoder import Model, param_shardings


def sampling_model(model: Model, mesh: Mesh) -> Model:
    """The model that samples on `mesh` with what `lay_out` gives: `model` itself, or one that differs in layout."""
    on_cpu = all(device.platform == "cpu" for device in mesh.devices.flat)
    if not on_cpu or model.unroll < model.architecture.num_hidden_layers:
        return model
    return dataclasses.replace(model, output_first=True, remat="none")


def lay_out(model: Model, mesh: Mesh, params: dict[str, Any]) -> dict[str, Any]:
    """The parameters of `model` for `sampling_model(model, mesh)`; no copy is made where they need no change.

    In a changed layout, `layers` is a tuple of L layers in place of the stacked ones.
    """
    params = jax.tree.map(_placed, params, param_shardings(model, mesh))
    if not sampling_model(model, mesh).output_first:
        return params
    return params | _program(model, mesh, "lm_head" in params)(
        {name: params[name] for name in ("layers", "lm_head") if name in params}
    )


def _placed(x: Any, sharding: NamedSharding) -> jax.Array:
    return x if getattr(x, "sharding", None) == sharding else jax.device_put(x, sharding)


@functools.lru_cache(maxsize=8)
def _program(model: Model, mesh: Mesh, has_head: bool):
    number = model.architecture.num_hidden_layers
    shardings = param_shardings(sampling_model(model, mesh), mesh)
    layer = jax.tree.map(
        lambda s: NamedSharding(mesh, PartitionSpec(*s.spec[1:])), shardings["layers"]
    )
    wanted = {"layers": (layer,) * number}
    if has_head:
        wanted["lm_head"] = shardings["lm_head"]

    def change(params: dict[str, Any]) -> dict[str, Any]:
        turned = jax.tree_util.tree_map_with_path(_output_first, params)
        layers = tuple(_layer(turned["layers"], index) for index in range(number))
        return turned | {"layers": layers}

    return jax.jit(change, out_shardings=wanted)


def _output_first(path: tuple, x: jax.Array) -> jax.Array:
    return x.mT if path[-1].key == "kernel" else x


def _layer(stacked: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], stacked)
