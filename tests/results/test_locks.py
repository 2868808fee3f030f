"""One living run in a folder; a study's lock covers its arms."""

import pytest
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.results.locks import locked
from jaxreason.results.study_files import MANIFEST


@pytest.fixture(params=["study", "study[1]"])
def study(request, tmp_path):
    """A study's folder with one arm."""
    folder = epath.Path(tmp_path) / request.param
    (folder / "rl" / "seed_3").mkdir(parents=True)
    (folder / MANIFEST).write_text("{}")
    return folder


def take(folder):
    """A run that ends at once."""
    with locked(epath.Path(folder)):
        pass


def test_a_second_run_is_refused_while_the_first_lives(tmp_path):
    said = r"another run is using this working directory"
    with locked(epath.Path(tmp_path)), pytest.raises(ConfigError, match=said):
        take(tmp_path)
    take(tmp_path)


@pytest.mark.parametrize("inside", ["rl/seed_3", "base"])
def test_a_run_in_the_folder_of_a_living_study_is_refused(study, inside):
    with (
        locked(study),
        pytest.raises(ConfigError, match=r"another run is using .*study(\[1\])?, which"),
    ):
        take(study / inside)
    take(study / inside)


def test_a_study_is_refused_while_a_run_of_its_own_is_in_an_arm(study):
    arm = study / "rl" / "seed_3"
    with locked(arm), pytest.raises(ConfigError, match=r"another run is using .*rl/seed_3"):
        take(study)


def test_runs_side_by_side_are_not_in_each_others_way(study, tmp_path):
    with (
        locked(study),
        locked(epath.Path(tmp_path) / "other"),
        locked(epath.Path(tmp_path) / "x/y"),
    ):
        for folder in (study, tmp_path / "other", tmp_path / "x/y"):
            with pytest.raises(ConfigError, match="another run is using"):
                take(folder)


def test_two_arms_of_a_study_may_run_at_once(study):
    arms = [study / "rl" / "seed_3", study / "rl" / "seed_4"]
    with locked(arms[0]), locked(arms[1]):
        for arm in arms:
            with pytest.raises(ConfigError, match="another run is using"):
                take(arm)
