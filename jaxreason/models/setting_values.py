"""Values of a config.json: numbers are checked by their name before anything is computed from them."""

from collections.abc import Mapping
from typing import Any

from jaxreason.errors import UserError

# More than any model has. A size beyond is a broken or hostile file: it is refused before anything
# is made of that size, or counted up to it.
_MOST = {
    "num_hidden_layers": 10_000,
    "num_attention_heads": 100_000,
    "num_key_value_heads": 100_000,
    "vocab_size": 100_000_000,
    "hidden_size": 10_000_000,
    "intermediate_size": 100_000_000,
    "head_dim": 1_000_000,
}


def whole_number(values: Mapping[str, Any], key: str) -> int:
    """A size: a whole number from 1 up to more than any model has.

    Raises:
      UserError: it is not, by name.
    """
    value = values[key]
    most = _MOST.get(key, 2**53)
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        shown = repr(value)[:40]
        raise UserError(f"{key}={shown}: expected a whole number from 1 to {most:,}.")
    return value


def number(values: Mapping[str, Any], key: str) -> float:
    """A number of 0 or more.

    Raises:
      UserError: it is not, by name.
    """
    value = values[key]
    if not is_number(value) or value < 0:
        raise UserError(f"{key}={repr(value)[:40]}: expected a number, 0 or more.")
    return float(value)


def switch(values: Mapping[str, Any], key: str) -> bool:
    """Whether a setting is on; null is off.

    Raises:
      UserError: it is neither on nor off, by name: every text is true in Python, "false" as well.
    """
    value = values[key]
    if value not in (True, False, None):
        raise UserError(f"{key}={repr(value)[:40]}: expected true or false.")
    return bool(value)


def is_number(value: Any) -> bool:
    """Whether a value is a finite number that a float can hold."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300
