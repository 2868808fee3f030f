"""Weights that go one at a time into the sampler's layout: read at the start, or in the memory of earlier ones.

`sampler_weights.lay_out` copies all of them together, which needs room for two copies of what changes.
"""

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.models.sampler_weights import (
    DEFAULT,
    WeightLayout,
    changed_parts,
    copy_program,
    is_unrolled,
    joined_kernels,
    layer_program,
    pick,
)
from jaxreason.sharding import abstract_arrays, unstacked

_AHEAD, _THREADS = 4, 8  # Layers of a parameter that are read ahead, and the threads that read.


def read_layout(
    model: Model,
    mesh: Mesh,
    read: Callable[..., jax.Array],
    weights: WeightLayout = DEFAULT,
    ready: Callable[[str], None] = lambda name: None,
) -> dict[str, Any]:
    """`lay_out` of parameters that nobody else needs, read one at a time: two copies of all of them never exist.

    The largest come first; where layers are unrolled, each layer of a parameter is read by itself. After a copy of all
    at once, half of a GPU's memory before the cache would be a hole into which it does not fit.

    Args:
      model: the trainer's, as for `lay_out`.
      mesh: where the parameters will be.
      read: gives a parameter of `model` by its path and by arrays that must be ready before it goes to the devices.
        Where layers are unrolled, several threads call it with the number of a layer as well.
      weights: as for `lay_out`.
      ready: waits for one of `part_programs`, by its name.
    """
    reader, found, before = _Reader(model, mesh, read, weights, ready), {}, None
    for names, paths in _largest_first(model, mesh):
        if _by_layer(model, mesh, names):
            before = reader.layers(names, paths)
        else:
            before = reader.whole(names, paths, before)
        found = _merged(found, before)
    return jax.block_until_ready(found)


def _by_layer(model: Model, mesh: Mesh, names: tuple[str, ...]) -> bool:
    """Whether a parameter is an array of its own in each layer of the sampler."""
    return names[0] == "layers" and is_unrolled(model, mesh)


class _Reader(NamedTuple):
    """Reads one parameter of the sampler after the other; the fields are `read_layout`'s."""

    model: Model
    mesh: Mesh
    read: Callable[..., jax.Array]
    weights: WeightLayout
    ready: Callable[[str], None]

    def whole(self, names: tuple[str, ...], paths: list[tuple], before: Any) -> dict[str, Any]:
        """Reads one that is no array of a single layer. What was read before it must first be on the devices."""

        def read_next(path: tuple) -> jax.Array:
            nonlocal before
            before = self.read(path, before)
            return before

        part, where = _part(paths, read_next), (self.model, self.mesh, self.weights)
        if names[0] not in changed_parts(*where):
            return part
        self.ready(_part_name(names))
        return copy_program(*where, names)(part, None)

    def layers(self, names: tuple[str, ...], paths: list[tuple]) -> dict[str, Any]:
        """Reads one of every layer."""
        program = layer_program(self.model, self.mesh, self.weights, names)
        made: list[Any] = []
        for part in self._read_ahead(paths):
            if not made:
                self.ready(_part_name(names))
            # So that no more is on its way to the devices than has been read ahead.
            jax.block_until_ready(made[-_AHEAD:][:1])
            made.append(program(part["layers"]))
        return {"layers": tuple(made)}

    def _read_ahead(self, paths: list[tuple]) -> Iterator[dict[str, Any]]:
        """Yields the trees of these parameters, layer by layer, while threads read the next layers."""
        number = self.model.architecture.num_hidden_layers
        with ThreadPoolExecutor(_THREADS) as pool:
            begun: deque[dict[tuple, Future]] = deque()
            for layer in range(number + _AHEAD):
                if layer < number:
                    begun.append({x: pool.submit(self.read, x, None, layer) for x in paths})
                if layer >= _AHEAD:
                    reading = begun.popleft()
                    yield _part(paths, lambda path: reading[path].result())  # noqa: B023


def part_programs(
    model: Model, mesh: Mesh, weights: WeightLayout
) -> dict[str, tuple[Any, tuple[Any, ...]]]:
    """The jitted programs of `read_layout` by name, with abstract arguments, in their order."""
    params = abstract_arrays(abstract_params(model), param_shardings(model, mesh))
    flat = dict(jax.tree_util.tree_leaves_with_path(params))
    changed, found = changed_parts(model, mesh, weights), {}
    for names, paths in _largest_first(model, mesh):
        part = _part(paths, flat.__getitem__)
        if _by_layer(model, mesh, names):
            layer = jax.tree.map(_one_layer, part["layers"])
            found[_part_name(names)] = layer_program(model, mesh, weights, names), (layer,)
        elif names[0] in changed:
            found[_part_name(names)] = copy_program(model, mesh, weights, names), (part, None)
    return found


def _one_layer(x: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape[1:], x.dtype, sharding=unstacked(x.sharding))


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
            part = copy_program(model, mesh, weights, names)(part, pick(laid_out, names))
        _put(laid_out, part)

    for names, paths in _kept_as_one(model, mesh).items():
        replace(names, paths)  # whose variables are gone when the next is read


def _kept_as_one(model: Model, mesh: Mesh) -> dict[tuple[str, ...], list[tuple]]:
    """The names of each parameter of the sampler, and the paths of the trainer's that it is made of."""
    joined = joined_kernels(model, mesh)
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
