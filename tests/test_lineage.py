"""Where arms start and what they are compared with: chains, bases of their own, seeds of their own."""

import pytest
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.recipes import load_recipe
from jaxreason.studies import lineage, recipe_sections, study
from jaxreason.studies.arms import (
    ArmConfig,
    StudyConfig,
    check_folder_names,
    shown_labels,
    traits_of,
)
from jaxreason.studies.lineage import Base
from jaxreason.studies.question_set import with_workdir

MODEL = "Qwen/Qwen3-14B-Base"
WORKDIR = epath.Path("/w")


def arm(method="sft", base="", path="", seeds=()):
    return ArmConfig(method, method, "", {}, path, base=base, seeds=seeds)


def made_of(seeds=(0, 1), **arms):
    return StudyConfig("s", seeds, arms)


CHAIN = made_of(a_rl=arm("rl", "b_sft"), b_sft=arm(), c_again=arm("rl", "a_rl"))


def test_an_arm_comes_after_the_one_that_it_starts_from_and_else_where_it_stands():
    assert lineage.arms_in_order(CHAIN) == ["b_sft", "a_rl", "c_again"]
    assert lineage.arms_in_order(made_of(z=arm(), a=arm())) == ["z", "a"]


def test_a_chained_arm_starts_from_the_model_of_its_own_seed_and_is_compared_with_the_chains_base():
    assert lineage.start_of(CHAIN, "b_sft", MODEL, 1, WORKDIR) == MODEL
    assert lineage.start_of(CHAIN, "a_rl", MODEL, 1, WORKDIR) == "/w/b_sft/seed_1/model"
    assert lineage.start_of(CHAIN, "c_again", MODEL, 0, WORKDIR) == "/w/a_rl/seed_0/model"
    assert lineage.base_of_arm(CHAIN, "c_again", MODEL) == Base("base", MODEL)
    assert lineage.origin_of(CHAIN, "c_again", MODEL) == MODEL


def test_a_chain_on_a_given_arm_starts_from_its_checkpoint_for_every_seed():
    given = arm("given", "Qwen/Qwen2.5-7B", path="/models/simple_rl")
    made = made_of(given=given, rl=arm("rl", "given"))
    assert [lineage.start_of(made, "rl", MODEL, seed, WORKDIR) for seed in (0, 1)] == [
        given.path
    ] * 2
    assert lineage.base_of_arm(made, "rl", MODEL) == Base(
        "bases/Qwen--Qwen2.5-7B", "Qwen/Qwen2.5-7B"
    )
    assert lineage.origin_of(made, "rl", MODEL) == "/models/simple_rl"
    lineage.check_lineage(made, MODEL)


def test_a_base_that_several_arms_name_is_one_and_the_recipes_model_comes_first():
    made = made_of(
        a=arm("given", "Qwen/Qwen2.5-7B", path="x/a"),
        b=arm("given", "Qwen/Qwen2.5-7B", path="x/b"),
        c=arm("given", MODEL, path="x/c"),
    )
    assert lineage.study_bases(made, MODEL) == [
        Base("base", MODEL),
        Base("bases/Qwen--Qwen2.5-7B", "Qwen/Qwen2.5-7B"),
    ]
    alone = made_of(a=made.arms["a"])
    assert [base.name for base in lineage.study_bases(alone, MODEL)] == ["bases/Qwen--Qwen2.5-7B"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (made_of(sft=arm(), rl=arm("rl", "stf")), "rl.base: 'stf' is neither an arm of this study; did you mean 'sft'"),
        (made_of(a=arm("rl", "b"), b=arm("rl", "a")), "arms.a.base: arms start from each other: a <- b <- a"),
        (made_of(a=arm("rl", "a")), "arms.a.base: arms start from each other: a <- a"),
        (made_of(a=arm("given", "b", path="x/y"), b=arm()), "arms.a.base: a given arm is not trained"),
        (made_of(a=arm(seeds=(0,)), b=arm("rl", "a")), "arms.b.seeds: starts from 'a', which has no run of seed 1"),
        (made_of(a=arm("given", "/m/x/y"), b=arm("given", "/n/x/y")), "b.base: /n/x/y and /m/x/y would both lie in"),
    ],
)  # fmt: skip
def test_arms_that_start_nowhere_or_from_each_other_are_refused_by_name(made, message):
    with pytest.raises(ConfigError, match=message):
        lineage.check_lineage(made, MODEL)


def own(name, published="", **more):
    return ArmConfig("given", name, "", {}, f"x/{name}", base="x/base", published=published, **more)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (
            made_of(a=own("a", "UniReason RL"), b=own("b", "SimpleRL-7B")),
            "b.base: the paper compares 'SimpleRL-7B' with Qwen2.5-7B-Base, and 'UniReason RL'",
        ),
        (
            made_of(a=own("a", base_asked={"thinking": True}), b=own("b")),
            "b.base_asked: {}, and arm a says {'thinking': True} of the same base, x/base",
        ),
        (
            made_of(a=ArmConfig("sft", "a", "", {}, "", base_asked={"thinking": True})),
            "a.base_asked: for a base of its own",
        ),
    ],
)
def test_arms_of_one_base_that_contradict_each_other_are_refused_by_name(made, message):
    with pytest.raises(ConfigError, match=message):
        lineage.check_lineage(made, MODEL)


