"""How the arms of a study differ from its recipe."""

import pytest

from configs import sections
from jaxreason.config import ConfigError
from jaxreason.recipes import load_recipe
from jaxreason.studies.arms import METHODS, arm_evaluation, arm_section, arms_of
from jaxreason.studies.recipe_sections import check_recipe


@pytest.fixture
def recipe():
    return load_recipe("configs/study_tiny.py")


def test_an_arm_is_asked_as_it_says_and_others_as_the_recipe_says(recipe):
    recipe.study.arms.rl.asked = {"thinking": True, "prompt_format": "plain"}
    check_recipe(recipe)
    arms = arms_of(recipe)
    asked = {name: arm_evaluation(recipe, name, arms[name]).asked for name in ("rl", "sft_top")}
    assert asked == {
        "rl": {"thinking": True, "prompt_format": "plain"},
        "sft_top": {"thinking": None, "prompt_format": "chat"},
    }


def test_the_tiny_study_which_tests_run_has_an_arm_of_every_method(recipe):
    trained = arms_of(recipe).items()
    found = {(arm.method, type(arm_section(recipe, name, arm))) for name, arm in trained}
    assert found == set(METHODS.items())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (
            {"thinkin": True},
            r"arms\.rl\.asked\.thinkin: arms may differ in thinking, prompt_format; did",
        ),
        ({"items_seed": 3}, r"asked\.items_seed: arms may differ in thinking, prompt_format"),
        ({"prompt_format": "bare"}, r"prompt_format: expected .*chat.*plain.*got 'bare'"),
    ],
)
def test_a_way_of_asking_that_would_not_be_comparable_is_refused(recipe, asked, message):
    recipe.study.arms.rl.asked = asked
    with pytest.raises(ConfigError, match=message):
        check_recipe(recipe)


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (("rl", "x", "rl", {}, {}, "a/model"), r"arms\.x\.path: .*trained.*base.*got 'a/model'"),
        (("given", "x", ""), r"arms\.x\.path: expected the folder or hub name .*got ''"),
        (("given", "x", "rl", {}, {}, "a/model"), r"arms\.x\.section: .*not trained.*got 'rl'"),
        (("given", "x", "", {"num_steps": 3}, {}, "a/model"), r"arms\.x\.overrides: .*not trained"),
    ],
)
def test_a_field_that_an_arm_of_this_method_does_not_read_is_refused(recipe, arm, message):
    method, label, section, overrides, asked, path = (*arm, {}, {}, "")[:6]
    recipe.study.arms.x = sections.arm(method, label, section, overrides, asked=asked, path=path)
    with pytest.raises(ConfigError, match=message):
        check_recipe(recipe)
