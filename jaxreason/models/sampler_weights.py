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
import math
from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.models.layers import join_outputs
from jaxreason.models.quantization import quantize_outputs
from jaxreason.sharding import RULES, abstract_arrays, num_parts

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
        output_first=_is_unrolled(model, mesh) and _platform(mesh) == "cpu",
        int8=dtype == "int8",
        fused=_fused_parts(model, mesh),
        remat="none",
    )


def _fused_parts(model: Model, mesh: Mesh) -> int:
    """The number of devices that split heads; 0 if kernels are not joined."""
    parts, arch = mesh.shape["tensor"], model.architecture
    even = arch.num_key_value_heads % parts == 0 and arch.intermediate_size % parts == 0
    return parts if _platform(mesh) == "gpu" and even else 0


def _is_unrolled(model: Model, mesh: Mesh) -> bool:
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
    run = _program(model, mesh, weights)
    given = {name: params[name] for name in changed}
    if old is None:
        return params | run(given, None)
    return params | run(given, {name: old[name] for name in changed})


def read_layout(
    model: Model,
    mesh: Mesh,
    read: Callable[..., jax.Array],
    weights: WeightLayout = DEFAULT,
    ready: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """`lay_out` of parameters that nobody else needs, read one at a time: two copies of all of them never exist.

    The largest come first. On GPUs each of them leaves a hole in memory, which later ones fill; after a copy of all
    at once, half of the memory before the cache would be a hole into which it does not fit.

    Args:
      model: the trainer's, as for `lay_out`.
      mesh: where the parameters will be.
      read: gives a parameter of `model` by its path and by arrays that must be ready before it goes to the devices.
      weights: as for `lay_out`.
      ready: waits for one of `part_programs`, by its name.
    """
    changed, found, before = changed_parts(model, mesh, weights), {}, None

    def read_next(path: tuple) -> jax.Array:
        nonlocal before
        before = read(path, before)
        return before

    for names, paths in _largest_first(model, mesh):
        part = _part(paths, read_next)
        if names[0] in changed:
            ready(_part_name(names))
            part = _program(model, mesh, weights, names)(part, None)
        before, found = part, _merged(found, part)
    return jax.block_until_ready(found)


def part_programs(
    model: Model, mesh: Mesh, weights: WeightLayout
) -> dict[str, tuple[Any, tuple[Any, None]]]:
    """The jitted programs of `read_layout` by name, with abstract arguments, in their order."""
    params = abstract_arrays(abstract_params(model), param_shardings(model, mesh))
    flat = dict(jax.tree_util.tree_leaves_with_path(params))
    changed = changed_parts(model, mesh, weights)
    return {
        _part_name(names): (
            _program(model, mesh, weights, names),
            (_part(paths, flat.__getitem__), None),
        )
        for names, paths in _largest_first(model, mesh)
        if names[0] in changed
    }


def _part_name(names: tuple[str, ...]) -> str:
    return f"{'.'.join(names)} to the sampler"


def _largest_first(model: Model, mesh: Mesh) -> list[tuple[tuple[str, ...], list[tuple]]]:
    """`_kept_as_one`, those of the most numbers first."""
    leaves = jax.tree_util.tree_leaves_with_path(abstract_params(model))
    sizes = {path: math.prod(x.shape) for path, x in leaves}
    groups = _kept_as_one(model, mesh).items()
    return sorted(groups, key=lambda item: -sum(sizes[path] for path in item[1]))


def _merged(tree: Any, part: Any) -> Any:
    """Two trees of parameters, or of layers, as one."""
    if isinstance(part, tuple):
        return tuple(_merged(*pair) for pair in zip(tree or [{}] * len(part), part, strict=True))
    if not isinstance(part, dict):
        return part
    return tree | {name: _merged(tree.get(name, {}), inner) for name, inner in part.items()}


def replace_params(
    model: Model,
    mesh: Mesh,
    laid_out: dict[str, Any],
    read: Callable[[tuple], jax.Array],
    weights: WeightLayout = DEFAULT,
) -> None:
    """Puts new values into the parameters of `lay_out`, one parameter at a time, each in the memory of the old one.

    There is never a second copy of more than one parameter (of all its layers), or of those that are kept as one. If
    `read` raises, the parameters before are new and the others old: the set must not be used until all have been
    replaced.

    Args:
      model: the trainer's, as for `lay_out`.
      mesh: where the parameters are.
      laid_out: changed in place; nobody else may use its arrays.
      read: gives a parameter of `model` by its path.
      weights: as for `lay_out`.
    """
    changed = changed_parts(model, mesh, weights)

    def replace(names: tuple[str, ...], paths: list[tuple]) -> None:
        part = _part(paths, read)
        if names[0] in changed:
            part = _program(model, mesh, weights, names)(part, _pick(laid_out, names))
        _put(laid_out, part)

    for names, paths in _kept_as_one(model, mesh).items():
        replace(names, paths)  # whose variables are gone when the next is read


def _kept_as_one(model: Model, mesh: Mesh) -> dict[tuple[str, ...], list[tuple]]:
    """The names of each parameter of the sampler, and the paths of the trainer's that it is made of."""
    fused = FUSED if _fused_parts(model, mesh) else {}
    joined = {(module, x): name for (module, name), sources in fused.items() for x in sources}
    found: dict[tuple[str, ...], list[tuple]] = {}
    for path, _ in jax.tree_util.tree_leaves_with_path(abstract_params(model)):
        names = tuple(entry.key for entry in path)
        if names[1:3] in joined:
            names = (*names[:2], joined[names[1], names[2]], *names[3:])
        found.setdefault(names, []).append(path)
    return found


def _part(paths: list[tuple], read: Callable[[tuple], Any]) -> dict[str, Any]:
    """The tree with the parameters of these paths alone."""
    part: dict[str, Any] = {}
    for path in paths:
        *names, last = (entry.key for entry in path)
        tree = part
        for name in names:
            tree = tree.setdefault(name, {})
        tree[last] = read(path)
    return part


def changed_parts(model: Model, mesh: Mesh, weights: WeightLayout) -> tuple[str, ...]:
    """The entries of the parameters that `lay_out` copies."""
    wanted, names = sampling_model(model, mesh, weights.dtype), tuple(abstract_params(model))
    moved = weights.gathered and num_parts(mesh, "embed") > 1
    if moved or wanted.param_dtype != model.param_dtype:
        return names
    changed = ("layers", "lm_head") if wanted.output_first else ("layers",)
    copied = wanted.int8 or _is_unrolled(model, mesh)
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
    return _program(model, mesh, weights), (given, old)


def _placed(x: Any, sharding: NamedSharding) -> jax.Array:
    return x if getattr(x, "sharding", None) == sharding else jax.device_put(x, sharding)


def _pick(tree: Any, names: tuple[str, ...]) -> Any:
    """The subtree with one parameter alone, its scales included; that of every layer where layers are unrolled."""
    if isinstance(tree, tuple):
        return tuple(_pick(layer, names) for layer in tree)
    if len(names) == 1:
        return {name: x for name, x in tree.items() if name in (names[0], f"{names[0]}_scale")}
    return {names[0]: _pick(tree[names[0]], names[1:])}


def _put(tree: Any, part: Any) -> None:
    """Puts such a subtree back in its place."""
    if isinstance(tree, tuple):
        for layer, theirs in zip(tree, part, strict=True):
            _put(layer, theirs)
        return
    for name, inner in part.items():
        if isinstance(inner, dict | tuple):
            _put(tree[name], inner)
        else:
            tree[name] = inner


@functools.lru_cache(maxsize=32)
def _program(model: Model, mesh: Mesh, weights: WeightLayout, names: tuple[str, ...] = ()):
    """The program that copies all parts that change, or only the parameter of these names."""

    def change(params: dict[str, Any], old: dict[str, Any] | None) -> dict[str, Any]:
        del old  # only its memory is wanted
        return _change(model, mesh, weights.dtype, params)

    shardings = _shardings(model, mesh, weights)
    shardings = _pick(shardings, names) if names else shardings
    return jax.jit(change, donate_argnums=1, keep_unused=True, out_shardings=shardings)


def _shardings(model: Model, mesh: Mesh, weights: WeightLayout) -> Any:
    """Shardings of the parts that change."""
    wanted = sampling_model(model, mesh, weights.dtype)
    found = param_shardings(wanted, mesh)
    if weights.gathered:
        found = jax.tree.map(_gathered, found)
    if _is_unrolled(model, mesh):
        layer = jax.tree.map(
            lambda s: NamedSharding(mesh, PartitionSpec(*s.spec[1:])), found["layers"]
        )
        found["layers"] = (layer,) * model.architecture.num_hidden_layers
    return {name: found[name] for name in changed_parts(model, mesh, weights)}


def _gathered(sharding: NamedSharding) -> NamedSharding:
    # Without `fsdp` in the spec every device has the whole of its heads: no collective for each token.
    split = (*RULES["embed"], RULES["embed"])  # one axis has two spellings
    kept = (None if axes in split else axes for axes in sharding.spec)
    return NamedSharding(sharding.mesh, PartitionSpec(*kept))


def _change(model: Model, mesh: Mesh, dtype: WeightDtype, params: dict[str, Any]) -> dict[str, Any]:
    wanted = sampling_model(model, mesh, dtype)
    if wanted.int8 and "layers" in params:
        params = params | {"layers": _quantized(params["layers"])}
    params = jax.tree_util.tree_map_with_path(functools.partial(_stored, wanted), params)
    if not _is_unrolled(model, mesh) or "layers" not in params:
        return params
    apart = (_layer(params["layers"], i) for i in range(model.architecture.num_hidden_layers))
    return params | {"layers": tuple(_joined(layer, wanted.fused) for layer in apart)}


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
