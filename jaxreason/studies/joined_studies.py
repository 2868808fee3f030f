"""Joins several finished studies: makes a folder with links to their runs, from which index and report are made.

Arms keep the bases of their own study, and the study's name is put before theirs. Studies that asked a benchmark in
different ways are refused.
"""

import os
from collections.abc import Sequence
from typing import Any, NamedTuple

from etils import epath

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.results import lease
from jaxreason.results.atomic_files import (
    absolute,
    atomic_write_bytes,
    inside,
    is_remote,
    read_object,
    remove,
    remove_folder,
)
from jaxreason.results.claims import differences, plain_json
from jaxreason.results.locks import REPORT_LOCK, in_turn
from jaxreason.results.sample_files import SampleKey, read_samples, sample_head_path, sample_keys
from jaxreason.results.score_files import EVALUATION, is_finished, read_score_rows
from jaxreason.results.study_files import (
    base_of,
    bases_of,
    is_study,
    manifest_path,
    model_folders,
    read_manifest,
    transfer_path,
    write_manifest,
)

STUDIES = "studies"  # Key of study.json: the folders that were joined. No other study has it.
LEFT = (
    "model",
    "checkpoints",
    "parts",
    lease.FOLDER,
)  # Folders of a run that a report does not read.
# The settings in the head of a sample file that must be equal, so that scores of two studies can be compared.
SETTINGS = ("num_questions", "num_samples", "decoding_settings")


class Joined(NamedTuple):
    """One of the studies that are joined: its name in the joined study, its folder and its study.json."""

    name: str
    folder: epath.Path
    manifest: dict[str, Any]

    def renamed(self, name: str) -> str:
        """Returns the name that a base or an arm of this study has in the joined study."""
        return f"{self.name}--{name.replace('/', '--')}"


def join_studies(folders: Sequence[epath.PathLike], workdir: epath.PathLike) -> dict[str, Any]:
    """Makes `workdir` a study of all arms and bases of several studies, and returns its study.json.

    Args:
      folders: folders of finished studies.
      workdir: a folder for the joined study. The same call again finds what is there. While another program makes its
        report, this waits.

    Raises:
      UserError: a folder is not a study or has not finished, the studies were not asked alike, or `workdir` is
        the folder of one of them.
    """
    workdir = epath.Path(workdir)
    studies = _read(folders, workdir)
    _check_names(studies)
    for study in studies:
        _check_finished(study)
    notes = _check_alike(studies)
    manifest = _manifest(studies, notes)
    if not is_remote(workdir):
        workdir.mkdir(parents=True, exist_ok=True)
    with in_turn(workdir / REPORT_LOCK, "its report"):
        _forget_others(workdir, manifest)
        for study in studies:
            for name in _runs(study):
                _bring(study.folder / name, workdir / study.renamed(name))
        write_manifest(workdir, manifest)
    return manifest


def _forget_others(workdir: epath.Path, manifest: dict[str, Any]) -> None:
    """Removes contents and index of other studies: were this to end halfway, they would stand beside links to these."""
    if is_study(workdir) and read_manifest(workdir) != plain_json(manifest):
        remove(manifest_path(workdir))
        remove(transfer_path(workdir))


def _read(folders: Sequence[epath.PathLike], workdir: epath.Path) -> list[Joined]:
    if is_study(workdir) and STUDIES not in read_manifest(workdir):
        raise ConfigError(f"{workdir}: a study's own folder; give the joint report another one.")
    found: list[Joined] = []
    for folder in map(absolute, folders):
        if _place(folder) in [_place(study.folder) for study in found]:
            raise ConfigError(f"{folder}: given twice.")
        name, names = folder.name, [study.name for study in found]
        if name in names:
            name = next(
                f"{name}_{n}" for n in range(2, len(names) + 3) if f"{name}_{n}" not in names
            )
        found.append(Joined(name, folder, read_manifest(folder)))
    return found


def _place(folder: epath.Path) -> str:
    """Returns where a folder is, through all links."""
    return os.fspath(folder) if is_remote(folder) else os.path.realpath(folder)


def _check_names(studies: list[Joined]) -> None:
    """Checks that no two runs would get the same folder: `a` has the arm `b--c`, and `a--b` the arm `c`."""
    owners: dict[str, Joined] = {}
    for study in studies:
        for name in _runs(study):
            if study.renamed(name) in owners:
                other = owners[study.renamed(name)]
                raise ConfigError(
                    f"{study.renamed(name)}: a run of {other.folder} and one of {study.folder} would both have this "
                    "name in the joint report; give a link of another name to one of the studies."
                )
            owners[study.renamed(name)] = study


def _runs(study: Joined) -> list[str]:
    """Returns the names of the study's bases and arms."""
    return [one["name"] for one in (*bases_of(study.manifest), *study.manifest["arms"])]


def _check_finished(study: Joined) -> None:
    missing = [
        name
        for name in model_folders(study.manifest)
        if not is_finished(study.folder / name / EVALUATION)
    ]
    if missing:
        raise UserError(
            f"{study.folder}: not finished: no scores of {', '.join(missing)}. `jaxreason study` continues it."
        )


