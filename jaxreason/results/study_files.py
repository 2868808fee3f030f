"""The folders of a study and study.json, which says what it holds: one writer, one reader."""

from collections.abc import Callable, Mapping
from typing import Any

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results.files import check_object, read_object, write_json

MANIFEST = "study.json"  # a folder with this file is a study's
BASE = "base"  # the base's folder, and its name where models are named
BASES = "bases"  # in it the folders of the bases that arms have of their own
# What study.json and each of its arms hold at least.
SHAPE = {"name": str, "base": str, "groups": dict, "arms": list, "decodings": list}
ARM = {"name": str, "method": str, "label": str, "seeds": list}

Read = Callable[[epath.Path, Mapping[str, type]], dict[str, Any]]


def manifest_path(folder: epath.PathLike) -> epath.Path:
    """Where study.json of a study lies."""
    return epath.Path(folder) / MANIFEST


def is_study(folder: epath.PathLike) -> bool:
    """Whether a folder is a study's."""
    return manifest_path(folder).exists()


def run_folder(arm: str, seed: int) -> str:
    """The folder of an arm's run, relative to the study's."""
    return f"{arm}/seed_{seed}"


def base_folder(path: str) -> str:
    """The folder of a base of an arm's own, relative to the study's: `bases/<owner>--<name>` by its path."""
    parts = [part for part in path.split("/") if part not in ("", "~", ".", "..")]
    return f"{BASES}/{'--'.join(parts[-2:])}"


def bases_of(manifest: dict[str, Any]) -> list[dict[str, str]]:
    """The bases that arms are compared with: `name` (the folder) and `model` of each, the study's own first."""
    return manifest.get("bases") or [{"name": BASE, "model": manifest["base"]}]


def base_of(arm: dict[str, Any]) -> str:
    """The folder of the base that an arm of study.json is compared with."""
    return arm.get("base", BASE)


def model_folders(manifest: dict[str, Any]) -> list[str]:
    """The folders of all bases, and of all runs of all arms, relative to the study's."""
    runs = [run_folder(arm["name"], seed) for arm in manifest["arms"] for seed in arm["seeds"]]
    return [*(base["name"] for base in bases_of(manifest)), *runs]


def run_folders(folder: epath.PathLike, arm: str) -> list[epath.Path]:
    """The folders of an arm's runs that are there; of a base, which has no seeds, its own."""
    inside = epath.Path(folder) / arm
    return sorted(inside.glob("seed_*")) or [inside]


def write_manifest(folder: epath.PathLike, manifest: dict[str, Any]) -> None:
    """Writes study.json, whole or not at all; docs/report_files.md says what is in it."""
    write_json(manifest_path(folder), manifest)


def read_manifest(folder: epath.PathLike, read: Read = read_object) -> dict[str, Any]:
    """What study.json holds.

    Args:
      folder: of the study.
      read: how its object is read.

    Raises:
      UserError: there is none, or it is broken, or holds something else than SHAPE and ARM say.
    """
    path = manifest_path(folder)
    if not path.exists():
        raise UserError(f"{path}: not found; this is no study's folder.")
    found = read(path, SHAPE)
    bases = [base["name"] for base in bases_of(found)]
    for arm in found["arms"]:
        check_object(arm, ARM, f"{path}, arms")
        if base_of(arm) not in bases:
            raise UserError(
                f"{path}: arm {arm['name']} is compared with {base_of(arm)}, which is not in bases."
            )
    return found
