"""Finds the model that each arm of a study starts from, and the base that it is compared with.

A chained arm starts from another arm's model, but is compared with the base at the start of the chain. A reader of
"SFT, then RL" asks how far both stages together moved the model, on the same scale as the other arms. What the last
stage alone did is the difference between the two arms, which the report shows too.
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
    """Returns the arm that an arm starts from; None if it starts from a base."""
    return arm.base if arm.base in study.arms else None


def arms_in_order(
    study: StudyConfig, reads: Mapping[str, Collection[str]] | None = None
) -> list[str]:
    """Returns the arms in an order in which each comes after the arm it starts from and the arms whose files it reads.

    Otherwise the recipe's order is kept.

    Args:
      study: the recipe's section.
      reads: arm -> the arms whose files its settings name.

    Raises:
      ConfigError: some arms need each other.
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
    """Returns an arm, the arm that it starts from, and so on to the first one.

    Raises:
      ConfigError: the arm starts from itself; the message shows the cycle.
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
    """Returns the base that an arm is compared with: the one that its first ancestor starts from.

    Args:
      study: the recipe's section.
      name: name of the arm.
      model_path: path of the recipe's `model`.
    """
    path = study.arms[ancestry(study, name)[-1]].base
    if not path or _same(path, model_path):
        return Base(BASE, model_path)
    return Base(base_folder(path), path)


def study_bases(study: StudyConfig, model_path: str) -> list[Base]:
    """Returns the bases that arms are compared with, the recipe's `model` first. Each base is evaluated once.

    Raises:
      ConfigError: two bases would have the same folder.
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
    """Returns the path or hub name of the model that an arm's run of this seed starts from."""
    parent = parent_of(study, study.arms[name])
    if parent is None:
        return study.arms[name].base or model_path
    return model_of(study, parent, seed, workdir)


def model_of(study: StudyConfig, name: str, seed: int, workdir: epath.Path) -> str:
    """Returns the path or hub name of an arm's model; of a trained arm, the one of this seed."""
    arm = study.arms[name]
    return arm.path if arm.method == "given" else str(workdir / run_folder(name, seed) / "model")


def origin_of(study: StudyConfig, name: str, model_path: str) -> str:
    """Returns the path or hub name of a model that exists before any training and has the arm's architecture."""
    for member in ancestry(study, name):
        if study.arms[member].method == "given":
            return study.arms[member].path
    return base_of_arm(study, name, model_path).path


def check_lineage(study: StudyConfig, model_path: str) -> None:
    """Checks that every arm starts from something that exists or will be made.

    Raises:
      ConfigError: names the arm whose start does not exist, is in a cycle, or is a run that is not made.
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
    """For each base (its folder): an arm that is compared with it, and the changes to `eval` when the base is asked.

    Raises:
      ConfigError: two arms want different changes for one base, or an arm wants some for a base that is not its own.
    """
    found: dict[str, tuple[str, dict]] = {}
    for name, arm in study.arms.items():
        base = base_of_arm(study, name, model_path)
        if arm.base_asked and not (arm.base and _same(arm.base, base.path)):
            raise ConfigError(
                f"config.study.arms.{name}.base_asked: for a base of its own, and it has none."
            )
        if parent_of(study, arm) is not None:  # The first arm of the chain says it.
            continue
        other, said = found.setdefault(base.name, (name, dict(arm.base_asked)))
        if said != dict(arm.base_asked):
            raise ConfigError(
                f"config.study.arms.{name}.base_asked: {dict(arm.base_asked)}, and arm {other} says {said} of the same "
                f"base, {base.path}."
            )
    return found


def published_bases(study: StudyConfig, model_path: str) -> dict[str, str]:
    """For each base (its folder): its name in the paper, if arms of it are models of the paper.

    Raises:
      ConfigError: two such arms share one base here but have different ones in the paper.
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
