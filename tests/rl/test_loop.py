"""Whole runs of the RL stage on a tiny model."""

import dataclasses
import functools
import gc
import os
import shutil
import signal
import weakref

import failing_tasks
import jax
import numpy as np
import pytest
from compilations import compilations
from jax._src.array import ArrayImpl
from processes import run_processes
from safetensors.numpy import load_file
from tiny_rl import (
    INT8,
    LOSS,
    OPTIMIZER,
    is_done,
    mesh_of,
    metrics_of,
    rl_config,
    rollouts_of,
    run,
    run_on_four_devices,
    save_base,
    save_questions,
    signal_when_there,
)

from jaxreason.config import ConfigError, parse
from jaxreason.errors import UserError
from jaxreason.models import hf_export
from jaxreason.recipes import load_recipe
from jaxreason.rl import loop, references, update
from jaxreason.rl.advantages import ADVANTAGES
from jaxreason.rl.rewards import RewardConfig
from jaxreason.rl.rl_config import DynamicSamplingConfig, RLConfig
from jaxreason.rl.step_metrics import PHASES

TIMES = ("seconds", "tokens_per_second")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return save_base(folder), save_questions(folder)


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    """A run of four steps that kept the checkpoints of steps 2 and 4."""
    base, questions = inputs
    config = rl_config(questions, num_steps=4, checkpoint_every=2, keep=0)
    return run(config, base, tmp_path_factory.mktemp("run")), config


def weights_of(workdir) -> dict[str, np.ndarray]:
    return load_file(workdir / "model" / "model.safetensors")


def timeless(rows):
    """Metrics without the wall-clock times."""
    return [{k: v for k, v in row.items() if not k.endswith(TIMES)} for row in rows]


def assert_same_run(one, other, steps):
    """Bit for bit: weights, metrics and every reply."""
    for name, value in weights_of(one).items():
        np.testing.assert_array_equal(value, weights_of(other)[name], err_msg=name)
    assert timeless(metrics_of(one)) == timeless(metrics_of(other))
    for step in range(1, steps + 1):
        assert rollouts_of(one, step) == rollouts_of(other, step)


def test_a_run_leaves_its_files_and_a_changed_model(finished, inputs):
    workdir, _ = finished
    assert is_done(workdir)
    names = {path.name for path in workdir.iterdir()}
    assert names >= {"data.json", "metrics.jsonl", "rollouts", "checkpoints", "model", "done.json"}
    assert "in_flight" not in names and "staleness" not in rollouts_of(workdir, 1)[0]
    before, after = load_file(inputs[0] / "model.safetensors"), weights_of(workdir)
    assert before.keys() == after.keys()
    moved = [np.abs(before[name] - after[name]).max() for name in before]
    # AdamW at a constant rate moves a weight by about the rate in each of the eight updates.
    assert 1e-3 < max(moved) < 8 * 1.1 * OPTIMIZER.learning_rate


def test_the_metrics_of_a_step_are_those_of_its_rollouts_file(finished):
    workdir, config = finished
    assert [row["step"] for row in metrics_of(workdir)] == [1, 2, 3, 4]
    for row in metrics_of(workdir):
        lines = rollouts_of(workdir, row["step"])
        said = [(line["extracted"] or "", line["answer"]) for line in lines]
        correct = [float(text.isdigit() and int(text) == int(gold)) for text, gold in said]
        assert [line["reward"] for line in lines] == correct
        assert row["reward"] == row["correct"] == pytest.approx(np.mean(correct))
        assert row["response_tokens"] == pytest.approx(np.mean([len(x["tokens"]) for x in lines]))
        trained = [line for line in lines if line["trained"]]
        assert row["tokens"] == sum(len(line["tokens"]) for line in trained)
        assert row["groups_trained"] == len(trained) / config.group_size
        assert row["updates"] == np.ceil(row["groups_trained"] / config.mini_batch_prompts)


def test_the_phases_of_a_step_are_its_time(finished):
    phases = {*PHASES, "other"}
    for row in metrics_of(finished[0]):
        seconds = {name: row[f"{name}_seconds"] for name in phases}
        assert min(seconds.values()) >= 0
        assert sum(seconds.values()) == pytest.approx(row["step_seconds"], rel=1e-6)
        assert {x for x in phases if x not in ("validate", "checkpoint", "other")} <= {
            name for name, value in seconds.items() if value > 0
        }
        idle = sum(seconds[name] for name in ("grade", "pack", "checkpoint", "other"))
        # Beside these, the gaps between two blocks of decoding.
        assert idle < row["host_seconds"] < idle + seconds["generate"]
    # The state after step 2 is saved before the third line begins to count anything else.
    assert [row["checkpoint_seconds"] > 0 for row in metrics_of(finished[0])] == [0, 0, 1, 0]


