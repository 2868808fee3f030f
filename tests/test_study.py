"""The whole study, cut down: every stage, its files, and what a second start does."""

import fcntl
import json
import os
import signal
from pathlib import Path

import jax
import pytest
import smallest_study
from etils import epath

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.recipes import load_recipe
from jaxreason.results.study_files import read_trajectory
from jaxreason.runtime.preemption import Interrupt
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.studies import dry_run, recipe_sections, study
from jaxreason.studies.arms import arm_section, arms_of


def small_recipe():
    """configs/study_tiny.py with few questions, few steps, one seed, and a given arm."""
    config = load_recipe("configs/study_tiny.py")
    config.study.seeds = (3,)
    with config.ignore_type():
        arms = {name: config.study.arms[name] for name in ("rl", "sft_top")}
        given = {"method": "given", "label": "itself", "section": "", "overrides": {}}
        config.study.arms = {**arms, "same": {**given, "path": config.model.path}}
        config.procedural.fewer = {}
    config.procedural.base_count = 10
    config.procedural.twin_count = 64
    config.procedural.test_count = 6
    config.procedural.development_count = 1
    config.rl.num_steps = 6
    config.rl.prompts_per_step = config.rl.mini_batch_prompts = 8
    config.rl.micro_batch_rows = 16
    config.sft.epochs = 3.0
    config.sft.optimizer.warmup_steps = 1
    config.eval.sampler.slots = 80
    config.eval.sampler.prefill_tokens = 256
    config.drift.texts_per_benchmark = 4
    config.drift.batch_size = 8
    config.drift.training_prompts, config.drift.training_tokens = 5, 16
    config.drift.resamples = config.report.resamples = config.transfer.resamples = 50
    return config


TRAINING_KL = ("training", "kl_forward")


@pytest.fixture
def mesh():
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        yield mesh


@pytest.mark.slow
def test_the_tiny_study_runs_whole_and_a_second_start_repeats_nothing(tmp_path, mesh, capsys):
    workdir, config = epath.Path(tmp_path), small_recipe()
    gained = config.eval.benchmarks["get"]
    del config.eval.benchmarks["get"]
    study.run_study(config, mesh, workdir)
    out = capsys.readouterr().out
    assert "report.html" in out
    for name in ("report.html", "report.md", "summary.json"):
        assert (workdir / "report" / name).stat().length > 1000
    drawn = {path.name for path in (workdir / "report/figures").iterdir()}
    assert len(drawn) == 2 * 18 and drawn >= {"scores.png", "kl.svg", "training.png"}
    config.report.figures = False  # The next reports differ in numbers.
    kl = json.loads((workdir / "same/seed_3/analysis/token_kl.json").read_text())
    assert {row["value"] for row in kl["rows"]} == {0.0}  # a model compared with itself
    (unit,) = [u for u in kl["details"]["units"] if u["benchmark"] == "training_prompts"]
    assert unit["num_texts"] == 0 and "given, not trained here" in unit["undefined"]
    for arm in ("rl", "sft_top"):
        found = json.loads((workdir / arm / "seed_3/analysis/token_kl.json").read_text())
        (row,) = [r for r in found["groups"] if (r["group"], r["name"]) == TRAINING_KL]
        assert row["source"] == "base" and row["value"] > 0
    assert "Training prompts" in (workdir / "report/report.md").read_text()
    tuned = json.loads((workdir / "sft_top/seed_3/analysis/weights.json").read_text())
    assert max(row["value"] for row in tuned["rows"]) > 0
    for arm in (
        "rl",
        "sft_top",
    ):  # before they learned, their questions were compared with the benchmarks'
        compared = json.loads((workdir / arm / "seed_3/decontamination.json").read_text())
        assert compared["enabled"] and set(compared["benchmarks"]) == set(config.eval.benchmarks)
        assert compared["kept"] == compared["questions"] > 0
    assert "Training questions" in (workdir / "report/report.md").read_text()
    times, contents = files_of(workdir)
    assert len(times) > 20
    study.run_study(config, mesh, workdir)
    assert files_of(workdir) == (times, contents)
    # One arm and one benchmark more, in the same directory: only what they need is made.
    trained = (workdir / "sft_top/seed_3/model/model.safetensors").stat().mtime
    with config.ignore_type():
        config.eval.benchmarks["get"] = gained
        config.study.arms["twin"] = {
            **config.study.arms["same"].to_dict(),
            "asked": {"prompt_format": "plain"},
        }
    study.run_study(config, mesh, workdir)
    assert (workdir / "sft_top/seed_3/model/model.safetensors").stat().mtime == trained
    for arm in ("same", "twin"):
        kl = json.loads((workdir / arm / "seed_3/analysis/token_kl.json").read_text())
        assert "get" in {row["benchmark"] for row in kl["rows"]}
    asked = [
        json.loads((workdir / f"{arm}/seed_3/evaluation/scores.json").read_text())["asked"]
        for arm in ("same", "twin")
    ]
    assert [how["prompt_format"] for how in asked] == ["chat", "plain"]
    shown = json.loads((workdir / "report/summary.json").read_text())["asked"]
    assert {row["model"]: row["prompt_format"] for row in shown}["twin"] == "plain"
    untouched = {p for p in contents if p.name.startswith(("add.", "copy."))}
    assert untouched and all(p.read_bytes() == contents[p] for p in untouched)


