"""Numbers that are none: which weight of a model, and which text and layer."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxreason.analysis.measured import Measured
from jaxreason.analysis.questions import QuestionStates
from jaxreason.analysis.texts import Unit
from jaxreason.checkpoint import leaves_by_path
from jaxreason.sharding import to_host

_MOST_NAMED = 3


def why_not_finite(params: dict[str, Any]) -> str:
    """Which weights hold NaN or infinity; "" if none does. Every process must call it.

    Args:
      params: of a model, layers stacked.
    """
    named = []
    for name, leaf in leaves_by_path(params).items():
        stacked = name.startswith("layers.")
        counts = to_host(_count(leaf, stacked))
        for layer, number in enumerate(np.atleast_1d(counts)):
            if number:
                named.append(f"{name}{f' of layer {layer}' if stacked else ''} ({number} values)")
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"not finite: {', '.join(named[:_MOST_NAMED])}{more}" if named else ""


@functools.partial(jax.jit, static_argnums=1)
def _count(x: jax.Array, by_layer: bool) -> jax.Array:
    dims = tuple(range(1, x.ndim)) if by_layer else None
    return jnp.sum(~jnp.isfinite(x), axis=dims, dtype=jnp.int32)


def why_not_finite_states(unit: Unit, measured: Measured | QuestionStates) -> str:
    """The first text in which a model's states or token distributions are not finite, and the layer; "" if none."""
    is_pooled = isinstance(measured, Measured)
    for model, states in (("base", measured.base), ("tuned model", measured.tuned)):
        several = states.values() if is_pooled else [states]
        wrong = np.any([~np.isfinite(states).all(-1) for states in several], axis=0)
        if wrong.any():
            text, layer = np.argwhere(wrong)[0]
            where = f"from layer {layer} on" if layer else "from the embeddings on"
            return f"text {unit.texts[text].id}: states of the {model} are not finite {where}"
    for name, values in (measured.tokens if is_pooled else {}).items():
        wrong = ~np.isfinite(values)
        if wrong.any():
            text, place = np.argwhere(wrong)[0]
            return f"text {unit.texts[text].id}: {name} of reply token {place + 1} is not finite"
    return ""
