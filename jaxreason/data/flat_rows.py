"""Building blocks of conversions: unfold nested data, check each value, choose by hash."""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from jaxreason.data.rows import RowError, SourceRow
from jaxreason.errors import UserError

Columns = dict[str, Any]


def each(rows: Iterable[SourceRow], flatten: Callable[[Columns], Columns]) -> Iterator[SourceRow]:
    """Yields the rows with their columns flattened; a row for which this raises RowError becomes a bad row."""
    for row in rows:
        if row.problem is not None:
            yield row
            continue
        try:
            yield SourceRow(row.file, row.number, flatten(row.columns))
        except RowError as error:
            yield SourceRow(row.file, row.number, {}, error)
        except RecursionError:
            problem = RowError("too deep", "more levels of lists and objects than can be read")
            yield SourceRow(row.file, row.number, {}, problem)


def unfold(
    rows: Iterable[SourceRow], inner: Callable[[Columns], Iterable[Any] | None]
) -> Iterator[SourceRow]:
    """Yields the rows inside one row, numbered in order; a row for which `inner` returns None is flat already."""
    for row in rows:
        parts = None if row.problem else inner(row.columns)
        if parts is None:
            yield row
            continue
        for number, part in enumerate(parts, start=1):
            yield _part(row.file, number, part)


def _part(file: str, number: int, part: Any) -> SourceRow:
    if isinstance(part, dict):
        return SourceRow(file, number, part)
    problem = (
        part
        if isinstance(part, RowError)
        else RowError("not an object", f"got {type(part).__name__}")
    )
    return SourceRow(file, number, {}, problem)


def text_of(columns: Columns, name: str) -> str:
    """Returns a column that must be text (or a number, returned as text) and not blank.

    Raises:
      RowError: it is not.
    """
    if name not in columns or columns[name] is None:
        raise RowError("missing field", f"{name!r} is {'null' if name in columns else 'absent'}")
    value = columns[name]
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise RowError("wrong type", f"{name!r}: expected text, got {type(value).__name__}")
    if not str(value).strip() or value != value:  # NaN does not equal itself.
        raise RowError("empty", f"{name!r}")
    return str(value)


def whole_number(columns: Columns, name: str) -> int:
    """Returns a column that must be an integer, also as text.

    Raises:
      RowError: it is not.
    """
    value = text_of(columns, name)
    try:
        return int(value)
    except ValueError:
        raise RowError("wrong type", f"{name!r}: expected a number, got {value[:40]!r}") from None


def records(columns: Columns, name: str) -> list[Columns]:
    """Returns a column that lists objects, or that is transposed: an object of equally long lists.

    Raises:
      RowError: it is neither.
    """
    value = columns.get(name)
    if isinstance(value, dict) and all(isinstance(item, list) for item in value.values()):
        if len({len(item) for item in value.values()}) > 1:
            sizes = ", ".join(f"{key} {len(item)}" for key, item in value.items())
            raise RowError("wrong length", f"{name!r}: lists of different lengths ({sizes})")
        return [dict(zip(value, items)) for items in zip(*value.values())]
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    if value is None:
        raise RowError("missing field", f"{name!r} is {'null' if name in columns else 'absent'}")
    raise RowError("wrong type", f"{name!r}: expected a list of objects")


def seed_of(option: str, value: Any) -> int:
    """Returns the seed in an option, given as a number or as text.

    Raises:
      UserError: it is not an integer of at least 0.
    """
    if not re.fullmatch(r"[0-9]+", str(value)):
        raise UserError(f"options.{option}: expected a seed (0, 1, ...), got {value!r}.")
    return int(value)


def hashed(*parts: Any) -> bytes:
    """Returns a digest that depends only on the parts: equal on every machine and for every order of rows."""
    text = "\n".join(str(part) for part in parts)
    return hashlib.sha256(text.encode("utf-8", errors="surrogatepass")).digest()
