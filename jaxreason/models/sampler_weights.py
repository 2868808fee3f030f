"""The sampler's parameters: the trainer's own arrays, or copies in another dtype or layout.

After an update `rl.loop.sync_weights` hands new parameters to `Engine.set_params`, which calls `lay_out`.

A decode step reads all weights, so they are kept in the dtype in which products are made. Where layers are unrolled
(on CPU if the model says so, on GPUs always) each has arrays of its own: XLA copies a layer's slice of stacked weights
before each product, which takes longer than the product itself. And XLA's CPU compiler makes the product of few rows
with a kernel in half the time where the kernel is kept output by output (`layers.multiply_rows_by_outputs`). On GPUs,
kernels with the same input are kept as one: XLA makes one product of them, and would copy them together each time.
Over many devices the copies need not be split as finely as the trainer's: what is whole is not collected for each
token.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.models.layers import join_outputs
from jaxreason.models.quantization import quantize_outputs
from jaxreason.sharding import RULES, abstract_arrays, num_parts, unstacked

# Of a layer: the kernel that a GPU's sampler has in place of several.
FUSED = {
    ("self_attn", "qkv_proj"): ("q_proj", "k_proj", "v_proj"),
    ("mlp", "gate_up_proj"): ("gate_proj", "up_proj"),
}

WeightDtype = Literal["auto", "int8"]  # auto: that of the activations


class WeightLayout(NamedTuple):
    """The dtype and sharding in which a sampler keeps its weights.

    Attributes:
      dtype: of the layers' kernels.
      gathered: split by heads alone; else split as the trainer's, and gathered again for each token.
    """

    dtype: WeightDtype = "auto"
    gathered: bool = False


DEFAULT = WeightLayout()


def sampling_model(model: Model, mesh: Mesh, dtype: WeightDtype = "auto") -> Model:
    """The model that samples on `mesh` with the parameters of `lay_out`."""
    return dataclasses.replace(
        model,
        param_dtype=model.dtype,
        output_first=is_unrolled(model, mesh) and _platform(mesh) == "cpu",
        int8=dtype == "int8",
        fused=_fused_parts(model, mesh),
        remat="none",
    )


def _fused_parts(model: Model, mesh: Mesh) -> int:
    """The number of devices that split heads; 0 if kernels are not joined."""
    parts, arch = mesh.shape["tensor"], model.architecture
    even = arch.num_key_value_heads % parts == 0 and arch.intermediate_size % parts == 0
    return parts if _platform(mesh) == "gpu" and even else 0


def joined_kernels(model: Model, mesh: Mesh) -> dict[tuple[str, str], str]:
    """The name of the sampler's kernel by the module and the name of each that becomes a part of it."""
    fused = FUSED if _fused_parts(model, mesh) else {}
    return {(module, x): name for (module, name), sources in fused.items() for x in sources}


def is_unrolled(model: Model, mesh: Mesh) -> bool:
    """Whether each layer has arrays of its own."""
    everything = model.unroll >= model.architecture.num_hidden_layers
    return {"cpu": everything, "gpu": True}.get(_platform(mesh), False)


def _platform(mesh: Mesh) -> str:
    return mesh.devices.flat[0].platform


