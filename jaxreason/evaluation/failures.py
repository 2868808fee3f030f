"""Samples without a score: said for each benchmark, and an error where no sample has one."""

import logging
from collections import Counter
from collections.abc import Sequence

from etils import epath

from jaxreason.errors import UserError

_LOG = logging.getLogger(__name__)


def check_failures(files: Sequence[tuple[epath.Path, list[dict]]]) -> None:
    """Warns of every sample file with failed samples.

    Args:
      files: the path of every grade file of an evaluation, and its lines.

    Raises:
      UserError: not one sample of the whole evaluation has a score; says why.
    """
    errors = {path: [x["error"] for x in lines if x["error"] is not None] for path, lines in files}
    if sum(map(len, errors.values())) == sum(len(lines) for _, lines in files):
        first = next(error for found in errors.values() for error in found)
        raise UserError(
            f"{files[0][0].parent}: none of its samples has a score, so there is no result. "
            f"{_counted([e for found in errors.values() for e in found])}; the first: {first:.500} "
            "When the cause is mended, `jaxreason grade` grades the samples again (remove the sample files first "
            "where sampling failed)."
        )
    for path, lines in files:
        if errors[path]:
            counts = f"{len(errors[path])} of {len(lines)}"
            _LOG.warning("%s: %s samples without a score. %s", path, counts, _counted(errors[path]))


def _counted(errors: list[str]) -> str:
    kinds = Counter(error_kind(error) for error in errors)
    return ", ".join(f"{kind}: {number}" for kind, number in kinds.most_common())


def error_kind(error: str) -> str:
    """What stands before the details: `timeout`, `crash`, a grader's exception, `sampling error`."""
    return error.split(":")[0]