def test_an_update_is_dispatched_whole_and_waits_for_the_devices_once(
    inputs, tmp_path, monkeypatch
):
    events = []

    def told(name, function):
        return lambda *args, **how: events.append(name) or function(*args, **how)

    def programs(*args):
        made = real_programs(*args)
        told_of = {"logprob_pass": "pass", "train_step": "update"}
        changes = {name: told(what, getattr(made, name)) for name, what in told_of.items()}
        for name, change in changes.items():  # it is compiled before it is called
            change.lower = getattr(made, name).lower
        return made._replace(**changes)

    class Recorded(loop.Engine):
        def generate(self, *args, **how):
            events.append("generate")
            yield from super().generate(*args, **how)
            events.append("generated")

    real_programs, value = update.make_update_programs, ArrayImpl._value
    monkeypatch.setattr(loop, "make_update_programs", programs)
    monkeypatch.setattr(loop, "Engine", Recorded)
    fetch = property(lambda self: events.append("fetch") or value.fget(self))
    monkeypatch.setattr(ArrayImpl, "_value", fetch)
    monkeypatch.setattr(jax, "device_get", told("get", jax.device_get))
    optimizer = dataclasses.replace(OPTIMIZER, schedule="cosine", warmup_steps=1)
    run(rl_config(inputs[1], num_steps=3, optimizer=optimizer), inputs[0], tmp_path)
    assert "fetch" in events[events.index("generate") : events.index("generated")]
    ends = [i for i, event in enumerate(events) if event == "generated"]
    second = events[ends[1] + 1 : events.index("generate", ends[1])]
    # All is dispatched before the first number is asked for, and all numbers come with one request.
    assert [x for x in second if x != "fetch"] == ["pass", "pass", "update", "update", "get"]
    assert "fetch" not in second[: second.index("get")]
    assert second.count("fetch") == len(second) - second.index("get") - 1


def test_no_batch_and_no_reply_of_the_step_before_takes_memory_during_an_update(
    inputs, tmp_path, monkeypatch
):
    base, questions = inputs
    earlier, pack = [], loop.pack_batches

    def watch(config, programs, mesh, collected):
        gc.collect()
        assert [ref() for ref in earlier if ref() is not None] == []
        packed, batches = pack(config, programs, mesh, collected)
        earlier.extend(map(weakref.ref, [collected, *jax.tree.leaves(batches)]))
        return packed, batches

    monkeypatch.setattr(loop, "pack_batches", watch)
    run(rl_config(questions, num_steps=3), base, tmp_path)
    assert len(earlier) > 3


def test_the_advantages_in_the_file_are_those_of_the_rewards_in_the_file(finished):
    workdir, config = finished
    lines = rollouts_of(workdir, 2)
    rewards, advantages = (
        np.array([line[key] for line in lines]).reshape(-1, config.group_size)
        for key in ("reward", "advantage")
    )
    np.testing.assert_allclose(advantages, ADVANTAGES["grpo"](rewards))
    trained = np.array([line["trained"] for line in lines]).reshape(rewards.shape)
    mixed = rewards.min(axis=1) < rewards.max(axis=1)
    wanted = mixed & (np.cumsum(mixed) <= config.prompts_per_step)
    assert (trained == wanted[:, None]).all()


def test_the_sampler_and_the_trainer_agree_on_the_log_probs(finished):
    for row in metrics_of(finished[0]):
        assert row["sampler_gap"] <= row["max_sampler_gap"] < 1e-5
        assert row["sampler_effective_share"] == pytest.approx(1.0, abs=1e-6)


def test_two_steps_restored_and_two_more_equal_four_bit_for_bit(finished, inputs, tmp_path):
    workdir, config = finished
    again = tmp_path / "again"
    shutil.copytree(workdir, again)
    # As a kill after the checkpoint of step 2 leaves it, some of step 3 already written.
    for path in (again / "checkpoints" / "4", again / "model"):
        shutil.rmtree(path)
    (again / "done.json").unlink()
    (again / "rollouts" / "4.jsonl").unlink()
    lines = (again / "metrics.jsonl").read_text().splitlines(keepends=True)
    (again / "metrics.jsonl").write_text("".join(lines[:3]) + lines[3][:20])
    assert_same_run(workdir, run(config, inputs[0], again), steps=4)