def _check_alike(studies: list[Joined]) -> list[str]:
    """Checks that the studies asked alike; returns notes on benchmarks and decodings that not all of them have.

    Raises:
      UserError: two studies asked the same benchmark with other settings or questions, or put it into another group.
    """
    first = studies[0]
    for other in studies[1:]:
        for name, group in first.manifest["groups"].items():
            theirs = other.manifest["groups"].get(name, group)
            if theirs != group:
                raise UserError(
                    f"{name}: of group {group} in {first.name} and {theirs} in {other.name}."
                )
        _check_asked(first, other)
    notes = []
    for what, key in (("benchmark", "groups"), ("decoding", "decodings")):
        everywhere = set.intersection(*(set(study.manifest[key]) for study in studies))
        for study in studies:
            alone = [name for name in study.manifest[key] if name not in everywhere]
            if alone:
                notes.append(
                    f"{study.name}: left out, since not every study has this {what}: {', '.join(alone)}."
                )
    return notes


def _check_asked(first: Joined, other: Joined) -> None:
    folders = [s.folder / bases_of(s.manifest)[0]["name"] / EVALUATION for s in (first, other)]
    ways = [_ways(folder) for folder in folders]
    for where in ways[0].keys() & ways[1].keys():
        changed = differences(ways[0][where], ways[1][where])
        if changed:
            raise UserError(_differently(first, other, *where[:2], changed))
    shared = [key for key in sample_keys(folders[0]) if key in sample_keys(folders[1])]
    for key in shared:
        if key.benchmark not in first.manifest["groups"]:
            continue
        old, new = (_settings(study, key) for study in (first, other))
        changed = differences(old, new)
        if not changed and _questions(folders[0], key) != _questions(folders[1], key):
            changed = ["other questions"]
        if changed:
            raise UserError(_differently(first, other, key.benchmark, key.decoding, changed))


def _differently(
    first: Joined, other: Joined, benchmark: str, decoding: str, changed: list[str]
) -> str:
    return (
        f"{first.name} and {other.name} asked {benchmark} ({decoding}) differently: {'; '.join(changed)}. Report them "
        "apart."
    )


def _ways(folder: epath.Path) -> dict[tuple[str, str, str], dict[str, str]]:
    """Returns prompt, grader and metric of every benchmark, decoding and variant."""
    rows = [row for row in read_score_rows(folder) if row["primary"]]
    return {
        (row["benchmark"], row["decoding"], row["variant"]): {
            name: row[name] for name in ("prompt", "grader", "metric")
        }
        for row in rows
    }


def _settings(study: Joined, key: SampleKey) -> dict[str, Any]:
    """Returns the settings of the study's first base, with the longest length of all its bases.

    A model with few positions is asked with a shorter length.
    """
    folders = [study.folder / base["name"] / EVALUATION for base in bases_of(study.manifest)]
    paths = [path for folder in folders if (path := sample_head_path(folder, key)).exists()]
    heads = [read_object(path, {}) for path in paths]
    longest = max((head.get("max_length", 0) for head in heads), default=0)
    return {name: heads[0].get(name) for name in SETTINGS} | {"max_length": longest}


def _questions(folder: epath.Path, key: SampleKey) -> set[str]:
    return {line["id"] for line in read_samples(folder, key)}


def _manifest(studies: list[Joined], notes: list[str]) -> dict[str, Any]:
    manifests = [study.manifest for study in studies]
    shared = [set(manifest["groups"]) for manifest in manifests]
    names = set.intersection(*shared)
    return {
        "name": ", ".join(study.name for study in studies),
        "base": "",
        "bases": [base for study in studies for base in _bases(study)],
        "shared_base": False,
        "groups": {n: g for n, g in manifests[0]["groups"].items() if n in names},
        "labels": {n: label for m in manifests for n, label in m.get("labels", {}).items()},
        "arms": [arm for study in studies for arm in _arms(study)],
        "decodings": [
            d for d in manifests[0]["decodings"] if all(d in m["decodings"] for m in manifests)
        ],
        STUDIES: {study.name: str(study.folder) for study in studies},
        "notes": notes,
    }


def _bases(study: Joined) -> list[dict[str, Any]]:
    return [
        {**base, "name": study.renamed(base["name"])}
        | {"label": f"Base {epath.Path(base['model']).name} ({study.name})"}
        for base in bases_of(study.manifest)
    ]


def _arms(study: Joined) -> list[dict[str, Any]]:
    return [
        {**arm, "name": study.renamed(arm["name"]), "label": f"{arm['label']} ({study.name})"}
        | {"base": study.renamed(base_of(arm))}
        | {"after": study.renamed(arm["after"]) if arm.get("after") else ""}
        for arm in study.manifest["arms"]
    ]


def _bring(source: epath.Path, target: epath.Path) -> None:
    """Makes `target` a link to `source`. If one is on a bucket, copies it instead, without models and checkpoints."""
    if is_remote(source) or is_remote(target):
        if not is_remote(target) and os.path.islink(target):
            os.unlink(target)  # A copy would be written into the study that it leads to.
        _copy(source, target)
        return
    link = os.fspath(target)
    if os.path.islink(link) and os.readlink(link) != os.fspath(source):
        os.unlink(link)
    if os.path.exists(link) and not os.path.islink(link):
        raise UserError(f"{target}: there already, and no link to a study; remove it.")
    if not os.path.islink(link):
        target.parent.mkdir(parents=True, exist_ok=True)
        os.symlink(os.fspath(source), link)


def _copy(source: epath.Path, target: epath.Path) -> None:
    """Gives `target` the files of `source`; what an earlier copy left there, and is in `source` no more, is removed."""
    folders = {path.name: path.is_dir() for path in source.iterdir()}
    names = [name for name, is_folder in folders.items() if not (is_folder and name in LEFT)]
    for path in inside(target):
        if path.name not in names:
            remove_folder(path) if path.is_dir() else remove(path)
    for name in names:
        if folders[name]:
            _copy(source / name, target / name)
        else:
            atomic_write_bytes(target / name, (source / name).read_bytes())
