"""Rows of local or bucket files: jsonl, json, csv, tsv and parquet, each also compressed (`.gz`).

Bytes that are not UTF-8 are kept as lone surrogates; the loader finds them and drops only that row. A tsv file is read
without quoting (a `"` is a character), a csv file with quoting.
"""

import codecs
import contextlib
import csv
import gzip
import io
import json
import logging
import re
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import IO, Any

from etils import epath

from jaxreason.config import nearest
from jaxreason.data.rows import (
    DatasetConfig,
    RowError,
    SourceRow,
    no_split,
    python_value,
    source_options,
)
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import glob_in
from jaxreason.results.distill_files import is_unfinished

_LOG = logging.getLogger(__name__)


def read_files(config: DatasetConfig) -> Iterator[SourceRow]:
    """Yields the rows of `config.path`: a file, or a pattern in the last part (`folder/part_*.jsonl`).

    Files that match a pattern come in the order of their names. Options: `columns`, comma-separated names for a csv or
    tsv file without a header; `quoted`, 1 if fields of a tsv file may be in double quotes.

    Raises:
      ValueError: there is no file, its suffix is unknown, or its content does not fit its suffix.
    """
    no_split(config)
    options = source_options(config, ("columns", "quoted"))
    paths = _paths(config.path)
    if is_unfinished(paths[0].parent):
        _LOG.warning(
            "%s: the distillation that writes this folder has not ended as it was asked to (it has no done.json), so "
            "rows may be missing. Its own command continues it.",
            paths[0].parent,
        )
    for path in paths:
        suffix = epath.Path(path.stem).suffix if path.suffix == ".gz" else path.suffix
        if suffix not in READERS:
            known = ", ".join(READERS)
            raise UserError(f"{path}: cannot read {suffix!r} files; expected one of {known}.")
        if options and suffix not in (".csv", ".tsv"):
            raise UserError(f"{path}: options {', '.join(options)} are for csv and tsv files only.")
        try:
            rows = READERS[suffix](path, options)
            yield from rows if len(paths) == 1 else _told_if_empty(path, rows)
        except (gzip.BadGzipFile, EOFError, zlib.error) as error:
            raise UserError(f"{path}: damaged gzip file ({error}).") from error


def _told_if_empty(path: epath.Path, rows: Iterator[SourceRow]) -> Iterator[SourceRow]:
    """Yields the rows; one of several files without any, as an interrupted copy leaves it, is named in the log."""
    row = None
    for row in rows:
        yield row
    if row is None:
        _LOG.warning("%s: the file has no row", path)


@contextlib.contextmanager
def _opened(path: epath.Path) -> Iterator[IO[bytes]]:
    """Opens a file for reading bytes, decompressed if it is compressed.

    Raises:
      UserError: it begins as UTF-16 or UTF-32 does, of which no row could be read.
    """
    with path.open("rb") as raw:
        file = gzip.GzipFile(fileobj=raw) if path.suffix == ".gz" else raw
        if file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):  # UTF-32's begins alike.
            raise UserError(
                f"{path}: expected UTF-8, and the file begins as UTF-16 does; save it as UTF-8 "
                "(`iconv -f UTF-16 -t UTF-8`)."
            )
        file.seek(0)
        yield file


def _paths(pattern: str) -> list[epath.Path]:
    path = epath.Path(pattern).expanduser()
    if path.is_file():
        return [path]
    if path.is_dir():
        raise UserError(f"{path}: expected a file or a pattern ({path}/*.jsonl), found a folder.")
    if not path.parent.is_dir():
        raise UserError(f"{path}: no such file, and no folder {path.parent} either.")
    found = glob_in(path.parent, path.name) if "*" in path.name else []
    if not found:
        names = sorted(item.name for item in path.parent.iterdir())
        there = ", ".join(names[:20])
        raise UserError(f"{path}: no such file; beside it: {there}{nearest(path.name, names)}")
    return found


def _jsonl(path: epath.Path, options: dict[str, Any]) -> Iterator[SourceRow]:
    with _opened(path) as file:
        yield from _lines(path, file)


def _lines(path: epath.Path, lines: Iterable[bytes]) -> Iterator[SourceRow]:
    blank = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            blank.append(number)
            continue
        # Blank lines at the end of a file are not rows; elsewhere they count as lost rows.
        yield from (_bad(path, earlier, "empty", "blank line") for earlier in blank)
        blank = []
        yield _json_row(path, number, line)


def _json_row(path: epath.Path, number: int, line: bytes) -> SourceRow:
    text = line.decode("utf-8-sig" if number == 1 else "utf-8", errors="surrogateescape")
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        return _bad(path, number, "not JSON", f"{error.msg}, column {error.colno}")
    # Numbers with thousands of digits, or thousands of nested levels.
    except (ValueError, RecursionError) as error:
        return _bad(path, number, "not JSON", str(error))
    return _as_row(path, number, value)


def _as_row(path: epath.Path, number: int, value: Any) -> SourceRow:
    if isinstance(value, dict):
        return SourceRow(str(path), number, value)
    return _bad(path, number, "not an object", f"got {type(value).__name__}")


def _bad(path: epath.Path, number: int, reason: str, detail: str) -> SourceRow:
    return SourceRow(str(path), number, {}, RowError(reason, detail))


