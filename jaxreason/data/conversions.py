"""CONVERSIONS: from the rows of a source to flat rows, by the name in `DatasetConfig.options["rows"]`.

Formats that nest what we read, or hold it in other columns, are made flat here, so that `fields`,
`prompt_template` and `metadata` work on them, whether they come from a file or from the hub. The
keyword arguments of a conversion are its options.
"""

import inspect
from collections.abc import Callable, Iterator

from jaxreason.config import nearest
from jaxreason.data.choice_rows import acpbench, gpqa, headqa, mmlu
from jaxreason.data.code_problems import humaneval, livecodebench, mbpp
from jaxreason.data.reading_rows import coqa, halueval, mc_taco
from jaxreason.data.rows import CONVERSION_OPTIONS, DatasetConfig, Row, RowError
from jaxreason.data.sources import SOURCES
from jaxreason.data.verl_rows import verl
from jaxreason.errors import UserError

CONVERSIONS: dict[str, Callable[..., Iterator[Row]]] = {
    "acpbench": acpbench,
    "coqa": coqa,
    "gpqa": gpqa,
    "halueval": halueval,
    "headqa": headqa,
    "humaneval": humaneval,
    "livecodebench": livecodebench,
    "mbpp": mbpp,
    "mc_taco": mc_taco,
    "mmlu": mmlu,
    "verl": verl,
}


def check_conversion(config: DatasetConfig) -> None:
    """Refuse a conversion that does not exist, or one of its options that it does not read.

    Raises:
      UserError: naming the option.
    """
    given = [name for name in CONVERSION_OPTIONS if name in config.options]
    name = config.options.get("rows")
    if name is None:
        if given:
            raise UserError(f"{config.label}: options.{given[0]} needs options.rows.")
        return
    if name not in CONVERSIONS:
        raise UserError(
            f"{config.label}: options.rows: no such conversion {name!r}; valid: "
            f"{', '.join(CONVERSIONS)}{nearest(str(name), CONVERSIONS)}"
        )
    for option in given:
        if option not in inspect.signature(CONVERSIONS[name]).parameters:
            raise UserError(f"{config.label}: options.{option}: rows={name!r} does not read it.")


def read_rows(config: DatasetConfig) -> Iterator[Row]:
    """The rows of a dataset, flat where `options.rows` says how.

    A converted row whose id an earlier one has is a bad row.

    Raises:
      UserError: when the source cannot be read, or an option has a wrong value.
    """
    rows = SOURCES[config.source](config)
    if "rows" not in config.options:
        return rows
    options = {key: value for key, value in config.options.items() if key in CONVERSION_OPTIONS}
    return _without_repeats(CONVERSIONS[config.options["rows"]](rows, **options))


def _without_repeats(rows: Iterator[Row]) -> Iterator[Row]:
    first: dict[str, str] = {}
    for row in rows:
        id = row.columns.get("id")
        if id is not None and first.setdefault(id, row.where) != row.where:
            detail = f"id {str(id)[:60]!r} was used before, in {first[id]}"
            row = Row(row.file, row.number, {}, RowError("duplicate", detail))
        yield row