def files_of(workdir):
    """Everything but the index and the report: when it was written, and what it holds.

    Questions and scores.json are written at every start, the same ones.
    """
    arms = ("base", "rl", "sft_top", "same", "questions")
    files = [p for arm in arms for p in Path(workdir, arm).rglob("*") if p.is_file()]
    once = [p for p in files if "questions" not in p.parts and p.name != "scores.json"]
    return {p: p.stat().st_mtime_ns for p in once}, {p: p.read_bytes() for p in files}


def test_questions_that_changed_under_a_study_are_refused(tmp_path, mesh):
    config = small_recipe()
    study.prepare_questions(config, epath.Path(tmp_path))
    config.procedural.twin_count = 32
    with pytest.raises(UserError, match=r"questions/.*holds other rows than the recipe makes"):
        study.run_study(config, mesh, epath.Path(tmp_path))
    assert not (tmp_path / "study.json").exists()


def test_the_manifest_follows_the_newest_recipe_whatever_was_there(tmp_path):
    config = small_recipe()
    study.write_study(config, config, epath.Path(tmp_path))
    config.study.seeds = (3, 4)
    with config.ignore_type():
        config.study.arms.rl.drift = False
    config.report.title = "another title"
    study.write_study(config, config, epath.Path(tmp_path))
    manifest = json.loads((tmp_path / "study.json").read_text())
    assert [arm["seeds"] for arm in manifest["arms"] if arm["method"] != "given"] == [[3, 4]] * 2
    assert [arm["name"] for arm in manifest["arms"] if not arm["drift"]] == ["rl"]
    assert json.loads((tmp_path / "config.json").read_text())["report"]["title"] == "another title"


def test_runs_that_are_followed_keep_all_checkpoints_and_have_a_stage_each_after_their_drift(
    tmp_path,
):
    config = small_recipe()
    plain = [stage.name for stage in study.stages(config, None, epath.Path(tmp_path))]
    config.study.follow = True
    found = study.stages(config, None, epath.Path(tmp_path))
    added = [stage.name for stage in found if stage.name not in plain]
    assert added == ["follow rl seed 3", "follow sft_top seed 3"]  # and not the given arm
    names = [stage.name for stage in found]
    assert names.index("follow rl seed 3") == names.index("drift rl seed 3") + 1
    folders = {stage.name: stage.folder for stage in found}
    assert folders["follow rl seed 3"] == tmp_path / "rl/seed_3/trajectory"
    for name in ("rl", "sft_top"):
        arm = arms_of(config)[name]
        assert arm_section(config, name, arm).keep == 0
        config.study.follow = False
        assert arm_section(config, name, arm).keep == 2
        config.study.follow = True
    study.write_study(config, config, epath.Path(tmp_path))
    assert json.loads((tmp_path / "study.json").read_text())["follow"] is True
    config.rl.checkpoint_every = 0
    prepared = study.prepare_questions(config, epath.Path(tmp_path))
    with pytest.raises(
        ConfigError, match=r"arms\.rl: checkpoint_every=0 keeps the last step alone"
    ):
        study.check_stages(prepared, None)


