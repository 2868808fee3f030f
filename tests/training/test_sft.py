"""Supervised fine-tuning from files to a Hugging Face folder; stopping, killing and continuing."""

import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest
import safetensors.numpy
import transformers
from compilations import compilations
from processes import TESTS, run_processes
from tiny_sft import ADAMW, MODEL, make_recipe, train

from jaxreason.checkpoint import Checkpointer
from jaxreason.config import ConfigError, parse, to_dict
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.huggingface import open_model
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.training import sft
from jaxreason.training.sft_config import SFTConfig
from jaxreason.training.sft_data import load_data, write_training_data


def lines(workdir):
    return [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]


def weights(workdir):
    return safetensors.numpy.load_file(workdir / "model" / "model.safetensors")


def numbers(workdir):
    """What the steps computed, without how long they took."""
    others = ("stage", "step_seconds", "tokens_per_second")
    return [{k: v for k, v in row.items() if k not in others} for row in lines(workdir)]


def assert_same_weights(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name])


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The inputs, and a run of them on one device without any interruption."""
    folder = tmp_path_factory.mktemp("sft")
    recipe = make_recipe(folder / "inputs", keep=0)
    train(recipe, folder / "run")
    return recipe, folder / "run"


def copy_until(run, folder, step):
    """The working directory as a kill shortly after checkpoint `step` would have left it."""
    shutil.copytree(run, folder, ignore=shutil.ignore_patterns("model", "done.json"))
    for checkpoint in (folder / "checkpoints").iterdir():
        if int(checkpoint.name) > step:
            shutil.rmtree(checkpoint)


def test_a_run_learns_and_leaves_every_file(finished):
    recipe, run = finished
    rows = lines(run)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert rows[-1]["loss"] < 0.8 * rows[0]["loss"]
    assert rows[0]["learning_rate"] == pytest.approx(ADAMW.learning_rate / 2)
    assert rows[-1]["epoch"] == recipe.epochs
    done = json.loads((run / "done.json").read_text())
    assert (done["stage"], done["num_steps"], done["seed"]) == ("sft", 6, 3)
    assert set(done["files"]) == {"model/config.json", "model/model.safetensors"}
    assert sorted(p.name for p in (run / "checkpoints").iterdir()) == ["2", "4", "6"]
    # Each answer's digits and the end token are targets, once an epoch.
    digits = sum(len(str(2 * a + 7)) for a in range(30))
    data = json.loads((run / "data.json").read_text())
    assert (data["sequences"], data["target_tokens"]) == (30, digits + 30)
    assert sum(row["tokens"] for row in rows) == 4 * (digits + 30)


def test_two_steps_a_restore_and_two_steps_equal_four_bit_for_bit(finished, tmp_path):
    recipe, run = finished
    copy_until(run, tmp_path / "run", step=2)
    train(recipe, tmp_path / "run")
    # The lines of steps 3 to 6, written before, were replaced by equal ones.
    assert numbers(tmp_path / "run") == numbers(run)
    assert_same_weights(weights(tmp_path / "run"), weights(run))


def test_a_damaged_newest_checkpoint_costs_its_steps_and_changes_no_number(
    finished, tmp_path, caplog
):
    recipe, run = finished
    copy_until(run, tmp_path / "run", step=6)
    newest = tmp_path / "run" / "checkpoints" / "6"
    biggest = max(newest.rglob("ocdbt.process_0/d/*"), key=os.path.getsize)
    data = bytearray(biggest.read_bytes())
    data[len(data) // 2] ^= 1
    biggest.write_bytes(data)
    train(recipe, tmp_path / "run")
    assert biggest.name in caplog.text and "checkpoints/4" in caplog.text
    assert numbers(tmp_path / "run") == numbers(run)
    assert_same_weights(weights(tmp_path / "run"), weights(run))
    names = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert names == ["2", "4", "6", "6.damaged"]


def test_the_exported_folder_is_the_last_state(finished):
    _, run = finished
    model = dataclasses.replace(MODEL, init="pretrained", path=str(run / "model"), architecture={})
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        _, params = open_model(model, mesh)
        abstract = jax.tree.map(
            lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), params
        )
        with Checkpointer(run / "checkpoints", keep=0) as checkpoints:
            saved = checkpoints.restore(6, {"params": abstract})["params"]
    jax.tree.map(np.testing.assert_array_equal, params, saved)


def test_transformers_loads_the_exported_folder(finished):
    pytest.importorskip("torch", reason="Hugging Face's models need torch")
    _, run = finished
    loaded = transformers.AutoModelForCausalLM.from_pretrained(run / "model")
    assert loaded.config.model_type == "qwen3" and loaded.config.hidden_size == 16
    tokenizer = transformers.AutoTokenizer.from_pretrained(run / "model")
    assert tokenizer.decode(tokenizer.encode("12+19=31")) == "12+19=31"


def test_a_finished_run_is_not_run_again(finished, monkeypatch):
    recipe, run = finished
    before = {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}
    monkeypatch.setattr(sft, "make_sft_loss", None)  # would fail if it were called
    train(recipe, run)
    assert before == {p: p.stat().st_mtime_ns for p in run.rglob("*") if p.is_file()}


def test_a_kill_during_the_export_costs_the_export_alone(finished, tmp_path, monkeypatch):
    recipe, run = finished
    copy_until(run, tmp_path / "run", step=6)
    monkeypatch.setattr(sft, "make_train_step", lambda *_: None)  # no step may be made
    train(recipe, tmp_path / "run")
    assert_same_weights(weights(tmp_path / "run"), weights(run))
    assert lines(tmp_path / "run") == lines(run)


def test_dropped_rows_are_counted_with_their_reasons(tmp_path):
    recipe = make_recipe(tmp_path / "inputs")
    with (tmp_path / "inputs" / "sums.jsonl").open("a") as file:
        file.write('{"question": "1+1=", "answer": null}\n')
        file.write('{"question": "' + "1+" * 20 + '1=", "answer": "21"}\n')
    tokenizer = load_tokenizer(recipe.tokenizer)
    write_training_data(tmp_path / "run", load_data(recipe, tokenizer), num_steps=1)
    data = json.loads((tmp_path / "run" / "data.json").read_text())
    (counts,) = data["datasets"].values()
    assert data["sequences"] == 30 and counts["rows"] == 32 and counts["kept"] == 30
    assert counts["dropped"].pop("too long") == 1
    assert list(counts["dropped"].values()) == [1]
    places = [row["where"].rpartition("sums.jsonl:")[2] for row in counts["first_bad_rows"]]
    assert places == ["31", "32"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"micro_batch_rows": 0}, "sft.micro_batch_rows: expected at least 1, got 0"),
        ({"token_weight": "dtf"}, "sft.token_weight='dtf': expected one of one, dft, eaft"),
        ({"schedule_epochs": 2.0}, "sft.schedule_epochs=2: expected 0, or at least sft.epochs=4"),
        ({"length": 128}, "sft.length=128: the model's max_position_embeddings is 64"),
        ({"log_every": 0}, "sft.log_every: expected at least 1, got 0"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused_before_compiling(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        train(make_recipe(tmp_path / "inputs", **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("field", "value"),
    [("log_every", 0), ("epochs", 0.0), ("keep", -1), ("epochs", float("nan")), ("batch_size", 0)],
)
def test_a_number_out_of_its_range_is_refused_by_field(tmp_path, field, value):
    section = to_dict(make_recipe(tmp_path / "inputs"))
    assert parse(SFTConfig, section, "sft").log_every == 2
    with pytest.raises(ConfigError, match=rf"sft\.{field}: expected"):
        parse(SFTConfig, section | {field: value}, "sft")


@pytest.mark.parametrize("rate", [-1e-3, 0.0, float("nan"), float("inf")])
def test_a_learning_rate_that_is_no_positive_number_is_refused_by_field(tmp_path, rate):
    section = to_dict(make_recipe(tmp_path / "inputs"))
    section["optimizer"]["learning_rate"] = rate
    with pytest.raises(ConfigError, match=r"sft\.optimizer\.learning_rate: expected"):
        parse(SFTConfig, section, "sft")


def test_a_schedule_may_be_longer_than_the_run(finished, tmp_path):
    recipe, run = finished
    half = dataclasses.replace(recipe, epochs=2.0, schedule_epochs=4.0)
    train(half, tmp_path / "run")
    assert numbers(tmp_path / "run") == [
        pytest.approx(row | {"epoch": row["epoch"]}) for row in numbers(run)[:3]
    ]
    # what was stopped within its schedule goes on as if it had not been
    train(dataclasses.replace(half, epochs=4.0), tmp_path / "run")
    assert numbers(tmp_path / "run") == numbers(run)
    assert_same_weights(weights(tmp_path / "run"), weights(run))


def test_a_short_run_within_a_longer_schedule_has_the_warm_up_of_that_schedule(finished, tmp_path):
    recipe, run = finished
    short = dataclasses.replace(recipe, epochs=1.0, schedule_epochs=4.0)
    train(short, tmp_path / "run")
    found = [row["learning_rate"] for row in lines(tmp_path / "run")]
    assert len(found) == recipe.optimizer.warmup_steps == 2
    assert found == [row["learning_rate"] for row in lines(run)[:2]]


def test_kl_to_the_base_is_none_at_first_and_holds_the_model_back(finished, tmp_path):
    recipe, run = finished
    train(dataclasses.replace(recipe, kl_coefficient=5.0), tmp_path / "run")
    held, free = lines(tmp_path / "run"), lines(run)
    assert abs(held[0]["kl_ref"]) < 1e-6 < held[1]["kl_ref"]
    assert held[0]["loss"] == pytest.approx(free[0]["loss"], rel=1e-6)
    for row in held:
        assert row["loss"] == pytest.approx(row["cross_entropy"] + 5.0 * row["kl_ref"], rel=1e-4)
    assert held[-1]["cross_entropy"] > free[-1]["loss"]
    continued = tmp_path / "continued"
    copy_until(tmp_path / "run", continued, step=4)
    train(dataclasses.replace(recipe, kl_coefficient=5.0), continued)
    assert numbers(continued) == numbers(tmp_path / "run")  # the base is the base after a restore


def test_speed_counts_every_token_of_the_step_that_is_not_padding(finished):
    recipe, run = finished
    data = json.loads((run / "data.json").read_text())
    counted = sum(row["tokens_per_second"] * row["step_seconds"] for row in lines(run))
    assert counted == pytest.approx(recipe.epochs * data["tokens"])


def test_the_epoch_of_a_step_counts_the_examples_up_to_it_where_the_last_step_has_fewer(tmp_path):
    recipe = dataclasses.replace(make_recipe(tmp_path / "inputs"), batch_size=25, epochs=1.5)
    train(recipe, tmp_path / "run")
    assert [row["epoch"] for row in lines(tmp_path / "run")] == [25 / 30, 45 / 30]


def test_overlong_rows_are_dropped_or_cut_and_counted_either_way(tmp_path):
    recipe = make_recipe(tmp_path / "inputs")
    with (tmp_path / "inputs" / "sums.jsonl").open("a") as file:
        file.write('{"question": "' + "1+" * 20 + '1=", "answer": "21"}\n')
    tokenizer = load_tokenizer(recipe.tokenizer)
    (dropped,) = load_data(recipe, tokenizer).rows.values()
    assert dropped["dropped"] == {"too long": 1} and dropped["changed"] == {}
    cut = load_data(dataclasses.replace(recipe, overlong="cut"), tokenizer)
    (counts,) = cut.rows.values()
    assert counts["dropped"] == {} and counts["changed"] == {"cut to length": 1}
    assert len(cut.sequences[-1][0]) == recipe.length


def test_the_limits_of_datasets_set_their_proportions(tmp_path):
    recipe = make_recipe(tmp_path / "inputs")
    sums = recipe.datasets["sums"]
    named = {
        "new": dataclasses.replace(sums, limit=20),
        "replay": dataclasses.replace(sums, limit=5),
    }
    data = load_data(dataclasses.replace(recipe, datasets=named), load_tokenizer(recipe.tokenizer))
    assert {name: found["sequences"] for name, found in data.contents.items()} == {
        "new": 20,
        "replay": 5,
    }


def test_examples_without_a_token_to_learn_are_refused(tmp_path):
    recipe = make_recipe(tmp_path / "inputs")
    tokenizer = load_tokenizer(recipe.tokenizer)
    nothing = dataclasses.replace(recipe.datasets["sums"], fields={"prompt": "question"})
    with pytest.raises(UserError, match=r"no example is left"):
        load_data(dataclasses.replace(recipe, datasets={"sums": nothing}), tokenizer)


def test_a_tokenizer_with_more_ids_than_the_model_is_refused(tmp_path):
    small = dataclasses.replace(MODEL, architecture=MODEL.architecture | {"vocab_size": 10})
    with pytest.raises(ValueError, match=r"sft.tokenizer: has ids up to 15, .* vocab_size is 10"):
        train(make_recipe(tmp_path / "inputs"), tmp_path / "run", model=small)


@pytest.mark.slow
def test_eight_devices_give_the_numbers_of_one(finished, tmp_path):
    recipe, run = finished
    recipe = dataclasses.replace(recipe, micro_batch_rows=8)
    with compilations() as compiled:
        train(recipe, tmp_path / "run", MeshConfig(1, 4, 2, 1))
    # the step that is compiled while the weights are read is the one that runs
    assert [one.ahead for one in compiled if one.name == "jit(step)"] == [True]
    for here, there in zip(numbers(tmp_path / "run"), numbers(run), strict=True):
        assert here == pytest.approx(there, rel=1e-3)
    for name, value in weights(run).items():
        np.testing.assert_allclose(weights(tmp_path / "run")[name], value, rtol=1e-2, atol=1e-3)


def train_in_process(inputs, workdir, sizes):
    train(make_recipe(Path(inputs), keep=0), Path(workdir), MeshConfig(*sizes))
    return jax.process_count()


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(1, 2, 1, 1), (1, 1, 2, 1)])
def test_two_processes_train_save_and_export_as_one(finished, tmp_path, sizes):
    recipe, run = finished
    inputs = Path(recipe.tokenizer).parent
    counts = run_processes(train_in_process, 2, str(inputs), str(tmp_path / "two"), sizes)
    assert counts == [2, 2]
    for here, there in zip(numbers(tmp_path / "two"), numbers(run), strict=True):
        assert here == pytest.approx(there, rel=1e-3)
    for name, value in weights(run).items():
        np.testing.assert_allclose(weights(tmp_path / "two")[name], value, rtol=1e-2, atol=1e-3)
    # What two processes saved after step 4, one process continues on one device.
    copy_until(tmp_path / "two", tmp_path / "one", step=4)
    train(recipe, tmp_path / "one")
    for here, there in zip(numbers(tmp_path / "one"), numbers(run), strict=True):
        assert here == pytest.approx(there, rel=1e-3)


def start_run(inputs, workdir):
    """`jaxreason sft` would be the same run; this one needs no recipe file."""
    code = (
        "import pathlib, tiny_sft; tiny_sft.train(tiny_sft.make_recipe("
        f"pathlib.Path({str(inputs)!r}), epochs=60.0), pathlib.Path({str(workdir)!r}))"
    )
    paths = [str(TESTS.parent), str(TESTS), str(TESTS / "training")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(paths)}
    return subprocess.Popen(
        [sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True
    )


def signal_after(process, workdir, step, number):
    """Sends the signal once `step` is in the metrics; the exit code."""
    deadline = time.monotonic() + 240
    file = workdir / "metrics.jsonl"
    while not file.exists() or f'"step": {step},' not in file.read_text():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(number)
    process.wait(timeout=120)
    return process.returncode


@pytest.mark.slow
def test_a_run_that_is_stopped_and_killed_ends_as_one_that_was_not(tmp_path):
    train(make_recipe(tmp_path / "in", epochs=60.0), tmp_path / "whole")
    run = tmp_path / "run"
    stopped = start_run(tmp_path / "in", run)
    assert signal_after(stopped, run, 10, signal.SIGTERM) == 143
    assert "Stopped by SIGTERM. The state after step" in stopped.stdout.read()
    last = lines(run)[-1]["step"]
    assert str(last) in [p.name for p in (run / "checkpoints").iterdir()]
    killed = start_run(tmp_path / "in", run)
    assert signal_after(killed, run, last + 20, signal.SIGKILL) == -signal.SIGKILL
    assert start_run(tmp_path / "in", run).wait(timeout=240) == 0
    assert numbers(run) == numbers(tmp_path / "whole")
    assert_same_weights(weights(run), weights(tmp_path / "whole"))
