"""Finds the start of each arm of a study, and the base that it is compared with.

A chained arm starts from another arm's model and is compared with the base that the chain began from: what a reader of
"SFT, then RL" asks is how far the two together moved, on the scale of the other arms. What its last stage alone did is
the difference of the two arms, which the report has too.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from etils import epath

from jaxreason.config import ConfigError, nearest
from jaxreason.results.published import published_models
from jaxreason.results.study_files import BASE, base_folder, run_folder
from jaxreason.studies.arms import ArmConfig, StudyConfig, seeds_of


@dataclass(frozen=True)
class Base:
    """A model that arms are compared with.

    Attributes:
      name: its folder, relative to the study's.
      path: a Hugging Face folder or hub name.
    """

    name: str
    path: str


def parent_of(study: StudyConfig, arm: ArmConfig) -> str | None:
    """The arm that an arm starts from; None if it starts from a base."""
    return arm.base if arm.base in study.arms else None


def arms_in_order(
    study: StudyConfig, reads: Mapping[str, Collection[str]] | None = None
) -> list[str]:
    """The arms, each after the one that it starts from and those whose files it reads, and else as they stand.

    Args:
      study: the recipe's section.
      reads: arm -> the arms whose files its settings name.

    Raises:
      ConfigError: arms need each other.
    """
    found: dict[str, None] = {}

    def add(name: str, path: tuple[str, ...]) -> None:
        if name in path:
            raise ConfigError(
                f"config.study.arms: they need each other: {' <- '.join([*path, name])}."
            )
        parent = parent_of(study, study.arms[name])
        for other in (*((parent,) if parent else ()), *(reads or {}).get(name, ())):
            if other not in found:
                add(other, (*path, name))
        found[name] = None

    for name in study.arms:
        if name not in found:
            add(name, ())
    return list(found)


def ancestry(study: StudyConfig, name: str) -> list[str]:
    """An arm, the arm that it starts from, and so on to the first.

    Raises:
      ConfigError: it starts from itself, with the way round.
    """
    found = [name]
    while (parent := parent_of(study, study.arms[found[-1]])) is not None:
        if parent in found:
            raise ConfigError(
                f"config.study.arms.{name}.base: arms start from each other: {' <- '.join([*found, parent])}."
            )
        found.append(parent)
    return found


def base_of_arm(study: StudyConfig, name: str, model_path: str) -> Base:
    """The base that an arm is compared with: the one that its first ancestor starts from.

    Args:
      study: the recipe's section.
      name: of the arm.
      model_path: of the recipe's `model`.
    """
    path = study.arms[ancestry(study, name)[-1]].base
    if not path or _same(path, model_path):
        return Base(BASE, model_path)
    return Base(base_folder(path), path)


def study_bases(study: StudyConfig, model_path: str) -> list[Base]:
    """The bases that arms are compared with, the recipe's `model` first; each is evaluated once.

    Raises:
      ConfigError: two of them would have one folder.
    """
    found: dict[str, Base] = {}
    for name in study.arms:
        base = base_of_arm(study, name, model_path)
        other = found.setdefault(base.name, base)
        if not _same(base.path, other.path):
            raise ConfigError(
                f"config.study.arms.{name}.base: {base.path} and {other.path} would both lie in {base.name}; "
                "give one of them another name (a link)."
            )
    return sorted(found.values(), key=lambda base: base.name != BASE)


def start_of(study: StudyConfig, name: str, model_path: str, seed: int, workdir: epath.Path) -> str:
    """The model that an arm's run of a seed starts from: a path or hub name."""
    parent = parent_of(study, study.arms[name])
    if parent is None:
        return study.arms[name].base or model_path
    return model_of(study, parent, seed, workdir)


def model_of(study: StudyConfig, name: str, seed: int, workdir: epath.Path) -> str:
    """The model of an arm, of that seed where it is trained: a path or hub name."""
    arm = study.arms[name]
    return arm.path if arm.method == "given" else str(workdir / run_folder(name, seed) / "model")


def origin_of(study: StudyConfig, name: str, model_path: str) -> str:
    """A model that is there before anything is trained and has an arm's architecture: a path or hub name."""
    for member in ancestry(study, name):
        if study.arms[member].method == "given":
            return study.arms[member].path
    return base_of_arm(study, name, model_path).path


def check_lineage(study: StudyConfig, model_path: str) -> None:
    """Refuses arms that start nowhere, from each other, or from a run that is not made.

    Raises:
      ConfigError: with the arm.
    """
    for name, arm in study.arms.items():
        path, parent = f"config.study.arms.{name}", parent_of(study, arm)
        if parent is None and arm.base and not _names_model(arm.base):
            raise ConfigError(
                f"{path}.base: {arm.base!r} is neither an arm of this study{nearest(arm.base, study.arms)} nor a "
                "model's folder or hub name (owner/name)."
            )
        if parent is not None and arm.method == "given":
            raise ConfigError(
                f"{path}.base: a given arm is not trained, so it starts from no arm; name the base that it is "
                "compared with by its path."
            )
        ancestry(study, name)
        if parent is not None and study.arms[parent].method != "given":
            missing = set(seeds_of(study, arm)) - set(seeds_of(study, study.arms[parent]))
            if missing:
                raise ConfigError(
                    f"{path}.seeds: starts from {parent!r}, which has no run of seed "
                    f"{', '.join(map(str, sorted(missing)))}."
                )
    study_bases(study, model_path)
    asked_of_bases(study, model_path)
    published_bases(study, model_path)


def asked_of_bases(study: StudyConfig, model_path: str) -> dict[str, tuple[str, dict]]:
    """For each base (its folder): an arm compared with it, and the changes that its evaluation makes to `eval`.

    Raises:
      ConfigError: two arms say different things of one base, or one of a base that it does not have of its own.
    """
    found: dict[str, tuple[str, dict]] = {}
    for name, arm in study.arms.items():
        base = base_of_arm(study, name, model_path)
        if arm.base_asked and not (arm.base and _same(arm.base, base.path)):
            raise ConfigError(
                f"config.study.arms.{name}.base_asked: for a base of its own, and it has none."
            )
        other, said = found.setdefault(base.name, (name, dict(arm.base_asked)))
        if said != dict(arm.base_asked):
            raise ConfigError(
                f"config.study.arms.{name}.base_asked: {dict(arm.base_asked)}, and arm {other} says {said} of the same "
                f"base, {base.path}."
            )
    return found


def published_bases(study: StudyConfig, model_path: str) -> dict[str, str]:
    """For each base (its folder): the paper's name, if arms of it are models of the paper.

    Raises:
      ConfigError: two such arms have one base here, and two in the paper.
    """
    found: dict[str, tuple[str, str]] = {}
    for name, arm in study.arms.items():
        if arm.published:
            base = published_models()[arm.published].base
            folder = base_of_arm(study, name, model_path).name
            other, said = found.setdefault(folder, (name, base))
            if said != base:
                raise ConfigError(
                    f"config.study.arms.{name}.base: the paper compares {arm.published!r} with {base}, and "
                    f"{study.arms[other].published!r} (arm {other}) with {said}; here both have one base."
                )
    return {folder: base for folder, (_, base) in found.items()}


def _names_model(path: str) -> bool:
    return "/" in path or epath.Path(path).expanduser().is_dir()


def _same(first: str, second: str) -> bool:
    return first.rstrip("/") == second.rstrip("/")