def lay_out(
    model: Model,
    mesh: Mesh,
    params: dict[str, Any],
    weights: WeightLayout = DEFAULT,
    old: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The parameters of `model` for `sampling_model(model, mesh, weights.dtype)`; only arrays that change are copied.

    Unrolled, `layers` is a tuple of L layers in place of the stacked ones. `old` is what an earlier call gave: the
    copies in it are donated, and the new ones take their place.
    """
    params = jax.tree.map(_placed, params, param_shardings(model, mesh))
    changed = changed_parts(model, mesh, weights)
    if not changed:
        return params
    run = copy_program(model, mesh, weights)
    given = {name: params[name] for name in changed}
    if old is None:
        return params | run(given, None)
    return params | run(given, {name: old[name] for name in changed})


def changed_parts(model: Model, mesh: Mesh, weights: WeightLayout) -> tuple[str, ...]:
    """The entries of the parameters that `lay_out` copies."""
    wanted, names = sampling_model(model, mesh, weights.dtype), tuple(abstract_params(model))
    moved = weights.gathered and num_parts(mesh, "embed") > 1
    if moved or wanted.param_dtype != model.param_dtype:
        return names
    changed = ("layers", "lm_head") if wanted.output_first else ("layers",)
    copied = wanted.int8 or is_unrolled(model, mesh)
    return tuple(name for name in changed if name in names) if copied else ()


def abstract_layout(model: Model, mesh: Mesh, weights: WeightLayout) -> dict[str, Any]:
    """Shapes, dtypes and shardings of the result of `lay_out`."""
    params = abstract_arrays(abstract_params(model), param_shardings(model, mesh))
    given = {name: params[name] for name in changed_parts(model, mesh, weights)}
    if not given:
        return params
    shapes = jax.eval_shape(functools.partial(_change, model, mesh, weights.dtype), given)
    return params | abstract_arrays(shapes, _shardings(model, mesh, weights))


def move_program(model: Model, mesh: Mesh, weights: WeightLayout) -> tuple[Any, tuple] | None:
    """The jitted copy that `lay_out` makes, and abstract arguments for it; None where it copies nothing."""
    changed = changed_parts(model, mesh, weights)
    if not changed:
        return None
    params = abstract_arrays(abstract_params(model), param_shardings(model, mesh))
    made = abstract_layout(model, mesh, weights)
    given, old = ({name: tree[name] for name in changed} for tree in (params, made))
    return copy_program(model, mesh, weights), (given, old)


def _placed(x: Any, sharding: NamedSharding) -> jax.Array:
    return x if getattr(x, "sharding", None) == sharding else jax.device_put(x, sharding)


def pick(tree: Any, names: tuple[str, ...]) -> Any:
    """The subtree with one parameter alone, its scales included; that of every layer where layers are unrolled."""
    if isinstance(tree, tuple):
        return tuple(pick(layer, names) for layer in tree)
    if len(names) == 1:
        return {name: x for name, x in tree.items() if name in (names[0], f"{names[0]}_scale")}
    return {names[0]: pick(tree[names[0]], names[1:])}


@functools.lru_cache(maxsize=32)
def copy_program(
    model: Model, mesh: Mesh, weights: WeightLayout, names: tuple[str, ...] = ()
) -> Callable[[dict[str, Any], dict[str, Any] | None], dict[str, Any]]:
    """The program that copies all parts that change, or only the parameter of these names."""

    def change(params: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
        del old  # only its memory is wanted
        return _change(model, mesh, weights.dtype, params)

    shardings = _shardings(model, mesh, weights)
    shardings = pick(shardings, names) if names else shardings
    return jax.jit(change, donate_argnums=1, keep_unused=True, out_shardings=shardings)


@functools.lru_cache(maxsize=32)
def layer_program(
    model: Model, mesh: Mesh, weights: WeightLayout, names: tuple[str, ...]
) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """The program that makes one parameter of a layer of the sampler from that layer of the trainer's."""
    wanted = sampling_model(model, mesh, weights.dtype)

    def change(layer: dict[str, Any]) -> dict[str, Any]:
        return _joined(_converted(wanted, {"layers": layer})["layers"], wanted.fused)

    shardings = pick(_shardings(model, mesh, weights)["layers"][0], names[1:])
    return jax.jit(change, out_shardings=shardings)


def _shardings(model: Model, mesh: Mesh, weights: WeightLayout) -> Any:
    """Shardings of the parts that change."""
    wanted = sampling_model(model, mesh, weights.dtype)
    found = param_shardings(wanted, mesh)
    if weights.gathered:
        found = jax.tree.map(_gathered, found)
    if is_unrolled(model, mesh):
        layer = jax.tree.map(unstacked, found["layers"])
        found["layers"] = (layer,) * model.architecture.num_hidden_layers
    return {name: found[name] for name in changed_parts(model, mesh, weights)}


def _gathered(sharding: NamedSharding) -> NamedSharding:
    # Without `fsdp` in the spec every device has the whole of its heads: no collective for each token.
    split = (*RULES["embed"], RULES["embed"])  # one axis has two spellings
    kept = (None if axes in split else axes for axes in sharding.spec)
    return NamedSharding(sharding.mesh, PartitionSpec(*kept))


def _change(model: Model, mesh: Mesh, dtype: WeightDtype, params: dict[str, Any]) -> dict[str, Any]:
    wanted = sampling_model(model, mesh, dtype)
    params = _converted(wanted, params)
    if not is_unrolled(model, mesh) or "layers" not in params:
        return params
    apart = (_layer(params["layers"], i) for i in range(model.architecture.num_hidden_layers))
    return params | {"layers": tuple(_joined(layer, wanted.fused) for layer in apart)}


def _converted(wanted: Model, params: dict[str, Any]) -> dict[str, Any]:
    """Parameters in the form in which the sampler keeps them; `layers` is a stack of layers or one of them."""
    if wanted.int8 and "layers" in params:
        params = params | {"layers": _quantized(params["layers"])}
    return jax.tree_util.tree_map_with_path(functools.partial(_stored, wanted), params)


def _joined(layer: dict[str, Any], parts: int) -> dict[str, Any]:
    """A layer (or the part of it that is there) with the kernels of FUSED joined, unless `parts` is 0."""
    for (module, name), sources in FUSED.items() if parts else ():
        inside = layer.get(module, {})
        if sources[0] in inside:
            given = [inside[source] for source in sources]
            one = jax.tree.map(lambda *x: join_outputs(x, parts), *given)
            rest = {key: x for key, x in inside.items() if key not in sources}
            layer = layer | {module: rest | {name: one}}
    return layer


def _quantized(tree: Any) -> Any:
    """The same tree with every kernel as int8 and the scales of its outputs beside it."""
    if not isinstance(tree, dict):
        return tree
    if "kernel" not in tree:
        return {name: _quantized(part) for name, part in tree.items()}
    kernel, scale = quantize_outputs(tree["kernel"])
    return tree | {"kernel": kernel, "kernel_scale": scale}


def _stored(wanted: Model, path: tuple, x: jax.Array) -> jax.Array:
    if path[-1].key == "kernel" and wanted.output_first:
        x = x.mT
    scaled = wanted.int8 and path[0].key == "layers" and path[-1].key.startswith("kernel")
    return x if scaled else x.astype(wanted.param_dtype)


def _layer(stacked: Any, index: int) -> Any:
    return jax.tree.map(lambda x: x[index], stacked)
