"""The index as transfer.json has it, of the arms that the study has now."""

from collections.abc import Iterable
from typing import Any

from jaxreason.report.files import Reader, Study
from jaxreason.results.transfer_file import read_transfer

ABSENT = "The transferability index has not been computed."


def transfer_rows(
    reader: Reader, study: Study, evaluated: Iterable[str]
) -> tuple[dict[str, Any], list[str]]:
    """The keys `transfer`, `sensitivity` and `transfer_variant` of summary.json, and what is missing, in words.

    A study may have got other arms since: rows of arms that it has not are left out, and arms without rows are said.

    Args:
      reader: of the study's folder.
      study: its study.json.
      evaluated: the arms that have scores.

    Raises:
      UserError: the file is broken.
    """
    found = read_transfer(reader.folder, reader.read)
    held = found or {"rows": [], "sensitivity": [], "config": {}}
    names = {arm.name for arm in study.arms}
    kept = {key: [r for r in held[key] if r["arm"] in names] for key in ("rows", "sensitivity")}
    rows = {
        "transfer": kept["rows"],
        "sensitivity": kept["sensitivity"],
        "transfer_variant": held["config"].get("variant"),
    }
    if not kept["rows"]:
        return rows, [ABSENT]
    without = names & set(evaluated) - {row["arm"] for row in kept["rows"]}
    labels = [arm.label for arm in study.arms if arm.name in without]
    return rows, [f"{label}: the transferability index has not been computed." for label in labels]