def test_a_signal_saves_and_exits_with_143_and_the_same_command_continues(
    finished, inputs, tmp_path
):
    workdir, _ = finished
    config = dataclasses.replace(finished[1], checkpoint_every=0)

    written = signal_when_there(tmp_path / "rollouts" / "1.jsonl")
    with pytest.raises(SystemExit) as stopped, written:
        run(config, inputs[0], tmp_path)
    assert stopped.value.code == 143
    assert not is_done(tmp_path)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] != []
    assert_same_run(workdir, run(config, inputs[0], tmp_path), steps=4)


def test_a_finished_run_is_not_run_again(finished, inputs, monkeypatch):
    monkeypatch.setattr(loop, "make_rollout_engine", None)  # calling it would raise
    before = (finished[0] / "metrics.jsonl").read_text()
    run(finished[1], inputs[0], finished[0])
    assert (finished[0] / "metrics.jsonl").read_text() == before


def test_a_finished_run_that_is_lengthened_equals_the_long_one(finished, inputs, tmp_path):
    workdir, config = finished
    short = dataclasses.replace(config, num_steps=2)
    assert is_done(run(short, inputs[0], tmp_path))
    assert_same_run(workdir, run(config, inputs[0], tmp_path), steps=4)
    with pytest.raises(UserError, match="4 steps were made, and the recipe asks for 2"):
        run(short, inputs[0], tmp_path)


def test_other_questions_under_a_run_are_refused(finished, inputs, tmp_path):
    fewer = inputs[1].read_text().splitlines(keepends=True)[:12]
    (tmp_path / "questions.jsonl").write_text("".join(fewer))
    same = rl_config(tmp_path / "questions.jsonl", num_steps=4, checkpoint_every=2, keep=0)
    with pytest.raises(ConfigError, match=r"data\.questions\.prompts: 24 -> 12"):
        run(same, inputs[0], finished[0])


@pytest.mark.parametrize(
    ("advantage", "why"),
    [("grpo", "all replies to each prompt earned the same"), ("right", "no reply was right")],
)
def test_a_run_that_never_trained_on_a_group_is_no_result(inputs, tmp_path, caplog, advantage, why):
    text = inputs[1].read_text().replace('"answer": "0"', '"answer": "7"')
    text = text.replace('"answer": "1"', '"answer": "7"')  # which the model cannot write
    (tmp_path / "questions.jsonl").write_text(text)
    config = rl_config(tmp_path / "questions.jsonl", num_steps=1, advantage=advantage)
    with pytest.raises(UserError, match=rf"learned: in 1 steps {why}.* \(mean reward 0 to 0"):
        run(config, inputs[0], tmp_path / "run")
    assert "step 1: nothing to learn: " in caplog.text
    assert not (tmp_path / "run" / "done.json").exists()
    assert not (tmp_path / "run" / "model").exists()


def test_a_signal_during_the_export_is_acted_on(finished, inputs, tmp_path, monkeypatch, capsys):
    workdir, config = finished
    again = tmp_path / "again"
    shutil.copytree(workdir, again, ignore=shutil.ignore_patterns("model", "done.json"))
    save_file = hf_export._write_file
    with monkeypatch.context() as patch:
        kill = lambda *args: (save_file(*args), os.kill(os.getpid(), signal.SIGTERM))  # noqa: E731
        patch.setattr(hf_export, "_write_file", kill)
        with pytest.raises(SystemExit) as stopped:
            run(dataclasses.replace(config, max_shard_bytes=1000), inputs[0], again)
    assert stopped.value.code == 143
    assert "All steps are saved, model/ is not written yet." in capsys.readouterr().out
    assert not is_done(again) and not (again / "model").exists()
    assert_same_run(workdir, run(config, inputs[0], again), steps=4)


@pytest.mark.slow
def test_eight_devices_give_the_run_of_one(finished, inputs, tmp_path):
    workdir, config = finished
    with compilations() as found:
        other = run(config, inputs[0], tmp_path, mesh=mesh_of(8))
    assert_compiled_ahead(found, "jit(step)", "jit(decode)", "jit(prefill)")
    assert_nearly_same_run(workdir, other)


@pytest.mark.slow
def test_two_processes_give_the_run_of_one(finished, inputs, tmp_path):
    arguments = (str(inputs[0]), str(inputs[1]), str(tmp_path))
    run_processes(run_on_four_devices, 2, *arguments, num_devices=2, timeout_s=400.0)
    assert_nearly_same_run(finished[0], tmp_path)


