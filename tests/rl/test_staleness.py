"""Sampling one step ahead: which policy a step's replies are from, and that a killed run goes on as if it were not."""

import dataclasses
import shutil
import time

import numpy as np
import pytest
from processes import run_processes
from safetensors.numpy import load_file
from tiny_rl import (
    LOSS,
    is_done,
    mesh_of,
    metrics_of,
    rl_config,
    rollouts_of,
    run,
    save_base,
    save_questions,
    signal_when_there,
)

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.results.jsonl import read_jsonl
from jaxreason.results.rollout_files import write_in_flight
from jaxreason.rl.resume import fetch, resume_ahead
from jaxreason.rl.rewards import PendingRewards, RewardConfig
from jaxreason.rl.rl_config import SamplesConfig
from jaxreason.sampling.sampling_params import Completion
from jaxreason.tasks.verify import VerifierPool

WEIGHED = dataclasses.replace(LOSS, importance_cap=2.0)


def ahead(questions, **changes):
    fields = {
        "num_steps": 4,
        "group_size": 4,
        "staleness": 1,
        "policy_loss": WEIGHED,
        "checkpoint_every": 1,
        "keep": 0,
    }
    return rl_config(questions, **(fields | changes))


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inputs")
    return save_base(folder), save_questions(folder)


@pytest.fixture(scope="module")
def finished(inputs, tmp_path_factory):
    """Four steps that were sampled ahead, with all their checkpoints."""
    return run(ahead(inputs[1]), inputs[0], tmp_path_factory.mktemp("run"))


def timeless(workdir):
    times = ("seconds", "tokens_per_second")
    return [{k: v for k, v in x.items() if not k.endswith(times)} for x in metrics_of(workdir)]


def assert_same_run(one, other):
    """Bit for bit: weights, metrics and every reply."""
    kept = [load_file(folder / "model" / "model.safetensors") for folder in (one, other)]
    for name, value in kept[0].items():
        np.testing.assert_array_equal(value, kept[1][name], err_msg=name)
    assert timeless(one) == timeless(other)
    for step in range(1, 5):
        assert rollouts_of(one, step) == rollouts_of(other, step)


def as_killed_after(step, finished, folder):
    """A copy of the run as a kill in the middle of the step after `step` leaves it."""
    shutil.copytree(finished, folder)
    for later in range(step + 1, 5):
        shutil.rmtree(folder / "checkpoints" / str(later))
        (folder / "in_flight" / f"{later}.jsonl").unlink()
    shutil.rmtree(folder / "model")
    (folder / "done.json").unlink()
    return folder


@pytest.mark.slow
def test_the_first_batch_of_a_step_is_from_the_policy_of_the_step_before(
    finished, inputs, tmp_path
):
    gaps = [row["sampler_gap"] for row in metrics_of(finished)]
    assert gaps[0] < 1e-5 and min(gaps[1:]) > 1e-5
    first = [x for x in rollouts_of(finished, 2) if x["batch"] == 0]
    older = {"staleness": 0, "samples": SamplesConfig(refresh_every=2), "num_steps": 2}
    frozen = ahead(inputs[1], **older)
    of_base = rollouts_of(run(frozen, inputs[0], tmp_path), 2)
    assert [x["tokens"] for x in first] == [x["tokens"] for x in of_base if x["batch"] == 0]


def test_the_staleness_of_every_token_is_in_the_files(finished):
    further = 0
    for row in metrics_of(finished):
        lines = rollouts_of(finished, row["step"])
        for line in lines:
            assert line["staleness"] == int(row["step"] > 1 and line["batch"] == 0)
        used = [x for x in lines if x["trained"]]
        mean = np.average([x["staleness"] for x in used], weights=[len(x["tokens"]) for x in used])
        assert row["staleness"] == pytest.approx(mean)
        further += sum(x["batch"] for x in lines)
    assert further  # some were asked for again, of the policy itself


def test_a_killed_run_goes_on_bit_for_bit(finished, inputs, tmp_path):
    again = as_killed_after(2, finished, tmp_path / "again")
    assert_same_run(finished, run(ahead(inputs[1]), inputs[0], again))


def test_a_signal_saves_what_was_sampled_ahead(finished, inputs, tmp_path):
    config = ahead(inputs[1], checkpoint_every=0)

    written = signal_when_there(tmp_path / "rollouts" / "1.jsonl")
    with pytest.raises(SystemExit) as stopped, written:
        run(config, inputs[0], tmp_path)
    assert stopped.value.code == 143 and not is_done(tmp_path)
    (saved,) = (tmp_path / "checkpoints").iterdir()
    assert len(read_jsonl(tmp_path / "in_flight" / f"{saved.name}.jsonl")) == 6 * 4
    assert_same_run(finished, run(config, inputs[0], tmp_path))