def test_a_chained_arm_leaves_to_the_chains_first_how_their_base_is_asked():
    plain = {"prompt_format": "plain"}
    first = ArmConfig("sft", "a", "", {}, base="x/base", base_asked=plain)
    made = made_of(b=arm("rl", "a"), a=first, c=arm("rl", "b"))
    lineage.check_lineage(made, MODEL)
    assert lineage.asked_of_bases(made, MODEL) == {"bases/x--base": ("a", plain)}


def test_the_papers_names_of_bases_follow_from_its_models():
    made = made_of(a=own("a", "General-Reasoner RL"), b=own("b", "UniReason RL"), c=arm())
    assert lineage.published_bases(made, MODEL) == {"bases/x--base": "Qwen3-14B-Base"}


def test_a_model_that_the_paper_has_not_is_refused_with_the_nearest():
    said = r"a\.published: the paper has no 'SimpleRL-8B'; did you mean 'SimpleRL-7B'"
    with pytest.raises(ConfigError, match=said):
        check_folder_names(made_of(a=own("a", "SimpleRL-8B")))


def test_traits_are_those_of_the_paper_or_the_method_under_what_the_recipe_says():
    made = own("a", "SimpleRL-7B", traits={"size": "small", "lab": "x"})
    assert traits_of(made) == {"method": "RL", "size": "small", "family": "Qwen2.5", "lab": "x"}
    assert traits_of(arm("rl")) == {"method": "RL"} and traits_of(own("b")) == {}


def recipe(**arms):
    config = load_recipe("configs/study_tiny.py")
    config.study.seeds = (3,)
    with config.ignore_type():
        found = {name: config.study.arms[name] for name in ("rl", "sft_top")}
        config.study.arms = {**found, **arms}
    return config


def test_every_arm_is_called_by_one_line_that_no_other_arm_has():
    labels = {"a": "RL", "b": "RL", "c": " ", "d": "RL,\n1e-6"}
    arms = {name: ArmConfig("rl", label, "rl") for name, label in labels.items()}
    assert shown_labels(arms) == {"a": "RL (a)", "b": "RL (b)", "c": "c", "d": "RL, 1e-6"}


def test_the_stages_follow_the_chain_and_every_base_is_evaluated_once():
    config = recipe()
    own = str(config.model.path) + "/"
    with config.ignore_type(), config.unlocked():
        rl = config.study.arms.rl.to_dict()
        given = {**rl, "method": "given", "section": "", "path": "x/y", "base": "x/own"}
        config.study.arms = {
            "a_rl": {**rl, "base": "sft_top", "seeds": (4,)},
            "g": given,
            "h": {**given, "base": own, "drift": False},
            "sft_top": {**config.study.arms.sft_top.to_dict(), "seeds": (4, 3)},
        }
    names = [stage.name for stage in study.stages(config, None, WORKDIR)]
    assert names == [
        "evaluate base",
        "evaluate bases/x--own",
        *("train sft_top seed 3", "evaluate sft_top/seed_3", "drift sft_top seed 3"),
        *("evaluate g/seed_3", "drift g seed 3"),
        "evaluate h/seed_3",
        *("train sft_top seed 4", "evaluate sft_top/seed_4", "drift sft_top seed 4"),
        *("train a_rl seed 4", "evaluate a_rl/seed_4", "drift a_rl seed 4"),
        "transfer",
        "report",
    ]


@pytest.mark.parametrize("seeds", [(1, 1), (1, 2)])
def test_seeds_of_an_arm_that_are_doubled_or_more_than_a_given_one_has_are_refused(seeds):
    config = recipe()
    method = "given" if seeds == (1, 2) else "rl"
    with config.ignore_type():
        config.study.arms.rl.seeds = seeds
        config.study.arms.rl.method = method
    with pytest.raises(ConfigError, match=r"arms\.rl\.seeds: expected each once"):
        recipe_sections.check_recipe(config)


def test_an_arm_comes_after_those_whose_files_its_settings_name():
    config = recipe()
    teacher = "{workdir}/z_teacher/seed_3/model"
    with config.ignore_type(), config.unlocked():
        student = config.study.arms.rl.to_dict()
        student["overrides"] = {"reference": {"model": "teacher", "teacher": teacher}}
        config.study.arms = {"a": student, "z_teacher": config.study.arms.sft_top.to_dict()}
    prepared = with_workdir(config, WORKDIR)
    names = [s.model for s in study.stages(prepared, None, WORKDIR) if s.kind == "train"]
    assert names == ["z_teacher", "a"]
    with pytest.raises(ConfigError, match="they need each other: x <- y <- x"):
        lineage.arms_in_order(made_of(x=arm(), y=arm()), {"x": ["y"], "y": ["x"]})