def _json(path: epath.Path, options: dict[str, Any]) -> Iterator[SourceRow]:
    """Yields the items of a list of objects; or one object, which is one row; or one object per line."""
    with _opened(path) as file:
        content = file.read()
    try:
        value = json.loads(content.decode("utf-8-sig", errors="surrogateescape"))
    except (ValueError, RecursionError) as error:
        if not _is_object(content.lstrip().split(b"\n", 1)[0]):
            raise UserError(f"{path}: not valid JSON ({error}).") from error
        yield from _lines(path, content.split(b"\n"))
        return
    if not isinstance(value, (dict, list)):
        raise UserError(
            f"{path}: expected a list of objects, found {type(value).__name__} at the top."
        )
    for number, item in enumerate([value] if isinstance(value, dict) else value, start=1):
        yield _as_row(path, number, item)


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except (ValueError, RecursionError):
        return False


def _csv(path: epath.Path, options: dict[str, Any]) -> Iterator[SourceRow]:
    return _delimited(path, options, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _tsv(path: epath.Path, options: dict[str, Any]) -> Iterator[SourceRow]:
    quoting = csv.QUOTE_MINIMAL if options.get("quoted") else csv.QUOTE_NONE
    return _delimited(path, options, delimiter="\t", quoting=quoting)


def _delimited(
    path: epath.Path, options: dict[str, Any], delimiter: str, quoting: int
) -> Iterator[SourceRow]:
    csv.field_size_limit(sys.maxsize)  # Traces are longer than the module's 128 KiB.
    with _opened(path) as raw:
        text = io.TextIOWrapper(raw, encoding="utf-8-sig", errors="surrogateescape", newline="")
        records = _records(path, text, {"delimiter": delimiter, "quoting": quoting, "strict": True})
        if "columns" in options:
            names = [name.strip() for name in options["columns"].split(",")]
            _check_names("options.columns", names)
        else:
            names = _header(path, next(records, (1, [])))
            _check_names(str(path), names)
        for number, cells in records:
            yield _table_row(path, number, names, cells)


def _records(
    path: epath.Path, text: Iterable[str], form: dict[str, Any]
) -> Iterator[tuple[int, list[str] | RowError]]:
    """Yields the number of a record's first line, and its cells or why it has none.

    A quote that is not closed makes one record of several lines, up to the next quote or to the end of the file. Blanks
    between a closing quote and the delimiter are left out.
    """
    taken: list[str] = []
    reader = csv.reader((taken.append(line) or line for line in text), **form)
    while True:
        number = reader.line_num + 1
        taken.clear()
        try:
            cells = next(reader, None)
        except csv.Error as error:
            last = reader.line_num
            lines = f"line {number}" if last == number else f"lines {number} to {last}"
            if "unexpected end" in str(error):
                raise UserError(
                    f"{path}:{number}: a field begins with a quote that is never closed, so that {lines} would be one "
                    "row; close the quote, or write it twice within quotes."
                ) from error
            cells = _without_blanks(taken, form)
            yield number, cells or RowError("wrong quotes", f"{error} ({lines})")
            continue
        if cells is None:
            return
        yield number, cells


def _without_blanks(lines: list[str], form: dict[str, Any]) -> list[str] | None:
    """Returns the cells of a line whose only fault are blanks after closing quotes, else None."""
    after = rf'"[ \t]+(?={re.escape(form["delimiter"])}|\s*$)'
    try:
        (cells,) = csv.reader([re.sub(after, '"', line) for line in lines], **form)
    except (csv.Error, ValueError):
        return None
    return cells if len(lines) == 1 else None


def _header(path: epath.Path, record: tuple[int, list[str] | RowError]) -> list[str]:
    if isinstance(record[1], RowError):
        raise UserError(f"{path}: the header cannot be read: {record[1]}.")
    return record[1]


def _check_names(where: str, names: list[str]) -> None:
    """Refuses two columns of one name, since only one of them could be read; "_" and "" are no names."""
    twice = [name for name, count in Counter(names).items() if count > 1 and name.strip("_")]
    if twice:
        raise UserError(
            f"{where}: several columns are called {twice[0]!r}; expected different names, so rename all but one."
        )


def _table_row(
    path: epath.Path, number: int, names: list[str], cells: list[str] | RowError
) -> SourceRow:
    if isinstance(cells, RowError):
        return SourceRow(str(path), number, {}, cells)
    if not cells:
        return _bad(path, number, "empty", "blank line")
    if len(cells) != len(names):
        expected = f"expected {len(names)} ({', '.join(names)})"
        return _bad(path, number, "wrong number of columns", f"{len(cells)}, {expected}")
    return SourceRow(str(path), number, dict(zip(names, cells)))


def _parquet(path: epath.Path, options: dict[str, Any]) -> Iterator[SourceRow]:
    from jaxreason.data.parquet_rows import open_parquet, parquet_rows

    with _opened(path) as file:
        source = open_parquet(path, file)
        _check_names(str(path), source.schema_arrow.names)
        for number, columns in enumerate(parquet_rows(path, source), 1):
            if isinstance(columns, RowError):
                yield SourceRow(str(path), number, {}, columns)
            else:
                yield SourceRow(str(path), number, python_value(columns))


READERS: dict[str, Callable[[epath.Path, dict[str, Any]], Iterator[SourceRow]]] = {
    ".jsonl": _jsonl,
    ".json": _json,
    ".csv": _csv,
    ".tsv": _tsv,
    ".parquet": _parquet,
}
