"""The rope settings of a Hugging Face config.json, read and written."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from jaxreason.errors import UserError
from jaxreason.models.rope import ROPE_SCALING, Llama3Rope, RopeScaling
from jaxreason.models.setting_values import is_number, number, whole_number

# Settings that transformers does not read: where the scaling comes from, not what it computes.
_UNREAD = {
    "linear": {"original_max_position_embeddings"},
    "llama3": set(),
    "yarn": {"finetuned"},
}
_MAY_BE_NULL = ("attention_factor", "mscale", "mscale_all_dim")  # They may be of any sign, too.


def read_rope(values: Mapping[str, Any]) -> tuple[float, RopeScaling | None]:
    """theta and scaling from `rope_scaling` or `rope_parameters`.

    Raises:
      UserError: a setting that cannot be honoured, or a value that makes no angles, by name.
    """
    for key in ("rope_scaling", "rope_parameters"):
        if not isinstance(values.get(key) or {}, Mapping):
            raise UserError(f"{key}={repr(values[key])[:80]}: expected an object.")
    settings = dict(values.get("rope_scaling") or values.get("rope_parameters") or {})
    nested = [key for key, value in settings.items() if isinstance(value, Mapping)]
    if nested:
        raise UserError(
            f"rope_parameters.{nested[0]}: rope settings that differ by layer cannot be honoured."
        )
    theta = number({"rope_theta": settings.pop("rope_theta", values["rope_theta"])}, "rope_theta")
    _check_one_theta(theta, values)
    if theta == 0:
        raise UserError("rope_theta=0: expected a positive number.")
    if settings.pop("partial_rotary_factor", 1) not in (1, None):
        raise UserError(
            "rope_parameters.partial_rotary_factor: rotating a part of each head cannot be honoured."
        )
    names = [settings.pop(name, None) for name in ("rope_type", "type")]
    if not all(isinstance(name, str | None) for name in names):
        raise UserError(f"rope_scaling: rope_type and type: expected text, got {names}.")
    known = {name for name in names if name is not None}
    if len(known) > 1:
        raise UserError(f"rope_scaling: rope_type and type disagree: {sorted(known)}.")
    rope_type = known.pop() if known else "default"
    if rope_type == "default":
        return theta, None
    if rope_type not in ROPE_SCALING:
        raise UserError(f"rope_type={rope_type!r}: expected default, {', '.join(ROPE_SCALING)}.")
    return theta, _read_scaling(rope_type, theta, settings, values)


def _check_one_theta(theta: float, values: Mapping[str, Any]) -> None:
    """Refuses a theta of `rope_parameters` that `rope_scaling` takes the place of: transformers would not use it."""
    other = (values.get("rope_parameters") or {}).get("rope_theta", theta)
    if other != theta:
        raise UserError(
            f"rope_parameters.rope_theta={repr(other)[:40]} beside rope_scaling: transformers would take {theta:g}; "
            "expected all settings of the rope in one of the two."
        )


def _read_scaling(
    rope_type: str, theta: float, settings: dict[str, Any], values: Mapping[str, Any]
) -> RopeScaling:
    kind = ROPE_SCALING[rope_type]
    fields = [field.name for field in dataclasses.fields(kind)]
    longest = whole_number(values, "max_position_embeddings")
    original = _original_length(settings, values)
    if "original_max_position_embeddings" in fields:
        settings["original_max_position_embeddings"] = longest if original is None else original
    if rope_type == "yarn":
        absent = {
            "attention_factor": None,
            "mscale": None,
            "mscale_all_dim": None,
            "truncate": True,
        }
        settings = absent | settings
        if settings["truncate"] is None:  # Not the same as absent.
            settings["truncate"] = False
        settings["beta_fast"] = settings.get("beta_fast") or 32
        settings["beta_slow"] = settings.get("beta_slow") or 1
        if settings.get("factor") is None:
            settings["factor"] = longest / settings["original_max_position_embeddings"]
    known = {*fields, *_UNREAD[rope_type]}
    unknown = [key for key, value in settings.items() if key not in known and value]
    if unknown:
        raise UserError(
            f"rope_scaling.{unknown[0]}={settings[unknown[0]]!r}: not a setting of {rope_type!r} ({fields})."
        )
    missing = [key for key in fields if key not in settings]
    if missing:
        raise UserError(f"rope_scaling.{missing[0]}: missing, needed for {rope_type!r}.")
    if rope_type == "yarn" and theta == 1:
        raise UserError(
            "rope_theta=1: expected another number with yarn, which divides by its logarithm."
        )
    scaling = kind(**{key: settings[key] for key in fields})
    _check_scaling(scaling)
    return scaling


def _original_length(settings: dict[str, Any], values: Mapping[str, Any]) -> Any:
    """The context before it was extended, or None; the one outside of the rope settings comes first, as elsewhere."""
    key = "original_max_position_embeddings"
    found = values.get(key) or settings.get(key)
    if found is not None and not (is_number(found) and found > 0):
        raise UserError(f"{key}={repr(found)[:40]}: expected a number above 0.")
    return found


def _check_scaling(scaling: RopeScaling) -> None:
    """Refuses values from which no angles, or other ones than in transformers, would be computed."""
    for name, value in dataclasses.asdict(scaling).items():
        if name in _MAY_BE_NULL:
            fine, expected = value is None or is_number(value), "a number or null"
        elif name == "truncate":
            fine, expected = value in (True, False), "true or false"
        else:
            fine, expected = is_number(value) and value > 0, "a number above 0"
        if not fine:
            raise UserError(f"rope_scaling.{name}={repr(value)[:40]}: expected {expected}.")
    if isinstance(scaling, Llama3Rope) and scaling.high_freq_factor < scaling.low_freq_factor:
        raise UserError(
            f"rope_scaling.high_freq_factor={scaling.high_freq_factor}: expected at least "
            f"low_freq_factor={scaling.low_freq_factor}."
        )


def scaling_to_hf(scaling: RopeScaling | None) -> dict[str, Any] | None:
    """A `rope_scaling` that is read as this one."""
    if scaling is None:
        return None
    rope_type = next(name for name, kind in ROPE_SCALING.items() if isinstance(scaling, kind))
    settings = {
        key: value for key, value in dataclasses.asdict(scaling).items() if value is not None
    }
    return {"rope_type": rope_type, **settings}
