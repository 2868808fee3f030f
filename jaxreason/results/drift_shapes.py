"""The shapes of the files of analysis/: what every metric's file has, and what is read of the details of some."""

from typing import Any

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import WHAT_TO_DO
from jaxreason.results.shapes import ANY, Along, Apart, From, Maybe, Place, check_shape

COUNT = From(0)
BY_LAYER = Along("layers", float)
MAYBE_BY_LAYER = Along("layers", Maybe(float))
PLANE = Along("layers", (float, float))
MAP = Along("layers", BY_LAYER)
VARIANCES = Along("layers", Along("axes", float))

ROW = {"name": str, "value": float, "low?": Maybe(float), "high?": Maybe(float)}
GROUP_ROW = {
    **{"name": str, "value": float, "low": float, "high": float},
    **{"group": str, "source": str, "draws": Along("draws", float)},
}
FILE = {
    "rows": [ROW],
    "groups": [GROUP_ROW],
    "details": {"units?": [{}], "undefined?": str, "whole?": {}},
}
UNIT = {"num_texts": COUNT, "num_cut": COUNT, "num_dropped": COUNT}
UNDEFINED_UNIT = {"benchmark": str, "undefined": str}


def _mean_and_error(*names: str) -> dict[str, Any]:
    return {name: {"mean": float, "error": Maybe(float)} for name in names}


TOKEN = {"token": COUNT, "text": Maybe(str)}
PROMOTED = {
    **TOKEN,
    "class": frozenset({"logical", "content", "symbol", None}),
    **{"shifted": From(1), "chosen": From(1)},
    **_mean_and_error("base_probability", "tuned_probability", "base_rank", "replaced_tuned_rank"),
    "replaces": TOKEN | {"times": COUNT},
}
CHOICE = {"text": Maybe(str), "probabilities": (float, float)}
MARK = {
    **{"at": Place("texts"), "shifted": bool, "ranks": (COUNT, COUNT)},
    **{"base": CHOICE, "tuned": CHOICE},
}
REPLY = {"id": Maybe(str), "num_tokens": COUNT, "num_shifted": COUNT}
VIEW = REPLY | {"texts": Along("texts", str), "js": Along("texts", float), "marks": [MARK]}
EXAMPLE = REPLY | {"tokens": [TOKEN | {"times": COUNT}]}
CLASSES = {ANY: {"shifted": COUNT, "chosen": COUNT}}
NUMBERS = ("num_tokens", "num_changed", "num_above", "num_shifted", "num_rank_changed")
SHIFTED_TOKENS = {
    **dict.fromkeys((*NUMBERS, "num_other_shifted"), COUNT),
    **{"tokens": [PROMOTED], "classes": Maybe(CLASSES), "points": [(COUNT, COUNT, COUNT)]},
    **{"view": Maybe(Apart(VIEW)), "example": Maybe(EXAMPLE)},
}
POSITIONS = [{"first": COUNT, "last": COUNT, "num_tokens": From(1), ANY: float}]
SINK_RANGE = {"first": COUNT, "base": BY_LAYER, "tuned": BY_LAYER}
SINKS = {
    "rule": {"ratio": float},
    **dict.fromkeys(("excluded", "excluded_of_reply", "base_ratio", "tuned_ratio"), BY_LAYER),
    **{"by_position": [SINK_RANGE], "middle": Place("layers")},
}
PCA = {
    **{"base_centre": PLANE, "tuned_centre": PLANE, "explained_variance": VARIANCES},
    **{"explained_variance_tuned": VARIANCES, "shift_in_plane": BY_LAYER},
}
CKA = {"debiased_distance": BY_LAYER, "base_to_tuned": MAP, "base_to_base": MAP}
# What is read of a measured unit: the part without which it has nothing of it, and the shape.
OF_UNIT: dict[str, tuple[str, dict[str, Any]]] = {
    "token_kl": ("by_position", {"by_position": POSITIONS}),
    "shifted_tokens": ("num_tokens", SHIFTED_TOKENS),
    "sinks": ("rule", SINKS),
    "pca_shift": ("reply", {"reply": PCA}),
    "cka": ("reply", {"reply": CKA}),
    "subspaces": ("reply", {"reply": {"angle": MAYBE_BY_LAYER}}),
    "frechet": ("reply", {"reply": dict.fromkeys(("mean", "covariance"), MAYBE_BY_LAYER)}),
    "procrustes": ("reply", {"reply": dict.fromkeys(("rotation", "rest"), MAYBE_BY_LAYER)}),
}
MEASURED_UNIT = {"benchmark": str, "source": str}
SETTINGS = {"settings": {"shift_threshold?": float}}
# What a file has that has such a unit.
OF_FILE: dict[str, dict[str, Any]] = {
    "token_kl": {"decoding": str},
    "shifted_tokens": {"made_with": SETTINGS, "details": {"word_classes": {ANY: {ANY: [str]}}}},
}
CHANGE = {"changed_share": float, ANY: float}
DIRECTIONS = Apart({"values": Along("values", float), "base_values": Along("base values", float)})
WEIGHTS = {
    "tuned": str,
    "details": {
        **{"whole": CHANGE, "by_kind": {ANY: CHANGE}, "by_layer": Along("layers", CHANGE)},
        "tensors": [{"directions": Maybe(DIRECTIONS)}],
    },
}


def check_drift_shape(value: dict[str, Any], metric: str, source: str) -> None:
    """Refuses a metric's file that has not the shape in which it was written; `source` names it in messages.

    Raises:
      UserError: with the place, what was expected and what is there.
    """
    lengths: dict[str, int] = {}
    check_shape(value, FILE, source, lengths)
    for number, row in enumerate(value["rows"], start=1):
        ends = [row.get("low"), row.get("high")]
        if ends.count(None) == 1:
            raise UserError(
                f"{source}, rows, {number}: expected two numbers as low and high, got {ends}. {WHAT_TO_DO}"
            )
    if metric == "weights" and "whole" in value["details"]:
        check_shape(value, WEIGHTS, source, lengths)
    mark, shape = OF_UNIT.get(metric, ("", {}))
    measured = False
    for number, unit in enumerate(value["details"].get("units", ()), start=1):
        found = (UNDEFINED_UNIT if "undefined" in unit else {}) | UNIT
        if mark in unit and "undefined" not in unit:
            found, measured = found | MEASURED_UNIT | shape, True
        check_shape(unit, found, f"{source}, details, units, {number}", lengths)
    if measured:
        check_shape(value, OF_FILE.get(metric, {}), source, lengths)
