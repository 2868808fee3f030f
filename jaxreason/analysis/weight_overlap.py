"""Measures which weights several models of one base changed alike, by seed and by arm (2505.11711, section 4)."""

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from etils import epath

from jaxreason.analysis.weight_run import KEPT, kept_part
from jaxreason.analysis.weight_stream import changed_overlaps
from jaxreason.models.stored_tensors import (
    Place,
    StoredModel,
    kind_of,
    open_stored,
    shared_places,
)


class Member(NamedTuple):
    """A model whose changes are compared with those of others.

    Attributes:
      arm: its arm, or its name.
      seed: the arm's seed; None if it has none.
      path: a folder or hub name.
    """

    arm: str
    seed: int | None
    path: str


def measure_overlaps(
    workdir: epath.PathLike,
    base: str,
    members: Sequence[Member],
    made_with: dict[str, Any],
    check: Callable[[str], None] = lambda saved: None,
) -> dict[str, Any]:
    """Measures the shared changes of one base's models, over all weights and by kind of matrix.

    Args:
      workdir: its analysis/parts keeps each tensor until all are done.
      base: the model that all were made from: a folder or hub name.
      members: two or more.
      made_with: the origin that the parts state.
      check: called before each tensor with what is on the disk; it may raise an error.

    Raises:
      UserError: models do not fit together, or a tensor is damaged; the message names it.
    """
    first, *others = models = [open_stored(name) for name in (base, *(m.path for m in members))]
    found: dict[str, list[dict]] = {}
    for place in shared_places(models):
        check(KEPT)
        name = f"overlap.{place[0]}.{place[1]}"
        make = lambda p=place: {"kind": kind_of(p)} | changed_overlaps(first, others, p)  # noqa: E731
        part = kept_part(workdir, name, made_with, make)
        # A tied head is the embedding, which is counted already. It is here for the sake of models with their own.
        tied = [] if place in first.tensors else _lacking(others, place)
        found.setdefault(part["kind"], []).append(part | {"tied": tied})
    rows = pair_rows(members, [part for parts in found.values() for part in parts])
    by_kind = {kind: pair_rows(members, parts) for kind, parts in sorted(found.items())}
    shown = [member._asdict() for member in members]
    return {"base": base, "members": shown, "pairs": rows, "by_kind": by_kind}


def _lacking(models: Sequence[StoredModel], place: Place) -> list[int]:
    return [index for index, model in enumerate(models) if place not in model.tensors]


def pair_rows(members: Sequence[Member], parts: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Returns one row for each pair of models, over some tensors; none for a pair that has none of these.

    Args:
      members: the models.
      parts: the results of `changed_overlaps`, one per tensor. `tied` names models that do not have the tensor
        themselves, if there are any: it does not count for two of these.
    """
    rows = []
    for pair, (i, j) in enumerate(itertools.combinations(range(len(members)), 2)):
        counted = [part for part in parts if not {i, j} <= set(part.get("tied", ()))]
        if not counted:
            continue
        number = np.array([part["num_weights"] for part in counted], float)
        changed, squared, shared, dots = (
            np.array([part[name] for part in counted], float)
            for name in ("changed", "squared", "shared", "dot")
        )
        sizes = changed[:, i].sum(), changed[:, j].sum()
        # The overlap by chance within each tensor, if changed weights were anywhere in it: tensors differ in their
        # share of changed weights.
        by_tensor = float((changed[:, i] * changed[:, j] / number).sum())
        anywhere = float(sizes[0] * sizes[1] / number.sum())
        both, size = (
            float(shared[:, pair].sum()),
            math.sqrt(squared[:, i].sum() * squared[:, j].sum()),
        )
        rows.append(
            {
                "first": i,
                "second": j,
                "first_changed": float(sizes[0] / number.sum()),
                "second_changed": float(sizes[1] / number.sum()),
                "shared": both / number.sum(),
                "jaccard": _jaccard(both, *sizes),
                "jaccard_chance": _jaccard(anywhere, *sizes),
                "jaccard_chance_by_tensor": _jaccard(by_tensor, *sizes),
                "first_in_second": both / sizes[0] if sizes[0] else None,
                "second_in_first": both / sizes[1] if sizes[1] else None,
                "cosine": float(dots[:, pair].sum() / size) if size else None,
            }
        )
    return rows


def _jaccard(shared: float, first: float, second: float) -> float | None:
    """Returns |A and B| / |A or B|; None if nothing changed in either."""
    union = first + second - shared
    return float(shared / union) if union else None
