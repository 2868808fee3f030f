"""The folders of a study and its files; each format has one writer and one reader.

They are study.json (the contents of the study), transfer.json (the transferability index), and trajectory.json with
steps/<step>/ (the steps of a run, evaluated against its base).
"""

import math
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.atomic_files import (
    check_object,
    glob_in,
    write_json,
)
from jaxreason.results.sample_files import sample_keys
from jaxreason.results.score_files import EVALUATION
from jaxreason.results.snapshots import CURRENT, Files

MANIFEST = "study.json"  # A folder with this file is the folder of a study.
BASE = "base"  # The base's folder, and its name where models are named.
BASES = "bases"  # It has the folders of further bases that single arms have.
# The least content of study.json and of each of its arms.
STUDY_SHAPE = {"name": str, "base": str, "groups": dict, "arms": list, "decodings": list}
ARM_SHAPE = {"name": str, "method": str, "label": str, "seeds": list}
TRANSFER = "transfer.json"
TRANSFER_SHAPE = {"config": dict, "scales": dict, "rows": list, "sensitivity": list}
TRAJECTORY = "trajectory.json"
STEPS = "steps"
TRAJECTORY_SHAPE = {
    "run": str,
    "variant": str,
    "decoding": str,
    "steps": list,
    "missed": list,
    "best": dict,
}
STEP_SHAPE = {"step": int, "scores": list, "groups": list, "index": list, "drift": list}
OLD_KL_FIELDS = {
    "metric": "token_kl",
    "source": "tuned",
}  # Of every row of `kl`, which older files have instead of `drift`.
TRAJECTORY_DEFAULTS = {
    "elsewhere": {},
    "base": "",
    "method": "",
    "seed": 0,
}  # Fields that older files do not have.
TRAJECTORY_FOLDER = (
    "trajectory"  # The folder of a trajectory that a study makes, inside that of the run.
)


def manifest_path(folder: epath.PathLike) -> epath.Path:
    """Returns the path of a study's study.json."""
    return epath.Path(folder) / MANIFEST


def is_study(folder: epath.PathLike, files: Files = CURRENT) -> bool:
    """Returns whether a folder is the folder of a study."""
    return files.exists(manifest_path(folder))


def run_folder(arm: str, seed: int) -> str:
    """Returns the folder of an arm's run, relative to the study's."""
    return f"{arm}/seed_{seed}"


def base_folder(path: str) -> str:
    """Returns the folder of an arm's own base, relative to the study's: `bases/<owner>--<name>` from its path."""
    parts = [part for part in path.split("/") if part not in ("", "~", ".", "..")]
    return f"{BASES}/{'--'.join(parts[-2:])}"


