"""Two model folders compared tensor by tensor from the disk; what is done is kept, so that a killed run goes on."""

import logging
import os
from collections.abc import Callable
from typing import Any

from etils import epath

from jaxreason.analysis.measured import Prepared
from jaxreason.analysis.weight_stream import compare_tensor
from jaxreason.analysis.weight_summary import weight_details
from jaxreason.errors import UserError
from jaxreason.models.stored_tensors import (
    NotFiniteError,
    Place,
    StoredModel,
    open_stored,
    shared_places,
)
from jaxreason.results.drift_files import (
    MADE_WITH,
    read_drift_part,
    write_drift_part,
)
from jaxreason.runtime.distributed import on_process_zero

_LOG = logging.getLogger(__name__)
KEPT = "What was measured of whole tensors is saved."
_EVERY = 50  # tensors between two lines of the log


def stream_weights(
    workdir: epath.PathLike,
    base: str | epath.Path,
    tuned: str | epath.Path,
    made_with: dict[str, Any],
    check: Callable[[str], None] = lambda saved: None,
) -> Prepared | None:
    """What docs/weights.md defines, of two folders; process 0 reads, and alone is given the result.

    Args:
      workdir: in whose analysis/parts each tensor is kept until all are done.
      base, tuned: folders or hub names.
      made_with: what the parts say of themselves.
      check: is called by every process before each tensor, with what is on the disk; it may raise.

    Raises:
      NotFiniteError: on every process, with the tensor that holds NaN or an infinity.
      UserError: models that do not fit together, or a file that is damaged; names it.
    """
    opened: list[StoredModel] = []

    def places() -> list[Place]:
        opened.extend(open_stored(os.fspath(name)) for name in (base, tuned))
        return shared_places(opened)

    def compared(place: Place) -> str:
        name, make = f"weights.{place[0]}.{place[1]}", lambda: compare_tensor(*opened, place)
        try:
            records.append(kept_part(workdir, name, made_with, make))
        except NotFiniteError as error:
            return str(error)
        return ""

    found = [tuple(place) for place in on_process_zero(places)]
    records: list[dict[str, Any]] = []
    for number, place in enumerate(found):
        check(KEPT)
        if number % _EVERY == 0:
            _LOG.info("weights: %d of %d tensors compared", number, len(found))
        reason = on_process_zero(lambda p=place: compared(p))
        if reason:
            raise NotFiniteError(reason)
    if not records:
        return None
    prepared = weight_details(records)
    sizes = [model.architecture.vocab_size for model in opened]
    vocabulary = {"base": sizes[0], "tuned": sizes[1], "compared": min(sizes)}
    return prepared._replace(details=prepared.details | {"vocabulary": vocabulary})


def kept_part(
    workdir: epath.PathLike, name: str, made_with: dict[str, Any], make: Callable[[], dict]
) -> dict[str, Any]:
    """What was made of a tensor, made now unless it was kept; what is broken or of other models is made anew."""
    try:
        part = read_drift_part(workdir, name)
    except UserError as error:
        _LOG.warning("Measured anew: %s", error)
        part = None
    if part is None or part[MADE_WITH] != made_with:
        part = {MADE_WITH: made_with, "metrics": make()}
        write_drift_part(workdir, name, part)
    return part["metrics"]
