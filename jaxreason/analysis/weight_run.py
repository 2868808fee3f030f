"""Compares two model folders tensor by tensor from the disk. Results are kept, so that a killed run can continue.

`weight_details` sums up the tensors: as a whole, by kind of matrix and by layer.
"""

import logging
import math
import os
from collections.abc import Callable
from typing import Any

from etils import epath

from jaxreason.analysis.metric_types import Prepared
from jaxreason.analysis.weight_stream import compare_tensor
from jaxreason.errors import UserError
from jaxreason.models.stored_tensors import (
    NotFiniteTensorError,
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
_EVERY = 50  # Tensors between two lines of the log.


def stream_weights(
    workdir: epath.PathLike,
    base: str | epath.Path,
    tuned: str | epath.Path,
    made_with: dict[str, Any],
    check: Callable[[str], None] = lambda saved: None,
) -> Prepared | None:
    """Computes the quantities of docs/weights.md for two folders; process 0 reads, and only it gets the result.

    Args:
      workdir: its analysis/parts keeps each tensor until all are done.
      base, tuned: folders or hub names.
      made_with: the origin that the parts state.
      check: called by every process before each tensor, with what is on the disk; it may raise an error.

    Raises:
      NotFiniteTensorError: on every process; the message has the tensor that holds NaN or an infinity.
      UserError: models do not fit together, or a file is damaged; the message names it.
    """
    opened: list[StoredModel] = []

    def places() -> list[Place]:
        opened.extend(open_stored(os.fspath(name)) for name in (base, tuned))
        return shared_places(opened)

    def compared(place: Place) -> str:
        name, make = f"weights.{place[0]}.{place[1]}", lambda: compare_tensor(*opened, place)
        try:
            records.append(kept_part(workdir, name, made_with, make))
        except NotFiniteTensorError as error:
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
            raise NotFiniteTensorError(reason)
    if not records:
        return None
    prepared = weight_details(records)
    sizes = [model.architecture.vocab_size for model in opened]
    vocabulary = {"base": sizes[0], "tuned": sizes[1], "compared": min(sizes)}
    return prepared._replace(details=prepared.details | {"vocabulary": vocabulary})


def kept_part(
    workdir: epath.PathLike, name: str, made_with: dict[str, Any], make: Callable[[], dict]
) -> dict[str, Any]:
    """Returns the result for one tensor: the stored one if it is valid and of these models, else a new one."""
    try:
        part = read_drift_part(workdir, name)
    except UserError as error:
        _LOG.warning("Measured anew: %s", error)
        part = None
    if part is None or part[MADE_WITH] != made_with:
        part = {MADE_WITH: made_with, "metrics": make()}
        write_drift_part(workdir, name, part)
    return part["metrics"]


# Means over the matrices that moved; left out if none did.
MEANS = (
    "effective_rank",
    "stable_rank",
    "top_1",
    "top_10",
    "rank_share",
    "angle_left",
    "angle_right",
    "overlap_left",
    "overlap_right",
    "energy_left",
    "energy_right",
    "chance_left",
    "chance_right",
    "spectral_drift",
    "rotation_left",
    "rotation_right",
)


def weight_details(records: list[dict[str, Any]]) -> Prepared:
    """Returns values over all parameters, and details by kind, by layer and by tensor.

    Args:
      records: the results of `compare_tensor`.
    """
    whole = _of(records)
    values = {name: whole[name] for name in ("relative_l2", "changed_share", "update_l2")}
    moved = ("spectral_drift", "rotation_left", "rotation_right")
    values |= {name: whole.get(name, 0.0) for name in moved}
    details = {
        "num_weights": sum(record["num_weights"] for record in records),
        "whole": whole,
        "by_kind": _by(records, lambda record: record["kind"]),
        "by_layer": list(_by([r for r in records if r["layer"] is not None], _layer).values()),
        "tensors": records,
    }
    return Prepared(lambda texts: values, details)


def _layer(record: dict[str, Any]) -> int:
    return record["layer"]


def _by(records: list[dict], key: Callable[[dict], Any]) -> dict[Any, dict[str, float]]:
    groups: dict[Any, list[dict]] = {}
    for record in records:
        groups.setdefault(key(record), []).append(record)
    return {name: _of(groups[name]) for name in sorted(groups)}


def _of(records: list[dict]) -> dict[str, float]:
    change, size = (sum(r[name] for r in records) for name in ("squared_change", "squared_base"))
    changed, number = (sum(r[name] for r in records) for name in ("num_changed", "num_weights"))
    found = {
        "relative_l2": math.sqrt(change / size) if size else math.sqrt(change),
        "update_l2": math.sqrt(change),
        "changed_share": changed / number,
    }
    moved = [_with_share(r["directions"]) for r in records if r["directions"]]
    for name in MEANS:
        there = [one[name] for one in moved if name in one]
        found |= {name: sum(there) / len(there)} if there else {}
    return found


def _with_share(moved: dict[str, Any]) -> dict[str, Any]:
    """Adds the effective rank as a share of the number of directions that the matrix has."""
    rank = moved.get("effective_rank")
    return moved if rank is None else moved | {"rank_share": rank / moved["side"]}
