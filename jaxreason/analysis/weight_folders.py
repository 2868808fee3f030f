"""`jaxreason weights`: compares model folders with a base, or a study's runs with theirs, from the disk alone."""

import logging
import os
from collections.abc import Callable, Sequence
from typing import Any

from etils import epath

from jaxreason.analysis.metric_files import weights_file
from jaxreason.analysis.weight_overlap import Member, measure_overlaps
from jaxreason.analysis.weight_run import stream_weights
from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.models.huggingface import resolve
from jaxreason.models.weight_files import verified_identity
from jaxreason.results.atomic_files import check_object, read_object, remove
from jaxreason.results.claims import differences, plain_json, refuse
from jaxreason.results.drift_files import (
    MADE_WITH,
    drift_path,
    overlap_path,
    read_drift,
    read_overlap,
    remove_drift_parts,
    write_drift,
    write_overlap,
)
from jaxreason.results.study_files import base_of, bases_of, read_manifest, run_folder

_LOG = logging.getLogger(__name__)
MODELS = "models"  # If several models are compared, this folder has a folder for each.

Check = Callable[[str], None]


def compare_folders(
    base: str, tuned: Sequence[str], workdir: epath.Path, check: Check
) -> list[epath.Path]:
    """Compares every model with `base`, and the changes of several models with each other; returns the results'
    folders.

    Args:
      base: a Hugging Face folder or hub name.
      tuned: one or more.
      workdir: of the results; with several models, each has a folder in `workdir`/models.
      check: called before each tensor with what is on the disk; it may raise an error.

    Raises:
      UserError: models do not fit together, or files are damaged; the message says which.
      ConfigError: two models have the same name, or results were made of other models.
    """
    folders = [workdir] if len(tuned) == 1 else [workdir / MODELS / short_name(x) for x in tuned]
    if len(set(folders)) < len(folders):
        raise ConfigError(f"--tuned={','.join(tuned)}: two of them have the same name.")
    for folder, path in zip(folders, tuned, strict=True):
        _compare(folder, base, path, check)
    if len(tuned) > 1:
        members = [Member(short_name(path), None, path) for path in tuned]
        _overlaps(workdir, {base: members}, check)
    return folders


def compare_study(workdir: epath.Path, check: Check) -> list[epath.Path]:
    """Compares every run of a study that has a model with its base, and the changes of a base's runs with each other.

    A run whose weights do not fit its base's is left out, with the reason in the log.

    Args:
      workdir: of the study.
      check: as for `compare_folders`.

    Raises:
      UserError: there is no study with a model.
      ConfigError: a run's file is of other models.
    """
    manifest = read_manifest(workdir)
    recipe = read_object(workdir / "config.json", {"study": dict})
    models = {base["name"]: base["model"] for base in bases_of(manifest)}
    found: dict[str, list[Member]] = {}
    folders = []
    for arm in manifest["arms"]:
        for seed in arm["seeds"] if arm.get("drift", True) else ():
            folder = workdir / run_folder(arm["name"], seed)
            path = str(folder / "model")
            if arm["method"] == "given":
                path = recipe["study"]["arms"][arm["name"]]["path"]
            elif not epath.Path(path).exists():
                _LOG.warning("%s: not trained yet, so it is left out.", folder)
                continue
            base = models[base_of(arm)]
            if _is_comparable(folder, base, path, check):
                found.setdefault(base, []).append(Member(arm["name"], seed, path))
                folders.append(folder)
    if not folders:
        raise UserError(f"{workdir}: no run of this study has a model that can be compared yet.")
    _overlaps(workdir, {base: of for base, of in found.items() if len(of) > 1}, check)
    return folders


def _is_comparable(folder: epath.Path, base: str, tuned: str, check: Check) -> bool:
    """Compares a run; if its weights and its base's do not fit together, logs this and returns False."""
    try:
        _compare(folder, base, tuned, check)
    except ConfigError:  # Its file is of other models.
        raise
    except UserError as error:
        _LOG.warning("%s: left out. %s", folder, error)
        return False
    made = read_drift(folder, "weights")
    reason = "" if made is None else made["details"].get("undefined", "")
    if reason:
        _LOG.warning("%s: left out. %s", folder, reason)
    return not reason


def short_name(path: str) -> str:
    """Returns `owner--name`: the last two parts of a path or hub name."""
    parts = [part for part in path.split("/") if part not in ("", "~", ".", "..")]
    return "--".join(parts[-2:])


def _identity(path: str) -> dict[str, Any]:
    return verified_identity(resolve(path))


def _compare(folder: epath.Path, base: str, tuned: str, check: Check) -> None:
    made_with = plain_json({"models": {"base": _identity(base), "tuned": _identity(tuned)}})
    path, old = drift_path(folder, "weights"), read_drift(folder, "weights")
    if old is not None:
        before = check_object(old, {MADE_WITH: dict}, str(path))[MADE_WITH].get("models", {})
        before = {"models": {name: x for name, x in before.items() if name != "run"}}
        remedy = "Use another --workdir, or remove this file."
        refuse(path, differences(before, made_with), remedy)
        return remove_drift_parts(folder, "weights.")  # A kill may have come before.
    prepared = stream_weights(folder, base, tuned, made_with, check)
    about = {"base": os.fspath(base), "tuned": os.fspath(tuned)}
    write_drift(
        folder, "weights", weights_file(about, "weights", prepared) | {MADE_WITH: made_with}
    )
    remove_drift_parts(folder, "weights.")


def _overlaps(workdir: epath.Path, members: dict[str, list[Member]], check: Check) -> None:
    """Writes the overlaps; writes them again if the models have changed, for example when a study has gained a run.

    Removes those of a study in which no base has two runs any more.
    """
    made_with = [
        {"base": _identity(base), "tuned": [_identity(member.path) for member in of]}
        for base, of in members.items()
    ]
    old, wanted = read_overlap(workdir), plain_json({"models": made_with})
    if not members:
        return remove(overlap_path(workdir))
    if old is not None and old[MADE_WITH] == wanted:
        return
    if old is not None:
        _LOG.info("%s: measured again, of other models.", overlap_path(workdir))
    pairs = zip(members.items(), made_with, strict=True)
    found = [
        measure_overlaps(workdir, base, of, plain_json(made), check) for (base, of), made in pairs
    ]
    write_overlap(workdir, {MADE_WITH: wanted, "bases": found})
    remove_drift_parts(workdir, "overlap.")
