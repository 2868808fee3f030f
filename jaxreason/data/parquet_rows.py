"""Rows of a parquet file. `file_rows` imports this, and with it Arrow, at the first such file."""

import contextlib
import gzip
from collections.abc import Iterator
from typing import IO, Any

import pyarrow
from etils import epath
from pyarrow import parquet

from jaxreason.data.rows import RowError
from jaxreason.errors import UserError

_ROWS = 1024  # That are read at a time.


def open_parquet(path: epath.Path, file: IO[bytes]) -> parquet.ParquetFile:
    """Opens a file.

    Raises:
      UserError: it is not a parquet file.
    """
    with _sound(path, "not a parquet file"):
        return parquet.ParquetFile(file)


def parquet_rows(
    path: epath.Path, source: parquet.ParquetFile
) -> Iterator[dict[str, Any] | RowError]:
    """Yields the columns of each row, or why it cannot be read.

    Raises:
      UserError: the file is damaged.
    """
    batches = source.iter_batches(batch_size=_ROWS)
    while True:
        with _sound(path, "damaged parquet file"):
            batch = next(batches, None)
        if batch is None:
            return
        yield from _batch_rows(_text_as_bytes(batch))


@contextlib.contextmanager
def _sound(path: epath.Path, otherwise: str) -> Iterator[None]:
    try:
        yield
    except gzip.BadGzipFile:  # An OSError, too.
        raise
    except (pyarrow.ArrowException, OSError) as error:
        if getattr(error, "errno", None) is not None:
            raise  # The system's: nothing is wrong with the file.
        raise UserError(f"{path}: {otherwise} ({' '.join(str(error).split())}).") from error


def _batch_rows(batch: pyarrow.RecordBatch) -> list[dict[str, Any] | RowError]:
    """Returns the rows of a batch, one by one if a value that is no Python value spoils all of them."""
    try:
        return batch.to_pylist()
    except (ValueError, OverflowError) as error:
        if len(batch) > 1:
            return [row for i in range(len(batch)) for row in _batch_rows(batch.slice(i, 1))]
        bytes_ = isinstance(error, UnicodeDecodeError)
        return [RowError("not UTF-8" if bytes_ else "unreadable", " ".join(str(error).split()))]


def _text_as_bytes(batch: pyarrow.RecordBatch) -> pyarrow.RecordBatch:
    """Returns text columns as bytes, so that one bad row does not prevent Arrow from reading the others."""
    arrays = [
        column.cast(pyarrow.binary()) if pyarrow.types.is_string(column.type) else column
        for column in batch.columns
    ]
    return pyarrow.RecordBatch.from_arrays(arrays, names=batch.schema.names)