def test_waiting_replies_stay_as_long_as_their_checkpoint(inputs, tmp_path):
    workdir = run(ahead(inputs[1], keep=1, num_steps=3), inputs[0], tmp_path)
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["3"]
    # What the checkpoint before needed goes with the next save; nothing waits after the last step.
    assert {path.name for path in (workdir / "in_flight").iterdir()} == {"2.jsonl", "3.jsonl"}
    assert read_jsonl(workdir / "in_flight" / "3.jsonl") == []


def test_waiting_replies_that_are_gone_or_cut_are_refused(finished, inputs, tmp_path):
    again = as_killed_after(3, finished, tmp_path / "again")
    path = again / "in_flight" / "3.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"3\.jsonl: expected 4 replies to each of 6 prompts.*23"):
        run(ahead(inputs[1]), inputs[0], again)
    path.unlink()
    with pytest.raises(UserError, match=r"3\.jsonl: not found.*step 4.*checkpoints/3 to go on"):
        run(ahead(inputs[1]), inputs[0], again)


@pytest.mark.parametrize(
    "change",
    [
        {"tokens": None},
        {"logprobs": [-1.0]},
        {"finish_reason": None},
        {"staleness": None},
        {"sample": 1},
    ],
)
def test_a_waiting_reply_that_is_not_whole_is_refused(tmp_path, change):
    whole = {"prompt": 0, "sample": 0, "staleness": 1, "tokens": [5, 6], "logprobs": [-1.0, -2.0]}
    whole["finish_reason"] = "stop"
    write_in_flight(tmp_path, 2, [whole | change], [])
    with pytest.raises(UserError, match=r"in_flight/2\.jsonl: expected 1 replies to each of 1 "):
        fetch(tmp_path, 2, 1, 1, None, ())


def test_a_run_that_goes_on_without_waiting_replies_says_so(tmp_path, inputs, caplog):
    config = ahead(inputs[1])
    for step in (2, config.num_steps):
        write_in_flight(tmp_path, step, [], [2])
        resume_ahead(config, None, tmp_path, step, None)
    (record,) = caplog.records
    assert "2.jsonl: no reply waits for step 3" in record.getMessage()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"policy_loss": LOSS},
            r"^rl\.policy_loss\.importance_cap=0\.0: expected more than 0 .*staleness=1[^\n]*$",
        ),
        ({"samples": SamplesConfig(refresh_every=2)}, r"rl\.samples\.refresh_every=2: expected 1"),
        ({"staleness": 2}, r"rl\.staleness: expected from 0 to 1, got 2"),
    ],
)
def test_what_staleness_cannot_go_with_is_refused(changes, message, inputs, tmp_path):
    with pytest.raises(UserError, match=message):
        run(ahead(inputs[1], **changes), inputs[0], tmp_path)


def test_grading_beside_goes_on_before_anybody_asks():
    example = Example("q", "last_number", ({"role": "user", "content": "?"},), "1", "made", {})
    items = [(example, text, Completion("0", 0, (1,), (-1.0,), "stop")) for text in ("1", "2")]
    rewards = RewardConfig(1, 20.0, 0, 0.0)
    with VerifierPool(1, 20.0) as pool:
        grading, waits = PendingRewards(pool, items, beside=True), PendingRewards(pool, items)
        deadline = time.monotonic() + 120
        while grading.seconds == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert grading.seconds > 0 and waits.seconds == 0
        assert [r.total for r in grading.rewards(rewards, 8)] == [1.0, 0.0]
        assert [r.total for r in waits.rewards(rewards, 8)] == [1.0, 0.0]


def run_ahead_on_four_devices(base, questions, workdir):
    """For several processes; a first start makes two steps, the second goes on."""
    run(ahead(questions, num_steps=4), base, workdir, mesh=mesh_of(4))


@pytest.mark.slow
def test_two_processes_give_the_run_of_one_and_go_on_as_one(finished, inputs, tmp_path):
    again = as_killed_after(2, finished, tmp_path / "again")
    for workdir in (tmp_path / "whole", again):
        arguments = (str(inputs[0]), str(inputs[1]), str(workdir))
        run_processes(run_ahead_on_four_devices, 2, *arguments, num_devices=2, timeout_s=400.0)
        for step in range(1, 5):
            lines, others = rollouts_of(finished, step), rollouts_of(workdir, step)
            assert [x["tokens"] for x in lines] == [x["tokens"] for x in others]
            assert [x["staleness"] for x in lines] == [x["staleness"] for x in others]