@pytest.mark.slow
def test_a_study_that_follows_its_runs_reports_them_step_by_step(tmp_path, mesh):
    config, workdir = smallest_study.get_config(), epath.Path(tmp_path)
    config.study.follow = True
    with config.ignore_type():
        config.study.arms.rl.asked = {"prompt_format": "plain"}  # its base is asked as `eval` says
    config.drift.metrics = ("token_kl",)
    config.drift.training_prompts, config.drift.training_tokens = 2, 4
    study.run_study(config, mesh, workdir)
    for name, steps in (("rl", [0, 2, 4]), ("sft_top", [0, 2, 4])):
        found = read_trajectory(workdir / name / "seed_3" / "trajectory")
        assert [row["step"] for row in found["steps"]] == steps and found["complete"]
        assert found["elsewhere"] == {"0": "base", str(steps[-1]): f"{name}/seed_3"}
        assert found["missed"] == []
    summary = json.loads((workdir / "report/summary.json").read_text())["over_training"]
    curves = {(row["arm"], row["curve"]): row["points"] for row in summary["curves"]}
    assert [p["step"] for p in curves["rl", "kl_training"]] == [0, 2, 4]
    assert len(summary["forgetting"]["points"]) == 2 + 2
    text = dry_run.describe_study(config, workdir)
    (line,) = [line for line in text.splitlines() if line.startswith("follow rl seed 3")]
    assert line.endswith("done")
    # A second start asks nothing.
    asked = [p for p in Path(tmp_path).rglob("samples/*") if "evaluation" in p.parts]
    times = {p: p.stat().st_mtime_ns for p in asked}
    study.run_study(config, mesh, workdir)
    assert times and {p: p.stat().st_mtime_ns for p in asked} == times


def test_a_study_in_the_folder_of_a_training_run_is_refused(tmp_path):
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ConfigError, match="the folder of a training run"):
        study.write_study(small_recipe(), small_recipe(), epath.Path(tmp_path))


def test_a_study_ends_between_two_stages_when_a_signal_came(tmp_path, mesh, capsys):
    with Interrupt():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(SystemExit) as stopped:
            study.run_study(small_recipe(), mesh, epath.Path(tmp_path))
    assert stopped.value.code == 143
    assert "Stopped by SIGTERM. 0 of 11 stages are complete." in capsys.readouterr().out
    assert not (tmp_path / "base").exists()