def bases_of(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """Returns the bases with which arms are compared: `name` (the folder) and `model`, the study's own first."""
    return manifest.get("bases") or [{"name": BASE, "model": manifest["base"]}]


def base_of(arm: dict[str, Any]) -> str:
    """Returns the folder of the base with which an arm of study.json is compared."""
    return arm.get("base", BASE)


def model_folders(manifest: dict[str, Any]) -> list[str]:
    """Returns the folders of all bases, and of all runs of all arms, relative to the study's."""
    runs = [run_folder(arm["name"], seed) for arm in manifest["arms"] for seed in arm["seeds"]]
    return [*(base["name"] for base in bases_of(manifest)), *runs]


def run_folders(folder: epath.PathLike, arm: str) -> list[epath.Path]:
    """Returns the existing folders of an arm's runs; for a base, which has no seeds, its own folder."""
    inside = epath.Path(folder) / arm
    return glob_in(inside, "seed_*") or [inside]


def write_manifest(folder: epath.PathLike, manifest: dict[str, Any]) -> None:
    """Writes study.json, completely or not at all; docs/report_files.md describes its content."""
    write_json(manifest_path(folder), manifest)


def read_manifest(folder: epath.PathLike, files: Files = CURRENT) -> dict[str, Any]:
    """Returns the content of study.json.

    Args:
      folder: of the study.
      files: those among which it is looked for.

    Raises:
      UserError: it is missing or broken, or lacks what SHAPE and ARM require.
    """
    path = manifest_path(folder)
    if not files.exists(path):
        raise UserError(f"{path}: not found; this is no study's folder.")
    found = files.read(path, STUDY_SHAPE)
    bases = [base["name"] for base in bases_of(found)]
    for arm in found["arms"]:
        check_object(arm, ARM_SHAPE, f"{path}, arms")
        if base_of(arm) not in bases:
            raise UserError(
                f"{path}: arm {arm['name']} is compared with {base_of(arm)}, which is not in bases."
            )
    return found


def transfer_path(folder: epath.PathLike) -> epath.Path:
    """Returns the file of a study's index."""
    return epath.Path(folder) / TRANSFER


def write_transfer(
    folder: epath.PathLike,
    config: dict[str, Any],
    scales: dict[str, dict[str, float]],
    rows: list[dict],
    sensitivity: list[dict],
) -> None:
    """Writes transfer.json, completely or not at all; docs/evaluation_files.md describes the rows.

    Args:
      folder: of the study.
      config: what the index was computed with.
      scales: decoding -> group -> the deviation that was used; NaN, which JSON does not have, becomes null.
      rows: the index.
      sensitivity: the index without each benchmark.
    """
    known = _known(scales)
    value = {"config": config, "scales": known, "rows": rows, "sensitivity": sensitivity}
    write_json(transfer_path(folder), value)


def _known(scales: dict[str, dict[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        decoding: {group: x if math.isfinite(x) else None for group, x in found.items()}
        for decoding, found in scales.items()
    }


def read_transfer(folder: epath.PathLike, files: Files = CURRENT) -> dict[str, Any] | None:
    """Returns the content of transfer.json; None if it does not exist.

    Args:
      folder: of the study.
      files: those among which it is looked for.

    Raises:
      UserError: the file is broken or has a different content.
    """
    path = transfer_path(folder)
    return files.read(path, TRANSFER_SHAPE) if files.exists(path) else None


def trajectory_path(folder: epath.PathLike) -> epath.Path:
    """Returns the file of the trajectory in a working directory."""
    return epath.Path(folder) / TRAJECTORY


def step_folder(folder: epath.PathLike, step: int) -> epath.Path:
    """Returns the folder with the results of a step."""
    return epath.Path(folder) / STEPS / str(step)


def begun_steps(folder: epath.PathLike) -> list[int]:
    """Returns the steps that have any results, in order."""
    steps = epath.Path(folder) / STEPS
    names = [path.name for path in steps.iterdir()] if steps.exists() else []
    return sorted(int(name) for name in names if name.isdecimal())


def write_trajectory(folder: epath.PathLike, value: dict[str, Any]) -> None:
    """Writes trajectory.json, completely or not at all; docs/working_directory.md describes its content.

    In its `scales`, NaN becomes null, as in transfer.json.
    """
    write_json(trajectory_path(folder), value | {"scales": _known(value["scales"])})


def read_trajectory(folder: epath.PathLike, files: Files = CURRENT) -> dict[str, Any]:
    """Returns the content of trajectory.json.

    Args:
      folder: of the trajectory.
      files: those among which it is looked for.

    Raises:
      UserError: the file is broken or has a different content; the message names it.
    """
    path = trajectory_path(folder)
    value = files.read(path, TRAJECTORY_SHAPE)
    steps = [_step(row, number, path) for number, row in enumerate(value["steps"], start=1)]
    return {**TRAJECTORY_DEFAULTS, **value, "steps": steps}


def is_complete(folder: epath.PathLike) -> bool:
    """Returns whether there is a trajectory to which nothing will be added any more.

    Raises:
      UserError: as `read_trajectory`.
    """
    return trajectory_path(folder).exists() and bool(read_trajectory(folder).get("complete"))


def _step(row: Any, number: int, path: epath.Path) -> dict[str, Any]:
    if isinstance(row, dict) and isinstance(row.get("kl"), list) and "drift" not in row:
        rest = {name: value for name, value in row.items() if name != "kl"}
        row = rest | {"drift": [OLD_KL_FIELDS | old for old in row["kl"]]}
    if not isinstance(row, dict) or not all(
        isinstance(row.get(n), kind) for n, kind in STEP_SHAPE.items()
    ):
        raise UserError(
            f"{path}, step {number} of the list: expected {', '.join(STEP_SHAPE)}, got {row!r:.80}. "
            "Remove the file: the same command makes it again."
        )
    return row


def evaluation_folders(workdir: epath.Path) -> list[epath.Path]:
    """Returns the evaluations in a working directory.

    They are those of all models of a study with their steps, those of a trajectory, or the directory's own.

    Raises:
      UserError: there is none.
    """
    inside = [workdir, *_step_folders(workdir)]
    if is_study(workdir):
        manifest = read_manifest(workdir)
        models = [workdir / folder for folder in model_folders(manifest)]
        inside = [
            *models,
            *(step for model in models for step in _step_folders(model / TRAJECTORY_FOLDER)),
        ]
    found = [folder / EVALUATION for folder in inside]
    found = [folder for folder in found if sample_keys(folder)]
    if not found:
        raise UserError(f"{workdir}: no samples are here; `jaxreason eval` makes them.")
    return found


def _step_folders(trajectory: epath.Path) -> list[epath.Path]:
    return [step_folder(trajectory, step) for step in begun_steps(trajectory)]
