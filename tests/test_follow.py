"""The trajectory of a training run: what each step's numbers equal, and what becomes of a run that is going on."""

import dataclasses
import json
import logging
import os
import shutil
import signal
from pathlib import Path

import jax
import pytest
from etils import epath
from processes import run_processes
from program import call, refused
from tiny_evaluation import read_lines
from tiny_follow import (
    DRIFT,
    STEPS,
    TRANSFER,
    evaluation,
    follow,
    follow_on_all,
    make_base,
    make_config,
    make_mesh_of_one,
    make_run,
    model_of,
)
from tiny_qwen3 import model_config
from tiny_sft import MODEL

from jaxreason.analysis import drift
from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.evaluation.evaluator import run_eval
from jaxreason.evaluation.regrade import run_grade
from jaxreason.evaluation.trajectory import Named, best_step, find_named
from jaxreason.evaluation.transfer import run_transfer
from jaxreason.models.huggingface import ModelSource
from jaxreason.results.drift_files import read_drift, undefined_in
from jaxreason.results.study_files import evaluation_folders, read_trajectory
from jaxreason.sampling.engine import Engine
from jaxreason.studies import follow as stage
from jaxreason.training import run_reader
from jaxreason.training.convert import run_convert

ALL = (0, *STEPS)
NAMED = ("metric", "source", "group", "benchmark", "name")  # of a row of drift


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A folder with a finished run, and the trajectory of it."""
    folder = tmp_path_factory.mktemp("follow")
    run = make_run(folder)
    return folder, follow(run, folder / "followed", make_config(folder))


@pytest.fixture
def live(made, tmp_path):
    """A copy of the run that has only begun, and a function that lets checkpoints or its end appear in it."""
    run = tmp_path / "run"
    run.mkdir()
    shutil.copy(made[0] / "run" / "config.json", run)

    def appear(*names):
        for name in names:
            source = made[0] / "run" / ("done.json" if name == "done" else f"checkpoints/{name}")
            copy = shutil.copy if name == "done" else shutil.copytree
            (run / "checkpoints").mkdir(exist_ok=True)
            copy(source, run / source.relative_to(made[0] / "run"))

    return run, appear


@pytest.fixture
def begun(made, tmp_path):
    """A working directory in which the base alone was evaluated."""
    followed = made[0] / "followed"
    shutil.copytree(followed / "steps" / "0", tmp_path / "w" / "steps" / "0")
    shutil.copy(followed / "follow.json", tmp_path / "w")
    return tmp_path / "w"


def in_turn(*actions):
    """A `wait` that does one thing each time that it is called."""
    left = list(actions)
    return lambda: left.pop(0)()


def steps_of(trajectory):
    return {row["step"]: row for row in trajectory["steps"]}


UNKNOWN = {  # the tokenizer of the sums has no blank, which the study's script puts before answers
    f"{group}_sums.questions": f"none of its {number} questions is known to the tokenizer of the base"
    for group, number in (("math", 8), ("other", 4), ("non_reasoning", 4))
}


def numbers(trajectory):
    return trajectory["steps"], trajectory["best"], trajectory["scales"]


def test_every_kept_checkpoint_and_the_base_are_in_the_trajectory_and_the_earliest_best_is_named(
    made,
):
    _, trajectory = made
    assert tuple(steps_of(trajectory)) == ALL
    assert trajectory["complete"] and trajectory["missed"] == []
    means = {
        row["step"]: group["mean"]
        for row in trajectory["steps"]
        for group in row["groups"]
        if (group["group"], group["decoding"]) == ("math", "greedy")
    }
    assert means[0] == 0 and means[STEPS[-1]] > 0.5
    best = trajectory["best"]
    assert best["mean"] == max(means.values()) and best["name"] == "math"
    assert best["step"] == min(step for step, mean in means.items() if mean == best["mean"])


def test_drift_is_measured_by_every_metric_on_the_replies_of_both_and_grows_with_the_steps(made):
    rows = {
        step: {tuple(r[n] for n in NAMED): r["value"] for r in row["drift"]}
        for step, row in steps_of(made[1]).items()
    }
    assert rows[0] == {}  # the base is 0 from itself, and is not measured
    first = rows[STEPS[0]]
    assert {key[:2] for key in first if key[4] == "kl_forward"} == {
        ("token_kl", "base"),
        ("token_kl", "tuned"),
    }
    assert ("weights", None, None, None, "relative_l2") in first
    for key in (
        ("token_kl", "base", "training", "training_prompts", "kl_forward"),
        ("token_kl", "tuned", "math", None, "kl_reverse"),
        ("token_kl", "base", "math", None, "kl_forward"),
        ("weights", None, None, None, "relative_l2"),
    ):
        values = [rows[step][key] for step in STEPS]
        assert values == sorted(values) and values[0] > 0.01, key
    # The base answered the training prompts once, and what was asked is kept beside the steps: a run is only read.
    folder = made[0]
    kept = [path.name.split(".")[0] for path in (folder / "followed/training_prompts").iterdir()]
    assert sorted(kept) == ["prompts", "replies"]
    assert not (folder / "run" / "training_prompts").exists()


OF_CHECKPOINT = ("relative_l2", "update_l2", "changed_share")


def test_a_step_equals_its_exported_checkpoint_evaluated_and_compared_alone(made, tmp_path):
    folder, trajectory = made
    config, mesh = make_config(folder), make_mesh_of_one()
    step, target = STEPS[1], tmp_path / "alone"
    with jax.set_mesh(mesh):
        run_convert(
            config.model, mesh, str(folder / "run/checkpoints"), str(target / "model"), step
        )
        run_eval(config.evaluation, model_of(target / "model"), mesh, target, config.seed)
        folders = folder / "followed/steps/0/evaluation", target / "evaluation"
        tuned = model_config(target / "model")
        drift.run_drift(DRIFT, config.model, tuned, mesh, target, *folders)
    own = folder / "followed" / "steps" / str(step)
    for name in (
        "math_sums.greedy",
        "math_sums.t1",
        "other_sums.greedy",
        "non_reasoning_sums.greedy",
    ):
        alone = read_lines(target, name, grader="last_number")
        assert read_lines(own, name, grader="last_number") == alone and len(alone) >= 4
    row = steps_of(trajectory)[step]
    scores = json.loads((target / "evaluation" / "scores.json").read_text())
    primary = [score for score in scores["rows"] if score["primary"]]
    assert row["scores"] == [{name: score[name] for name in row["scores"][0]} for score in primary]
    assert row["groups"] == [{n: g[n] for n in row["groups"][0]} for g in scores["groups"]]
    alone = []
    for metric in DRIFT.metrics:
        found = json.loads((target / "analysis" / f"{metric}.json").read_text())
        alone += [{"metric": metric} | r for r in stage.drift_rows(found)]
    # Of two folders more is known of the weights than of a checkpoint that lies on the devices.
    alone = [r for r in alone if r["metric"] != "weights" or r["name"] in OF_CHECKPOINT]
    expected = {tuple(r[n] for n in NAMED): r["value"] for r in alone}
    rows = [r for r in row["drift"] if r["group"] != "training"]
    own = {tuple(r[n] for n in NAMED): r["value"] for r in rows}
    assert len(own) == len(rows) > 80
    assert own == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_the_index_is_that_of_a_study_whose_arms_are_the_steps(made, tmp_path):
    folder, trajectory = made
    (tmp_path / "base").symlink_to(folder / "followed/steps/0")
    arms = []
    for step in STEPS:
        (tmp_path / f"at_{step}").mkdir()
        (tmp_path / f"at_{step}" / "seed_0").symlink_to(folder / f"followed/steps/{step}")
        arms.append({"name": f"at_{step}", "method": "given", "label": str(step), "seeds": [0]})
    study = {"name": "s", "base": "b", "arms": arms, "decodings": ["greedy", "t1"], "groups": {}}
    (tmp_path / "study.json").write_text(json.dumps(study))
    rows = run_transfer(TRANSFER, tmp_path)
    for step in STEPS:
        by_hand = [row for row in rows if row["arm"] == f"at_{step}"]
        own = steps_of(trajectory)[step]["index"]
        assert own == [{name: row[name] for name in own[0]} for row in by_hand]
    last = {(r["mode"], r["group"]): r for r in own if r["decoding"] == "greedy"}
    assert last["v2_pooled", "other"]["ti"] > 50
    assert last["v1_relative", "other"]["undefined"] == "math: the base scores 0 on math_sums"
    assert steps_of(trajectory)[0]["index"] == []


def test_checkpoints_are_evaluated_as_they_appear_and_half_written_ones_are_left_alone(
    made, live, tmp_path
):
    run, appear = live
    seen = []

    def half_written():
        seen.append(list(steps_of(read_trajectory(tmp_path / "w"))))
        half = run / "checkpoints" / f"{STEPS[1]}.orbax-checkpoint-tmp"
        half.mkdir()
        (half / "d").write_bytes(b"half")

    def rest():
        seen.append(list(steps_of(read_trajectory(tmp_path / "w"))))
        appear(*STEPS[1:], "done")

    wait = in_turn(lambda: appear(STEPS[0]), half_written, rest)
    found = follow(run, tmp_path / "w", make_config(made[0]), wait)
    assert seen == [[0, STEPS[0]]] * 2
    assert numbers(found) == numbers(made[1]) and found["complete"] and found["missed"] == []


def test_a_checkpoint_that_appears_just_before_the_end_is_not_missed(
    made, live, begun, monkeypatch
):
    run, appear = live
    ended = run_reader.TrainedRun.ended

    def ends_just_then(record):
        if not (run / "done.json").exists():
            appear(STEPS[0], "done")
        return ended(record)

    monkeypatch.setattr(run_reader.TrainedRun, "ended", ends_just_then)
    assert list(steps_of(follow(run, begun, make_config(made[0])))) == [0, STEPS[0]]


def test_a_followed_run_that_is_started_again_goes_on_where_it_was(made, live, begun, monkeypatch):
    run, appear = live
    appear(*STEPS, "done")
    compare = drift.compare_models

    def killed(config, base, tuned, *rest):
        if tuned.name.endswith(str(STEPS[1])):
            raise RuntimeError("killed")
        compare(config, base, tuned, *rest)

    monkeypatch.setattr(stage.drift, "compare_models", killed)
    with pytest.raises(RuntimeError, match="killed"):
        follow(run, begun, make_config(made[0]))
    monkeypatch.undo()
    before = read_trajectory(begun)
    assert list(steps_of(before)) == [0, STEPS[0]] and not before["complete"]
    asked = count_requests(monkeypatch)
    found = follow(run, begun, make_config(made[0]))
    assert numbers(found) == numbers(made[1])
    assert sum(asked) == 8 + 8 + 4 + 4  # the last step alone: greedy and t1 of sums, and the others
    asked.clear()
    assert follow(run, begun, make_config(made[0])) == found and asked == []


def count_requests(monkeypatch):
    asked, generate = [], Engine.generate

    def counted(engine, requests, *arguments, **named):
        asked.append(len(requests))
        return generate(engine, requests, *arguments, **named)

    monkeypatch.setattr(Engine, "generate", counted)
    return asked


def test_a_checkpoint_that_was_removed_before_its_turn_is_said_and_the_others_go_on(
    made, live, begun, monkeypatch, caplog
):
    run, appear = live
    appear(*STEPS[1:], "done")
    listed = stage.finished_steps

    def removed_once_listed(run_record):
        steps = listed(run_record)
        shutil.rmtree(run / "checkpoints" / str(STEPS[1]), ignore_errors=True)
        return steps

    monkeypatch.setattr(stage, "finished_steps", removed_once_listed)
    with caplog.at_level(logging.WARNING):
        found = follow(run, begun, make_config(made[0]))
    assert list(steps_of(found)) == [0, STEPS[2]]
    assert found["missed"][1] == {"step": STEPS[1], "why": stage.REMOVED}
    assert caplog.text.count(f"step {STEPS[1]} is left out: {stage.REMOVED}.") == 1
    # What was found of the others is what it would have been.
    assert steps_of(found)[STEPS[2]]["scores"] == steps_of(made[1])[STEPS[2]]["scores"]


def test_a_checkpoint_that_vanishes_while_it_is_read_is_said_too(made, live, begun, monkeypatch):
    run, appear = live
    appear(STEPS[0], "done")
    fault = run_reader.Checkpointer.fault

    def removed_once_verified(checkpoints, step):
        found = fault(checkpoints, step)
        shutil.rmtree(run / "checkpoints" / str(step))
        return found

    monkeypatch.setattr(run_reader.Checkpointer, "fault", removed_once_verified)
    found = follow(run, begun, make_config(made[0]))
    assert list(steps_of(found)) == [0]
    assert found["missed"] == [{"step": STEPS[0], "why": stage.REMOVED}]


def test_checkpoints_that_were_gone_from_the_start_are_said_and_a_damaged_one_is_named(
    made, live, begun
):
    run, appear = live
    appear(STEPS[1], "done")
    damaged = run / "checkpoints" / str(STEPS[1]) / "_METADATA"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    found = follow(run, begun, make_config(made[0]))
    assert list(steps_of(found)) == [0]
    first, second = found["missed"]
    assert first == {"step": STEPS[0], "why": stage.NONE_LEFT}
    assert second["step"] == STEPS[1] and "damaged: _METADATA holds other bytes" in second["why"]


def test_steps_stay_when_their_checkpoints_are_removed_after_they_were_evaluated(
    made, live, tmp_path
):
    run, appear = live
    appear(STEPS[0])

    def keep_one():
        appear(STEPS[1], "done")
        shutil.rmtree(run / "checkpoints" / str(STEPS[0]))

    config = make_config(made[0], evaluation=evaluation(made[0], groups=("math", "other")))
    first = follow(run, tmp_path / "w", config, in_turn(keep_one))
    assert list(steps_of(first)) == [0, *STEPS[:2]] and first["missed"] == []
    again = follow(run, tmp_path / "w", config)
    assert numbers(again) == numbers(first) and again["missed"] == []
    # With a benchmark more, what cannot be asked it is left out: numbers of two kinds never stand side by side.
    more = follow(run, tmp_path / "w", make_config(made[0]))
    assert list(steps_of(more)) == [0, STEPS[1]]
    assert more["missed"] == [{"step": STEPS[0], "why": stage.OUTDATED}]
    assert steps_of(more)[STEPS[1]] | {"index": []} == steps_of(made[1])[STEPS[1]] | {"index": []}


def test_steps_whose_checkpoints_are_gone_are_graded_again_with_a_newer_grader(
    made, live, tmp_path, monkeypatch
):
    """As `jaxreason grade --workdir` does it; until then they are left out, since the base has newer grades."""
    shutil.copytree(made[0] / "followed", tmp_path / "w")
    live[1]("done")
    monkeypatch.setattr("jaxreason.evaluation.grades.grader_version", lambda task: "newer")
    config = make_config(made[0])
    found = follow(live[0], tmp_path / "w", config)
    assert [row["step"] for row in found["missed"]] == list(STEPS)
    folders = evaluation_folders(tmp_path / "w")
    assert [str(folder.relative_to(tmp_path / "w")) for folder in folders] == [
        f"steps/{step}/evaluation" for step in ALL
    ]
    run_grade(config.evaluation, folders)
    found = follow(live[0], tmp_path / "w", config)
    assert numbers(found) == numbers(made[1]) and found["missed"] == []


@pytest.mark.slow
def test_two_processes_follow_a_run_together_and_agree_on_what_is_left_out(
    made, live, tmp_path, monkeypatch
):
    tests = Path(__file__).parent
    paths = f"{tests / 'training'}{os.pathsep}{tests / 'evaluation'}"
    monkeypatch.setenv("PYTHONPATH", paths, prepend=os.pathsep)
    run, appear = live
    appear(*STEPS[:2], "done")
    damaged = run / "checkpoints" / str(STEPS[1]) / "_METADATA"
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"x")
    arguments = str(made[0]), str(run), str(tmp_path / "w")
    first, second = run_processes(follow_on_all, 2, *arguments)
    assert first == second and list(steps_of(first)) == [0, STEPS[0]]
    assert [row["step"] for row in first["missed"]] == [STEPS[1]]
    alone = steps_of(made[1])[STEPS[0]]
    greedy = [r["mean"] for r in steps_of(first)[STEPS[0]]["scores"] if r["decoding"] == "greedy"]
    assert greedy == [r["mean"] for r in alone["scores"] if r["decoding"] == "greedy"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_nothing_is_to_do_ends_it_with_the_trajectory_saved(
    made, live, begun, capsys, number
):
    run, _ = live
    with pytest.raises(SystemExit) as stopped:
        follow(run, begun, make_config(made[0]), lambda: os.kill(os.getpid(), number))
    assert stopped.value.code == 143
    assert f"Stopped by {number.name}. {stage.SAVED}" in capsys.readouterr().out
    assert list(steps_of(read_trajectory(begun))) == [0]


def test_a_folder_without_a_run_another_base_and_other_settings_are_refused(made, live, tmp_path):
    folder, run = made[0], live[0]
    with pytest.raises(UserError, match=r"nowhere/config\.json: not found, so no training run"):
        follow(tmp_path / "nowhere", tmp_path / "w", make_config(folder))
    other = make_config(folder, model=model_of(make_base(folder, seed=1)))
    with pytest.raises(
        UserError, match=r"began from other weights .*base_0\).*--config\.model\.path"
    ):
        follow(run, tmp_path / "w", other)
    assert not (tmp_path / "w").exists()
    other = make_config(folder, drift=dataclasses.replace(DRIFT, max_length=12))
    with pytest.raises(ConfigError, match=r"follow\.json: .*drift\.max_length: 16 -> 12"):
        follow(folder / "run", folder / "followed", other)
    other = make_config(folder, seed=6)
    with pytest.raises(ConfigError, match=r"(?s)steps/0/.*seed: 5 -> 6"):
        follow(folder / "run", folder / "followed", other)


def test_a_run_that_began_at_random_is_compared_with_that_model_and_asked_with_its_own_tokenizer(
    made, live, tmp_path
):
    run, appear = live
    appear(STEPS[0], "done")
    record = json.loads((run / "config.json").read_text())
    record["claimed"]["base"] = None
    record["recipe"]["model"] = dataclasses.asdict(MODEL)
    record["recipe"]["sft"]["tokenizer"] = str(made[0] / "tokenizer")
    (run / "config.json").write_text(json.dumps(record))
    metrics = ("token_kl", "paper_pca_shift", "shifted_tokens")
    config = make_config(made[0], model=MODEL, drift=dataclasses.replace(DRIFT, metrics=metrics))
    found = follow(run, tmp_path / "w", config)
    base, step = found["steps"]
    expected = steps_of(made[1])[STEPS[0]]
    folder = tmp_path / "w" / "steps" / str(STEPS[0])
    assert {row["metric"] for row in step["drift"]} == {"token_kl", "shifted_tokens"}
    assert undefined_in(read_drift(folder, "paper_pca_shift")) == UNKNOWN
    shifted = read_drift(folder, "shifted_tokens")
    assert shifted["details"]["units"][0]["classes"] is not None  # with the texts of tokens
    assert step["scores"] == expected["scores"] and step["drift"] != expected["drift"]
    assert base["drift"] == []
    smaller = dataclasses.replace(MODEL, architecture=MODEL.architecture | {"head_dim": 4})
    with pytest.raises(UserError, match="began from another model than the random one"):
        follow(run, tmp_path / "other", make_config(made[0], model=smaller))


def named_rows(means):
    row = {"group": "math", "variant": "robust", "decoding": "greedy"}
    return [{"step": s, "groups": [row | {"mean": m}], "scores": []} for s, m in means.items()]


def test_ties_take_the_earliest_step_and_a_step_without_the_score_is_never_best():
    named = Named("math", "group", "robust", "greedy")
    assert best_step(named, named_rows({0: 0.2, 5: 0.5, 9: 0.5, 7: None}))["step"] == 5
    assert best_step(named, named_rows({0: None})) == {}


def test_the_best_step_is_chosen_by_a_group_or_a_benchmark_under_the_first_decoding_that_has_it(
    tmp_path,
):
    config = evaluation(tmp_path)
    assert find_named(config, "robust", None) == Named("math", "group", "robust", "greedy")
    found = find_named(config, "robust", "other_sums")
    assert found == Named("other_sums", "benchmark", "robust", "greedy")
    with pytest.raises(
        ConfigError, match=r"--best maths: no group or benchmark; did you mean 'math'"
    ):
        find_named(config, "robust", "maths")
    without_math = evaluation(tmp_path, groups=("other",))
    assert find_named(without_math, "robust", None).name == "other"
    with pytest.raises(ConfigError, match=r"no benchmark of eval\.benchmarks has it"):
        find_named(config, "paper", None)


def test_a_trajectory_of_an_older_version_is_read_and_what_is_none_is_refused_in_a_line(
    made, tmp_path
):
    old = json.loads((made[0] / "followed" / "trajectory.json").read_text())
    kl = {"benchmark": None, "group": "math", "name": "kl_reverse"}
    kl |= {"value": 0.5, "low": 0.4, "high": 0.6}
    del old["elsewhere"]
    for step in old["steps"]:
        del step["drift"]
        step["kl"] = [kl]
    path = tmp_path / "trajectory.json"
    path.write_text(json.dumps(old))
    found = read_trajectory(tmp_path)
    assert found["steps"][1]["drift"] == [kl | {"metric": "token_kl", "source": "tuned"}]
    assert found["elsewhere"] == {}
    old["steps"][1]["kl"] = "none"
    path.write_text(json.dumps(old))
    with pytest.raises(
        UserError, match=r"trajectory\.json, step 2 of the list: expected .*drift, got"
    ):
        read_trajectory(tmp_path)


def test_a_study_follows_a_run_between_its_base_and_its_last_step_which_it_has_measured(
    made, tmp_path, monkeypatch
):
    folder, last = made[0], STEPS[-1]
    run = tmp_path / "arm" / "seed_3"
    shutil.copytree(folder / "run", run)
    shutil.copytree(folder / "followed" / "steps" / "0", tmp_path / "base")
    shutil.copytree(folder / "followed" / "steps" / str(last), run, dirs_exist_ok=True)
    elsewhere = {0: "base", last: "arm/seed_3"}
    places = stage.Places(epath.Path(run / "trajectory"), epath.Path(tmp_path), elsewhere)
    config, mesh = make_config(folder), make_mesh_of_one()
    base = ModelSource.of_folder(config.model, mesh)
    asked = count_requests(monkeypatch)
    with jax.set_mesh(mesh):
        stage.follow_finished(config, run, base, mesh, places)
    # The two steps between; and of the base three training prompts, which no stage of this study has asked.
    assert sum(asked) == 2 * (8 + 8 + 4 + 4) + 3
    found = read_trajectory(run / "trajectory")
    assert numbers(found) == numbers(made[1]) and found["complete"]
    assert found["elsewhere"] == {"0": "base", str(last): "arm/seed_3"}
    assert {p.name for p in (run / "trajectory" / "steps").iterdir()} == {"10", "20"}
    # The replies to training prompts are those that the study's other stages have.
    assert (tmp_path / "training_prompts").exists()
    assert not (run / "trajectory" / "training_prompts").exists()
    asked.clear()
    with jax.set_mesh(mesh):
        stage.follow_finished(config, run, base, mesh, places)
    assert asked == [] and read_trajectory(run / "trajectory") == found


def test_the_metric_that_reads_questions_is_measured_of_a_run_that_is_followed_alone(
    made, live, tmp_path
):
    """A working directory from before questions were kept has them written, and the base is not asked again."""
    run, appear = live
    appear(STEPS[0], "done")
    shutil.copytree(made[0] / "followed" / "steps" / "0", tmp_path / "w" / "steps" / "0")
    shutil.rmtree(tmp_path / "w" / "steps" / "0" / "evaluation" / "questions", ignore_errors=True)
    config = make_config(made[0], drift=dataclasses.replace(DRIFT, metrics=("paper_pca_shift",)))
    shutil.copy(made[0] / "followed" / "follow.json", tmp_path / "w")
    follow(run, tmp_path / "w", config)
    found = read_drift(tmp_path / "w" / "steps" / str(STEPS[0]), "paper_pca_shift")
    assert undefined_in(found) == UNKNOWN


def test_a_metric_that_the_recipe_gains_is_measured_of_the_checkpoints_that_are_left(
    made, live, tmp_path
):
    run, appear = live
    appear(*STEPS[:2], "done")
    shutil.copytree(made[0] / "followed", tmp_path / "w")
    for step in STEPS:
        (tmp_path / "w" / "steps" / str(step) / "analysis" / "weights.json").unlink()
    shutil.rmtree(tmp_path / "w" / "steps" / str(STEPS[1]) / "analysis")
    found = follow(run, tmp_path / "w", make_config(made[0]))
    assert [row["step"] for row in found["steps"]] == list(ALL)
    # The last one's checkpoint is gone: what was measured of it stays.
    metrics = {step: {r["metric"] for r in row["drift"]} for step, row in steps_of(found).items()}
    both = {"token_kl", "weights"}
    assert [metrics[step] for step in STEPS] == [both, both, {"token_kl"}]
    assert steps_of(found)[STEPS[1]] == steps_of(made[1])[STEPS[1]]


def test_the_trajectory_is_shown_as_a_table(made, capsys):
    assert call("show", made[0] / "followed") == 0
    shown = capsys.readouterr().out.splitlines()
    header = next(line for line in shown if line.startswith("step "))
    for column in ("math", "other", "TI other v2_pooled", "KL math"):
        assert column in header
    rows = [line for line in shown if line.split() and line.split()[0].isdigit()]
    assert [int(row.split()[0]) for row in rows] == list(ALL)
    best = made[1]["best"]
    assert f"best math (robust, greedy): {100 * best['mean']:.1f} at step {best['step']}" in shown
    assert "undefined: math: the base scores 0 on math_sums" in shown


def test_a_step_that_is_none_and_best_without_a_run_to_follow_are_refused(tmp_path, capsys):
    words = ("eval", "--config", "study_tiny", "--workdir", tmp_path)
    assert "--best is for --follow RUN" in refused(capsys, *words, "--best", "math")
    words = ("convert", "--config", "study_tiny", "--source", "a", "--target", "b", "--step", "x")
    assert "--step=x: expected the number of a step" in refused(capsys, *words)