def test_two_runs_in_one_working_directory_at_once_are_refused(tmp_path, mesh):
    with open(tmp_path / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with pytest.raises(ConfigError, match="another run is using this working directory"):
            study.run_study(small_recipe(), mesh, epath.Path(tmp_path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c.drift.update(batch_size=3), "drift.batch_size=3: expected a multiple of 2"),
        (lambda c: c.drift.update(decoding="t2"), "drift.decoding='t2': expected a decoding that"),
        (lambda c: c.drift.update(metrics=("kla",)), "drift.metrics: no metric 'kla'"),
        (lambda c: c.transfer.update(modes=("v9",)), "transfer.modes: no mode 'v9'"),
        (lambda c: c.study.arms.rl.overrides.update(row_length=8), "study.arms.rl: rl.row_length=8"),
        (lambda c: c.study.arms.sft_top.overrides.update(length=999), "study.arms.sft_top: sft.length=999"),
        (lambda c: c.study.arms.sft_top.overrides.update(micro_batch_rows=7), "sft_top: sft.micro_batch_rows=7"),
        (lambda c: c.rl.optimizer.update(name="adamm"), "study.arms.rl: optimizer.name='adamm'"),
        (lambda c: c.sft.optimizer.update(schedule="x"), "study.arms.sft_top: optimizer.schedule='x'"),
        (lambda c: c.sft.datasets.teacher.update(path="/gone.jsonl"), "arms.sft_top: /gone.jsonl: no such"),
        (lambda c: c.study.arms.same.update(path="/nowhere"), "study.arms.same: .*/nowhere"),
    ],
)  # fmt: skip
def test_what_a_late_stage_would_refuse_is_refused_before_the_first(tmp_path, change, message):
    config = small_recipe()
    with config.unlocked(), config.ignore_type():
        change(config)
    mesh = make_mesh(MeshConfig(1, 2, 1, 1), jax.devices()[:2])
    with jax.set_mesh(mesh), pytest.raises(UserError, match=message):
        study.run_study(config, mesh, epath.Path(tmp_path))
    assert not (tmp_path / "study.json").exists() and not (tmp_path / "base").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: delattr(c, "seed"), "config.seed: expected an int"),
        (lambda c: c.update(seed=2**32), "config.seed: expected an int from 0 to 4294967295"),
        (lambda c: c.study.update(seeds=(2**32,)), "study.seeds.*from 0 to"),
        (lambda c: c.study.update(seeds=()), "study.seeds: expected one or more, each once"),
        (
            lambda c: c.study.update(measured_dtype="f32"),
            "study.measured_dtype: expected one of '', 'float32'",
        ),
        (lambda c: c.study.update(seeds=(3, 3)), "study.seeds: expected one or more, each once"),
        (lambda c: setattr(c.study, "arms", {}), "study.arms: expected at least one"),
        (lambda c: c.study.arms.update(base=c.study.arms.rl), "study.arms: 'base' cannot name"),
        (lambda c: c.study.arms.update({"a/b": c.study.arms.rl}), "study.arms: 'a/b' cannot name"),
    ],
)
def test_a_dtype_that_is_none_and_seeds_and_arms_without_a_folder_of_their_own_are_refused(
    change, message
):
    config = small_recipe()
    with config.unlocked(), config.ignore_type():
        change(config)
    with pytest.raises(ConfigError, match=message):
        recipe_sections.check_recipe(config)


def test_a_task_that_there_is_not_is_refused_also_where_nothing_is_graded():
    for section in ("sft", "rl"):
        config = small_recipe()
        (name,) = config[section].datasets
        config[section].datasets[name].task = "hash_anser"
        path = rf"config\.{section}\.datasets\.{name}\.task"
        with pytest.raises(ConfigError, match=f"{path}: no task is called.* mean 'hash_answer'"):
            recipe_sections.check_recipe(config)
    config = small_recipe()
    arm = next(iter(config.study.arms))
    (name,) = config[config.study.arms[arm].section].datasets
    with config.ignore_type():
        config.study.arms[arm].overrides = {"datasets": {name: {"task": "maths"}}}
    with pytest.raises(ConfigError, match=rf"arms\.{arm} .*{name}\.task: .* mean 'math'"):
        recipe_sections.check_recipe(config)
    config = small_recipe()
    (name,) = config.sft.datasets
    config.sft.datasets[name].task = ""
    recipe_sections.check_recipe(config)


def test_an_arm_that_overrides_a_field_that_is_not_there_is_refused_by_its_path():
    config = small_recipe()
    with config.ignore_type():
        config.study.arms["rl"].overrides = {"num_stepz": 3}
    with pytest.raises(ConfigError, match=r"study.arms.rl.overrides.num_stepz: no such field; did"):
        recipe_sections.check_recipe(config)
