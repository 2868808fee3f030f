"""Which evaluations there are in a working directory."""

from etils import epath

from jaxreason.errors import UserError
from jaxreason.results import study_files
from jaxreason.results.sample_files import sample_keys
from jaxreason.results.score_files import EVALUATION
from jaxreason.results.trajectory_file import INSIDE, begun_steps, step_folder


def evaluation_folders(workdir: epath.Path) -> list[epath.Path]:
    """The evaluations in a working directory: of all models of a study with their steps, of a trajectory, or its own.

    Raises:
      UserError: there is none.
    """
    inside = [workdir, *_steps(workdir)]
    if study_files.is_study(workdir):
        manifest = study_files.read_manifest(workdir)
        models = [workdir / folder for folder in study_files.model_folders(manifest)]
        inside = [*models, *(step for model in models for step in _steps(model / INSIDE))]
    found = [folder / EVALUATION for folder in inside]
    found = [folder for folder in found if sample_keys(folder)]
    if not found:
        raise UserError(f"{workdir}: no samples are here; `jaxreason eval` makes them.")
    return found


def _steps(trajectory: epath.Path) -> list[epath.Path]:
    return [step_folder(trajectory, step) for step in begun_steps(trajectory)]
