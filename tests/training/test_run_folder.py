"""What a training run's folder is claimed by, how it goes on, and when it is complete."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
import safetensors.numpy
from tiny_sft import ADAMW, make_recipe, train

from jaxreason.config import ConfigError
from jaxreason.errors import UserError
from jaxreason.models import hf_export, huggingface
from jaxreason.training import run_folder, sft


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The inputs, and a run of six steps that kept every checkpoint."""
    folder = tmp_path_factory.mktemp("sft")
    recipe = make_recipe(folder / "inputs", keep=0)
    train(recipe, folder / "run")
    return recipe, folder / "run"


@pytest.fixture
def copied(finished, tmp_path):
    """The finished run in another place."""
    shutil.copytree(finished[1], tmp_path / "run")
    return tmp_path / "run"


def killed_after(run, step):
    """As a kill shortly after checkpoint `step` leaves the folder."""
    shutil.rmtree(run / "model")
    (run / "done.json").unlink()
    for checkpoint in (run / "checkpoints").iterdir():
        if int(checkpoint.name) > step:
            shutil.rmtree(checkpoint)


def weights(run):
    return safetensors.numpy.load_file(run / "model" / "model.safetensors")


def assert_same_weights(one, other):
    for name, value in weights(one).items():
        np.testing.assert_array_equal(value, weights(other)[name])


