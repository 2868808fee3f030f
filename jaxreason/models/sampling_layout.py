"""Parameters as the sampler wants them: the trainer's own, or copies of the layers in another layout or in int8.

Models on CPU that unroll all layers are laid out for the few rows of a decode step. XLA's CPU compiler copies a layer's
slice of stacked weights before each product, which takes several times as long as the product itself: here every layer
has arrays of its own. And the product of few rows with a kernel is made in half the time where the kernel is kept
output by output (`layers.multiply_rows_by_outputs`).
"""

import dataclasses
import functools
from typing import Any, Literal

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.models.decoder import Model, abstract_params, param_shardings
from jaxreason.models.int8 import quantize_outputs
from jaxreason.sharding import abstract_arrays

WeightDtype = Literal["auto", "int8"]  # auto: that of the parameters


def sampling_model(model: Model, mesh: Mesh, weight_dtype: WeightDtype = "auto") -> Model:
    """The model that samples on `mesh` with what `lay_out` gives: `model` itself, or one whose layers differ."""
    on_cpu = all(device.platform == "cpu" for device in mesh.devices.flat)
    output_first = on_cpu and model.unroll >= model.architecture.num_hidden_layers
    int8 = weight_dtype == "int8"
    if not output_first and not int8:
        return model
    return dataclasses.replace(model, output_first=output_first, int8=int8, remat="none")


def lay_out(
    model: Model, mesh: Mesh, params: dict[str, Any], weight_dtype: WeightDtype = "auto"
) -> dict[str, Any]:
    """The parameters of `model` for `sampling_model(model, mesh, weight_dtype)`; what needs no change is not copied.

    In the layout for few rows, `layers` is a tuple of L layers in place of the stacked ones.
    """
    params = jax.tree.map(_placed, params, param_shardings(model, mesh))
    wanted = sampling_model(model, mesh, weight_dtype)
    if wanted == model:
        return params
    changed = ("layers", "lm_head") if wanted.output_first else ("layers",)
    changed = tuple(name for name in changed if name in params)
    return params | _program(wanted, mesh, changed)({name: params[name] for name in changed})


def abstract_layout(model: Model, mesh: Mesh, weight_dtype: WeightDtype) -> dict[str, Any]:
    """Shapes, dtypes and shardings of what `lay_out` gives on accelerators."""
    wanted = sampling_model(model, mesh, weight_dtype)
    return abstract_arrays(abstract_params(wanted), param_shardings(wanted, mesh))


def _placed(x: Any, sharding: NamedSharding) -> jax.Array:
    return x if getattr(x, "sharding", None) == sharding else jax.device_put(x, sharding)


@functools.lru_cache(maxsize=8)
def _program(wanted: Model, mesh: Mesh, changed: tuple[str, ...]):
    number = wanted.architecture.num_hidden_layers
    shardings = {name: param_shardings(wanted, mesh)[name] for name in changed}
    if wanted.output_first:
        layer = jax.tree.map(
            lambda s: NamedSharding(mesh, PartitionSpec(*s.spec[1:])), shardings["layers"]
        )
        shardings["layers"] = (layer,) * number

    def change(params: dict[str, Any]) -> dict[str, Any]:
        if wanted.int8:
            params = params | {"layers": _quantized(params["layers"])}
        if not wanted.output_first:
            return params
        turned = jax.tree_util.tree_map_with_path(_output_first, params)
        return turned | {"layers": tuple(_layer(turned["layers"], i) for i in range(number))}

    return jax.jit(change, out_shardings=shardings)


def _quantized(tree: Any) -> Any:
    """The same tree with every kernel as int8, its outputs' scales beside it."""
    if not isinstance(tree, dict):
        return tree
    if "kernel" not in tree:
        return {name: _quantized(part) for name, part in tree.items()}
    kernel, scale = quantize_outputs(tree["kernel"])
    return tree | {"kernel": kernel, "kernel_scale": scale}


def _output_first(path: tuple, x: jax.Array) -> jax.Array:
    return x.mT if path[-1].key == "kernel" else x


def _layer(stacked: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], stacked)
