"""Prepares drift metrics, and checks everything that they give: a user may have added them in a recipe.

What a metric gives wrongly is found where it is given, on all texts or on a resample, and never becomes a number of a
file.
"""

import inspect
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.analysis.metric_types import Prepared
from jaxreason.errors import UserError

SEE = "See docs/adding_metrics.md."


def prepare_metric(name: str, measured: Any, section: Mapping[str, Any]) -> Prepared:
    """Returns a metric of the measurements, with numbers of Python's own as values.

    Args:
      name: a key of METRICS.
      measured: what the metric reads.
      section: fields of the recipe's section, those that the metric takes among them.

    Raises:
      UserError: now, or when the metric is evaluated: its function returns something other than `Prepared` of finite
        numbers or NaN, or details that no file can hold.
    """
    prepared = METRICS[name].prepare(
        measured, **{field: section[field] for field in METRICS[name].settings}
    )
    if not isinstance(prepared, Prepared):
        raise _error(name, f"Prepared from {_said(METRICS[name].prepare)}, got {prepared!r:.80}")
    try:
        # Those who read the file refuse NaN and infinity.
        json.dumps(prepared.details, allow_nan=False)
    except (TypeError, ValueError) as error:
        what = f"details that JSON can hold from {_said(METRICS[name].prepare)} (lists, not arrays; None, not NaN)"
        raise _error(name, f"{what}, got: {error}") from error
    known: list[str] = []
    many = prepared.statistics and _checked_many(name, prepared, known)
    return Prepared(_checked(name, prepared, known), prepared.details, many)


def check_given(name: str, values: Mapping[str, float], details: Mapping[str, Any]) -> None:
    """Refuses a metric that gives neither a value of all texts nor a reason.

    Raises:
      UserError: names the metric and its function.
    """
    if not values and "undefined" not in details:
        what = f"values from {_said(METRICS[name].prepare)}, or a reason in details['undefined']"
        raise _error(name, f"{what}; got neither")


def _checked(name: str, prepared: Prepared, known: list[str]):
    """Makes the function of one selection; the names of the first one's values are added to `known`."""
    function = _said(prepared.statistics or prepared.statistic)

    def statistic(texts: Int[np.ndarray, " n"]) -> dict[str, float]:
        values = prepared.statistic(texts)
        _check_names(name, values, function)
        for key, value in values.items():
            if not _is_number(value):
                what = f"a finite number, or NaN, as {key!r} from {function}"
                raise _error(name, f"{what}, got {value!r:.80}")
        known.extend(() if known else values)
        return {key: float(value) for key, value in values.items()}

    return statistic


def _checked_many(name: str, prepared: Prepared, known: list[str]):
    """Makes the function of many selections, which gives all values that are `known`."""
    function = _said(prepared.statistics)

    def statistics(selections: Int[np.ndarray, "r n"]) -> dict[str, Float[np.ndarray, " r"]]:
        values = prepared.statistics(selections)
        _check_names(name, values, function)
        for key in dict.fromkeys([*known, *values]):
            value = values.get(key)
            if not _are_numbers(value, len(selections)):
                what = f"{len(selections)} numbers, finite or NaN, as {key!r} from {function}"
                raise _error(name, f"{what}, got {value!r:.80}")
        return {key: np.array(value, float) for key, value in values.items()}

    return statistics


def _check_names(name: str, values: Any, function: str) -> None:
    if not isinstance(values, Mapping):
        raise _error(name, f"{{name: number}} from {function}, got {values!r:.80}")
    for key in values:
        if not isinstance(key, str):
            raise _error(name, f"text as the name of a value from {function}, got {key!r:.80}")


def _is_number(value: Any) -> bool:
    # Of numpy and of JAX, too, whose numbers are arrays without axes.
    array = np.asarray(value)
    return array.ndim == 0 and array.dtype.kind in "biuf" and not np.isinf(array)


def _are_numbers(value: Any, count: int) -> bool:
    array = np.asarray(value)
    kind = array.dtype.kind
    return array.shape == (count,) and kind in "biuf" and not np.isinf(array).any()


def _error(name: str, expected: str) -> UserError:
    return UserError(f"drift metric {name!r}: expected {expected}. {SEE}")


def _said(function: Any) -> str:
    function = inspect.unwrap(getattr(function, "func", function))
    module = getattr(function, "__module__", "")
    return f"{module}.{getattr(function, '__qualname__', function)}"