def assert_nearly_same_run(one, other):
    """The same replies, token for token; numbers as close as sums in another order are."""
    for step in range(1, 5):
        lines, others = rollouts_of(one, step), rollouts_of(other, step)
        assert [line["tokens"] for line in lines] == [line["tokens"] for line in others]
        assert [line["advantage"] for line in lines] == [line["advantage"] for line in others]
    for row, other_row in zip(timeless(metrics_of(one)), timeless(metrics_of(other)), strict=True):
        assert row.keys() == other_row.keys()
        for name in row.keys() - {"stage", "weights_bytes"}:  # which go by the mesh
            assert row[name] == pytest.approx(other_row[name], rel=1e-3, abs=2e-5), name
    for name, value in weights_of(one).items():
        np.testing.assert_allclose(value, weights_of(other)[name], atol=3e-5, err_msg=name)


def test_training_makes_right_replies_likelier(inputs, tmp_path):
    text = inputs[1].read_text().replace('"answer": "0"', '"answer": "1"')
    (tmp_path / "questions.jsonl").write_text(text)
    optimizer = dataclasses.replace(OPTIMIZER, learning_rate=1e-2)
    config = rl_config(tmp_path / "questions.jsonl", num_steps=40, optimizer=optimizer)
    rewards = [row["reward"] for row in metrics_of(run(config, inputs[0], tmp_path / "run"))]
    assert rewards[0] < 0.5 and np.mean(rewards[-5:]) > 0.9


def test_replies_that_cannot_be_graded_are_counted_and_take_no_part(inputs, tmp_path):
    text = inputs[1].read_text().replace('"answer": "1"', '"answer": "one"')
    (tmp_path / "questions.jsonl").write_text(text)
    config = rl_config(tmp_path / "questions.jsonl", num_steps=1)
    workdir = run(config, inputs[0], tmp_path / "run")
    lines, (row,) = rollouts_of(workdir, 1), metrics_of(workdir)
    failed = [line for line in lines if line["error"]]
    assert row["ungraded"] == len(failed) > 0
    for line in failed:
        assert "has no number" in line["error"]
        assert line["reward"] is None and line["terms"] == {}
        assert line["advantage"] == 0.0 and not line["trained"]
    graded = [line["reward"] for line in lines if not line["error"]]
    assert row["reward"] == pytest.approx(np.mean(graded))


def test_a_step_without_any_verdict_stops_the_run(inputs, tmp_path, monkeypatch):
    pool = functools.partial(loop.VerifierPool, tasks="failing_tasks:BROKEN")
    monkeypatch.setattr(loop, "VerifierPool", pool)
    with pytest.raises(RuntimeError, match=r"step 1: no reply could be graded.*library is gone"):
        run(rl_config(inputs[1]), inputs[0], tmp_path)


@pytest.mark.slow  # it waits for the time limits
def test_graders_that_hang_cost_bounded_time_and_are_counted_in_the_metrics(
    inputs, tmp_path, monkeypatch
):
    pool = functools.partial(loop.VerifierPool, tasks="failing_tasks:HANGING")
    monkeypatch.setattr(loop, "VerifierPool", pool)
    rewards = RewardConfig(num_workers=1, timeout_s=1.0, overlong_buffer=0, overlong_penalty=0.0)
    workdir = run(rl_config(inputs[1], num_steps=1, rewards=rewards), inputs[0], tmp_path)
    (row,), lines = metrics_of(workdir), rollouts_of(workdir, 1)
    hung = [line for line in lines if failing_tasks.hangs(line["completion"])]
    assert len(hung) > 5 and is_done(workdir)
    assert all(line["error"].startswith("timeout: ") and line["reward"] == 0 for line in hung)
    failed = sum(line["error"] is not None for line in lines)
    assert len(hung) <= row["failed_as_wrong"] == failed < len(lines) and row["ungraded"] == 0


def test_equal_groups_are_asked_for_again_with_other_questions(inputs, tmp_path):
    sampling = DynamicSamplingConfig(drop_equal=True, prompts_per_batch=4, max_batches=3)
    config = rl_config(inputs[1], num_steps=1, group_size=2, dynamic_sampling=sampling)
    workdir = run(config, inputs[0], tmp_path)
    lines, (row,) = rollouts_of(workdir, 1), metrics_of(workdir)
    assert row["generation_batches"] == lines[-1]["batch"] + 1 > 1
    assert len(lines) == row["generation_batches"] * 4 * 2
    assert len({line["id"] for line in lines}) == len(lines) / 2
    assert row["groups_trained"] == min(4, (1 - row["groups_equal"]) * len(lines) / 2)


def assert_compiled_ahead(found, *names):
    """These programs once, ahead; and no other program ahead and again when it was called."""
    assert [one.ahead for one in found if one.name in names] == [True] * len(names)
    ahead = {one.name for one in found if one.ahead}
    assert not ahead & {one.name for one in found if not one.ahead}


