"""Counts the floating-point operations of matrix products in a traced program.

They are counted where they stand: a loop's body as often as it runs, recomputation where it happens, and of a
conditional the more expensive branch. XLA's own count takes the body of a scan once and leaves kernels out.
"""

import math
from typing import Any, NamedTuple

from jax.extend import core


class ProductFlops(NamedTuple):
    """FLOPs of one run over all devices; a multiplication and an addition count as two.

    Attributes:
      weights: products with weights, including the output head.
      attention: products of activations with each other: attention's scores and sums, including skipped pairs.
      kernels: Pallas kernels (whose FLOPs are not counted), with how often each runs.
    """

    weights: float
    attention: float
    kernels: float

    def __add__(self, other: "ProductFlops") -> "ProductFlops":
        return ProductFlops(*(a + b for a, b in zip(self, other, strict=True)))

    def times(self, factor: float) -> "ProductFlops":
        """Returns the FLOPs of `factor` runs."""
        return ProductFlops(*(factor * x for x in self))


NONE = ProductFlops(0.0, 0.0, 0.0)


def count_work(jaxpr: Any) -> ProductFlops:
    """Counts the products of a (closed) jaxpr, as `jitted.trace(...).jaxpr` returns it; a `while` counts once.

    Results that nothing reads do not count, since the compiler removes them.
    """
    jaxpr = getattr(jaxpr, "jaxpr", jaxpr)
    total, read = NONE, _variables(jaxpr.outvars)
    for equation in reversed(jaxpr.eqns):
        if equation.effects or not read.isdisjoint(equation.outvars):
            total += _of_equation(equation)
            read |= _variables(equation.invars)
    return total


def _variables(atoms: Any) -> set[core.Var]:
    return {atom for atom in atoms if isinstance(atom, core.Var)}


def _of_equation(equation: Any) -> ProductFlops:
    name, params = equation.primitive.name, equation.params
    if name == "dot_general":
        return _of_product(equation)
    if name == "pallas_call":
        return ProductFlops(0.0, 0.0, 1.0)
    inner = [count_work(found) for found in _inner(params)]
    if not inner:
        return NONE
    if name == "cond":
        return max(inner, key=lambda work: work.weights + work.attention)
    total = sum(inner, NONE)
    if name == "scan":
        return total.times(params["length"])
    if name == "shard_map":  # Its body is written for one device.
        return total.times(_manual_devices(params))
    return total


def _inner(params: dict[str, Any]) -> list[Any]:
    """Returns the programs inside an equation. Of a custom derivative, a traced step has only the function itself."""
    found = []
    for key, value in params.items():
        if key in ("jvp_jaxpr_fun", "fwd_jaxpr_thunk", "bwd"):
            continue
        values = value if isinstance(value, (tuple, list)) else (value,)
        found += [v for v in values if isinstance(v, (core.Jaxpr, core.ClosedJaxpr))]
    return found


def _of_product(equation: Any) -> ProductFlops:
    """Products with batch dimensions are between activations; weights have none."""
    (contracted, _), (batch, _) = equation.params["dimension_numbers"]
    left = equation.invars[0].aval.shape
    out = math.prod(equation.outvars[0].aval.shape)
    flops = 2.0 * out * math.prod(left[dim] for dim in contracted)
    return ProductFlops(0.0, flops, 0.0) if batch else ProductFlops(flops, 0.0, 0.0)


def _manual_devices(params: dict[str, Any]) -> int:
    mesh = params["mesh"]
    axes = params.get("manual_axes") or mesh.axis_names
    return math.prod(mesh.shape[axis] for axis in axes)