def steps(run):
    return [json.loads(line)["step"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def test_a_refused_run_leaves_nothing_that_blocks_the_corrected_one(finished, tmp_path):
    recipe, _ = finished
    for changes in ({"micro_batch_rows": 0}, {"length": 128}, {"length": 3}):
        with pytest.raises(UserError):
            train(dataclasses.replace(recipe, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_in_which_nothing_was_learned_is_claimed_anew(finished, tmp_path, monkeypatch):
    recipe, _ = finished
    other = dataclasses.replace(recipe, batch_size=4)
    with monkeypatch.context() as patch:
        patch.setattr(sft, "make_train_step", None)  # ends the run after it has claimed its folder
        with pytest.raises(TypeError):
            train(other, tmp_path / "run")
    assert (
        json.loads((tmp_path / "run/config.json").read_text())["claimed"]["sft"]["batch_size"] == 4
    )
    train(recipe, tmp_path / "run")
    assert (
        json.loads((tmp_path / "run/config.json").read_text())["claimed"]["sft"]["batch_size"] == 20
    )


def test_another_recipe_is_refused_with_the_difference(finished):
    recipe, run = finished
    faster = dataclasses.replace(ADAMW, learning_rate=0.02)
    with pytest.raises(ConfigError, match=r"sft\.optimizer\.learning_rate: 0.01 -> 0.02"):
        train(dataclasses.replace(recipe, optimizer=faster), run)


@pytest.mark.parametrize("finish", [True, False])
def test_training_data_that_changed_under_a_run_is_refused_with_the_counts(
    finished, copied, tmp_path, finish
):
    if not finish:
        killed_after(copied, step=2)
    half = make_recipe(tmp_path / "half", keep=0)
    rows = (tmp_path / "half" / "sums.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half" / "sums.jsonl").write_text("".join(rows[:15]))
    with pytest.raises(ConfigError, match=r"data\.sums\.sequences: 30 -> 15"):
        train(half, copied)


def test_the_same_rows_in_another_place_continue_a_run(finished, copied, tmp_path):
    killed_after(copied, step=4)
    train(make_recipe(tmp_path / "moved", keep=0), copied)  # and the tokenizer
    assert_same_weights(copied, finished[1])


def test_fields_that_place_or_show_need_no_other_directory(finished, copied):
    killed_after(copied, step=2)
    changes = {"log_every": 1, "keep": 1, "checkpoint_every": 0, "micro_batch_rows": 3}
    changes |= {"tensorboard": True, "logprob_chunk": 16, "max_shard_bytes": 2000, "pack": False}
    train(dataclasses.replace(finished[0], **changes), copied)
    assert steps(copied) == [1, 2, 3, 4, 5, 6]
    assert len(list((copied / "model").glob("*.safetensors"))) > 1
    assert json.loads((copied / "config.json").read_text())["recipe"]["sft"]["log_every"] == 1


def test_a_finished_run_can_be_lengthened_and_not_shortened(finished, copied):
    recipe, run = finished
    before = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    train(dataclasses.replace(recipe, epochs=6.0), copied)
    after = [json.loads(line) for line in (copied / "metrics.jsonl").read_text().splitlines()]
    assert (
        after[:6] == before and steps(copied) == list(range(1, len(after) + 1)) and len(after) > 6
    )
    assert json.loads((copied / "done.json").read_text())["num_steps"] == len(after)
    with pytest.raises(UserError, match=r"9 steps were made, and the recipe asks for 6"):
        train(recipe, copied)
    assert (copied / "done.json").exists()


def test_a_start_that_is_refused_leaves_the_record_and_does_not_say_that_it_goes_on(
    finished, copied, caplog
):
    before = (copied / "config.json").read_text()
    with pytest.raises(UserError, match=r"6 steps were made, and the recipe asks for 2"):
        train(dataclasses.replace(finished[0], epochs=1.0), copied)
    assert (copied / "config.json").read_text() == before
    (copied / "metrics.jsonl").write_text("")
    for epochs in (4.0, 6.0):  # That of the finished run, and of a longer one.
        with pytest.raises(UserError, match=r"metrics\.jsonl"):
            train(dataclasses.replace(finished[0], epochs=epochs, log_every=3), copied)
        assert (copied / "config.json").read_text() == before
    assert "It goes on" not in caplog.text


def test_a_finished_run_whose_checkpoints_are_gone_is_not_begun_again(finished, copied):
    shutil.rmtree(copied / "checkpoints")
    train(finished[0], copied)  # complete, all the same
    with pytest.raises(UserError, match="its checkpoints are gone"):
        train(dataclasses.replace(finished[0], epochs=6.0), copied)


def _cut(run):
    path = run / "done.json"
    path.write_bytes(path.read_bytes()[:30])


def _of_another(run):
    done = json.loads((run / "done.json").read_text())
    (run / "done.json").write_text(json.dumps(done | {"claim": "0" * 64}))


DAMAGES = {
    "empty": lambda run: (run / "done.json").write_text(""),
    "cut": _cut,
    "of another run": _of_another,
    "no model": lambda run: shutil.rmtree(run / "model"),
    "a cut weight file": lambda run: os.truncate(run / "model" / "model.safetensors", 100),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_an_end_that_does_not_hold_is_not_believed(finished, copied, damage, monkeypatch, caplog):
    DAMAGES[damage](copied)
    monkeypatch.setattr(sft, "make_train_step", lambda *_: None)  # no step may be made
    train(finished[0], copied)
    assert "Not complete" in caplog.text
    assert_same_weights(copied, finished[1])
    assert json.loads((copied / "done.json").read_text()) == json.loads(
        (finished[1] / "done.json").read_text()
    )


def test_metrics_that_lost_lines_before_the_checkpoint_are_refused(finished, copied):
    killed_after(copied, step=4)
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    for kept, message in (
        (lines[:1] + lines[2:], r"metrics.jsonl, line 2: expected step 2, got 3"),
        (lines[:2] + lines[1:], r"metrics.jsonl, line 3: expected step 3, got 2"),
        (lines[:3], r"metrics.jsonl: ends at step 3, but the run made 4"),
        ([], r"metrics.jsonl: ends at step 0, but the run made 4"),
    ):
        (copied / "metrics.jsonl").write_text("".join(kept))
        with pytest.raises(UserError, match=message):
            train(finished[0], copied)


def test_a_complete_run_that_lost_lines_of_its_metrics_is_refused_by_the_stage_that_owns_them(
    finished, copied
):
    lines = (copied / "metrics.jsonl").read_text().splitlines(keepends=True)
    for kept, message in (
        (lines[:1] + lines[2:], r"metrics.jsonl, line 2: expected step 2, got 3"),
        ([], r"metrics.jsonl: ends at step 0, but the run made 6"),
    ):
        (copied / "metrics.jsonl").write_text("".join(kept))
        with pytest.raises(UserError, match=message):
            train(finished[0], copied)


def test_a_signal_during_the_export_is_acted_on(finished, copied, monkeypatch, capsys):
    killed_after(copied, step=6)
    write_file = hf_export._write_file
    with monkeypatch.context() as patch:
        kill = lambda *args: (write_file(*args), os.kill(os.getpid(), signal.SIGTERM))  # noqa: E731
        patch.setattr(hf_export, "_write_file", kill)
        with pytest.raises(SystemExit) as stopped:
            train(dataclasses.replace(finished[0], max_shard_bytes=2000), copied)
    assert stopped.value.code == 143
    assert "Stopped by SIGTERM. All steps are saved, model/ is not" in capsys.readouterr().out
    assert not (copied / "done.json").exists() and not (copied / "model").exists()
    train(finished[0], copied)
    assert_same_weights(copied, finished[1])


def test_a_signal_before_the_first_step_says_that_nothing_was_made(
    finished, tmp_path, monkeypatch, capsys
):
    opened = huggingface.open_model
    kill = lambda *args: (os.kill(os.getpid(), signal.SIGINT), opened(*args))[1]  # noqa: E731
    monkeypatch.setattr(huggingface, "open_model", kill)
    with pytest.raises(SystemExit) as stopped:
        train(finished[0], tmp_path / "run")
    assert stopped.value.code == 143
    assert "Stopped by SIGINT. No step was made yet." in capsys.readouterr().out
    assert not list((tmp_path / "run" / "checkpoints").iterdir())


def test_each_code_that_a_run_was_started_with_is_recorded_and_on_the_card(
    finished, copied, monkeypatch
):
    recipe, _ = finished
    as_code = lambda name: {"commit": name, "clean": True, "versions": {"jax": "1"}}  # noqa: E731
    monkeypatch.setattr(run_folder, "code_version", lambda: as_code("later"))
    before = (copied / "config.json").read_text()
    train(recipe, copied)  # complete, so nothing is made with that code
    assert (copied / "config.json").read_text() == before
    killed_after(copied, 2)
    for _ in range(2):
        train(recipe, copied)
    code = json.loads((copied / "config.json").read_text())["code"]
    assert code[1:] == [as_code("later")]
    card = (copied / "model" / "README.md").read_text()
    assert "- jax 1; commit `later`\n" in card and "\n6 training steps. Seed 3." in card


def test_a_card_that_is_changed_or_gone_leaves_the_run_complete(finished, copied):
    recipe, _ = finished
    (copied / "model" / "README.md").unlink()
    done = (copied / "done.json").read_text()
    train(recipe, copied)
    assert (copied / "done.json").read_text() == done
    assert not (copied / "model" / "README.md").exists()


def test_a_warm_up_longer_than_the_run_is_shortened_with_a_word(finished, tmp_path, caplog):
    recipe, _ = finished
    slow = dataclasses.replace(ADAMW, warmup_steps=10)
    train(dataclasses.replace(recipe, epochs=1.0, optimizer=slow), tmp_path / "run")
    assert (
        "optimizer.warmup_steps=10: shortened to 1, since the schedule has 2 steps" in caplog.text
    )
    assert steps(tmp_path / "run") == [1, 2]