def test_the_reference_exists_only_with_a_kl_term_which_starts_at_zero(
    inputs, tmp_path, monkeypatch
):
    opened = []
    for module in (loop, references):
        real = module.open_model
        monkeypatch.setattr(
            module, "open_model", lambda *args, real=real: opened.append(1) or real(*args)
        )
    settings = dataclasses.replace(LOSS, kl_coefficient=0.1)
    config = rl_config(inputs[1], mini_batch_prompts=4, policy_loss=settings)
    with compilations() as found:
        rows = metrics_of(run(config, inputs[0], tmp_path / "with"))
    # one program has the policy's log-probs and the reference's
    assert_compiled_ahead(found, "jit(step)", "jit(logprob_pass)")
    assert len(opened) == 2
    assert abs(rows[0]["kl_ref"]) < 1e-6 < rows[1]["kl_ref"]
    rows = metrics_of(run(rl_config(inputs[1], num_steps=1), inputs[0], tmp_path / "without"))
    assert len(opened) == 3
    assert "kl_ref" not in rows[0]


@pytest.mark.slow
def test_one_update_finds_the_old_log_probs_that_a_pass_would_give(inputs, tmp_path):
    one_update = rl_config(inputs[1], num_steps=1, mini_batch_prompts=4)
    asked_for = dataclasses.replace(one_update, old_logprobs="always")
    found, passed = (
        metrics_of(run(config, inputs[0], tmp_path / config.old_logprobs))[0]
        for config in (one_update, asked_for)
    )
    for name in ("loss", "grad_norm", "entropy"):
        assert found[name] == pytest.approx(passed[name], rel=1e-4), name
    assert found["kl_old"] == found["clip_fraction"] == 0.0


def test_a_generation_batch_follows_the_prompts_of_a_step_unless_it_is_set():
    follows = DynamicSamplingConfig(drop_equal=True, prompts_per_batch=0, max_batches=1)
    config = rl_config("x", prompts_per_step=3, mini_batch_prompts=3, dynamic_sampling=follows)
    assert config.prompts_per_batch == 3
    assert rl_config("x").prompts_per_batch == 6  # as set
    recipe = load_recipe("configs/study_tiny.py").rl
    recipe.prompts_per_step = recipe.mini_batch_prompts = 5
    assert parse(RLConfig, recipe, "rl").prompts_per_batch == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"advantage": "gpro"}, r"rl.advantage='gpro': expected one of grpo"),
        ({"group_size": 1}, r"rl.group_size=1: expected at least 2, since replies are compared"),
        ({"row_length": 16}, r"rl.row_length=16: expected at least sampler.max_length=20"),
        ({"mini_batch_prompts": 9}, r"rl.mini_batch_prompts=9: expected 1 to prompts_per_step=4"),
        ({"sampler": INT8}, r"rl.policy_loss.importance_cap=0.0: expected more than 0"),
        ({"policy_loss": dataclasses.replace(LOSS, dual_clip=0.5)}, r"rl.policy_loss.dual_clip"),
        (
            {"dynamic_sampling": DynamicSamplingConfig(False, 4, 3)},
            r"rl.dynamic_sampling.max_batches=3: expected 1",
        ),
    ],
)
def test_a_recipe_that_cannot_work_is_refused_by_field(inputs, tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        run(rl_config(inputs[1], **changes), inputs[0], tmp_path)
    assert not (tmp_path / "metrics.jsonl").exists()


@pytest.mark.slow
def test_a_sampler_in_int8_is_measured_and_corrected(inputs, tmp_path):
    corrected = {"policy_loss": dataclasses.replace(LOSS, importance_cap=2.0)}
    rows = {
        name: metrics_of(
            run(rl_config(inputs[1], num_steps=1, **changes), inputs[0], tmp_path / name)
        )[0]
        for name, changes in {
            "exact": corrected,
            "int8": {"sampler": INT8, **corrected},
        }.items()
    }
    assert rows["exact"]["sampler_gap"] < 1e-5 < 1e-4 < rows["int8"]["sampler_gap"] < 0.1
    assert rows["int8"]["p99_sampler_gap"] <= rows["int8"]["max_sampler_gap"] * 1.09
    assert 0.9 < rows["int8"]["sampler_effective_share"] < 1.0
    assert np.isfinite(rows["int8"]["grad_norm"]) and rows["int8"]["grad_norm"] > 0


def test_a_choice_task_is_refused(inputs, tmp_path):
    with pytest.raises(ValueError, match=r"rl.datasets.questions.task='mc_taco'.*generate"):
        run(rl_config(inputs[1], task="mc_taco"), inputs[0], tmp_path)
