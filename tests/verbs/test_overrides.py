"""Any field of a recipe can be set on the command line, also one that is None, and entries that are not there yet."""

from pathlib import Path

import pytest
from program import refused

from jaxreason.recipes import load_recipe
from jaxreason.studies import arms, recipe_sections
from jaxreason.verbs.overrides import apply_overrides

TINY = ("--config", str(Path(__file__).parents[2] / "configs/study_tiny.py"))


def overridden(*arguments):
    config = load_recipe("study_tiny")
    assert apply_overrides(config, recipe_sections.section_classes(config), list(arguments)) == []
    recipe_sections.check_recipe(config)
    return config


@pytest.mark.parametrize(
    ("arguments", "find", "expected"),
    [
        (["--config.sft.epochs=2"], lambda c: c.sft.epochs, 2.0),
        (["--config.sft.epochs", "2.5"], lambda c: c.sft.epochs, 2.5),
        (["--config.sft.thinking=True"], lambda c: c.sft.thinking, True),
        (
            ["--config.sft.thinking=True", "--config.sft.thinking=None"],
            lambda c: c.sft.thinking,
            None,
        ),
        (["--config.sft.tensorboard"], lambda c: c.sft.tensorboard, True),
        (["--noconfig.sft.pack"], lambda c: c.sft.pack, False),
        (["--config.sft.pack=false"], lambda c: c.sft.pack, False),
        (["--config.study.seeds=3,4"], lambda c: c.study.seeds, (3, 4)),
        (["--config.study.seeds=3"], lambda c: c.study.seeds, (3,)),
        (["--config.drift.metrics=cka,weights"], lambda c: c.drift.metrics, ("cka", "weights")),
        (["--config.study.name=7"], lambda c: c.study.name, "7"),
        (["--config.seed=5"], lambda c: c.seed, 5),
        (
            ["--config.sft.datasets.teacher.options.group_by=question"],
            lambda c: c.sft.datasets.teacher.options.group_by,
            "question",
        ),
        (
            ["--config.sft.datasets.teacher.options.test_one_in=4"],
            lambda c: c.sft.datasets.teacher.options.test_one_in,
            4,
        ),
        (
            ["--config.sft.datasets.teacher.fields.system=preamble"],
            lambda c: c.sft.datasets.teacher.fields.system,
            "preamble",
        ),
        (
            [
                "--config.eval.benchmarks.gsm8k.limit=4",
                "--config.eval.benchmarks.gsm8k.samples.t1=2",
            ],
            lambda c: c.eval.benchmarks.gsm8k.samples.t1,
            2,
        ),
        (
            ["--config.eval.benchmarks.add.samples.t1=3"],  # of this benchmark alone
            lambda c: c.eval.benchmarks.mul.samples.t1,
            1,
        ),
        (
            ["--config.study.arms.rl.overrides.optimizer.learning_rate=1e-4"],
            lambda c: arms.arm_section(c, "rl", arms.arms_of(c)["rl"]).optimizer.learning_rate,
            1e-4,
        ),
    ],
)
def test_a_field_is_set_by_its_type(arguments, find, expected):
    found = find(overridden(*arguments))
    assert found == expected and type(found) is type(expected)


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--config.sft.epochs=many", "config.sft.epochs: expected float, got 'many' (str)"),
        ("--config.sft.batch_size=1.5", "config.sft.batch_size: expected int, got 1.5 (float)"),
        ("--config.sft.pack=maybe", "config.sft.pack: expected bool, got 'maybe' (str)"),
        ("--config.sft.epochs", "expected --config.SECTION.FIELD=VALUE"),
        ("--config.sft=3", "config.sft is a section: set its fields"),
        ("--config.sft.pack.deep=1", "config.sft.pack is a value, not a section"),
        ("--config.sft.epohcs=1", "config.sft.epohcs: no such field; did you mean 'epochs'?"),
        ("--noconfig.sft.epochs", "expected --config.SECTION.FIELD=VALUE"),
        ("--config.sft.optimizer.learning_rate=-1e-4", "expected more than 0, got -0.0001"),
        ("--config.sft.optimizer.learning_rate=nan", "expected a finite number, got nan"),
        (
            "--config.sft.optimizer.b2=1.0",
            "optimizer.b2: expected at least 0 and less than 1, got 1.0",
        ),
        ("--config.sft.log_every=0", "config.sft.log_every: expected at least 1, got 0"),
        (
            "--config.rl.group_size=1",
            "rl.group_size=1: expected at least 2, since replies are compared",
        ),
        ("--config.rl.decoding.temperature=-1", "temperature: expected from 0 to 1e+06, got -1.0"),
        ("--config.rl.policy_loss.dual_clip=0.5", "dual_clip: expected more than 1, or 0, got 0.5"),
        ("--config.rl.rewards.timeout_s=0", "rewards.timeout_s: expected more than 0, got 0.0"),
        ("--config.eval.confidence=1", "eval.confidence: expected between 0 and 1"),
        (
            "--config.eval.decodings.t1.top_p=-1",
            "top_p: expected from 0 to 1, got -1.0",
        ),
        ("--config.eval.benchmarks.add.samples.t1=0", "samples.t1: expected at least 1, got 0"),
        (
            "--config.eval.benchmarks.gsm8k.limt=4",
            "did you mean 'limit'? Valid here: limit, overrides",
        ),
        ("--config.eval.benchmarks.ad.limit=4", "eval.benchmarks.ad: missing field(s) samples"),
        ("--config.eval.sampler.slots=0", "eval.sampler.slots: expected at least 1, got 0"),
        ("--config.drift.resamples=0", "config.drift.resamples: expected at least 1, got 0"),
        ("--config.transfer.scales.math=0.0", "scales.math: expected more than 0, got 0.0"),
        ("--config.report.resamples=-1", "config.report.resamples: expected at least 1, got -1"),
        ("--config.serve.port=70000", "config.serve.port: expected from 0 to 65535, got 70000"),
        (
            "--config.chat.sampler.pages=-1",
            "config.chat.sampler.pages: expected at least 0, got -1",
        ),
        ("--config.mesh.tensor=0", "config.mesh.tensor: expected at least 1, or -1, got 0"),
        ("--config.model.unroll=0", "config.model.unroll: expected at least 1, got 0"),
        ("--config.procedural.twin_count=0", "procedural.twin_count: expected at least 1, got 0"),
        ("--config.sft.datasets.teacher.limit=-1", "teacher.limit: expected at least 0, got -1"),
        (
            "--config.study.seeds=-1",
            "config.study.seeds[0]: expected from 0 to 4.29497e+09, got -1",
        ),
        ("--config.seed=-1", "config.seed: expected an int from 0 to 4294967295, got -1"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_field_before_anything_runs(
    argument, message, capsys
):
    assert message in refused(capsys, "check", *TINY, argument)
