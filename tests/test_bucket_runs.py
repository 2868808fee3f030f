"""Runs whose working directory is a bucket: killed and resumed they give what they give on a disk.

The bucket lives in memory and has neither append nor rename nor folders. Orbax writes to it as to Google's, through
tensorstore and HTTP.
"""

import functools
import logging
import time

import bucket
import jax
import object_store
import pytest
import tiny_rl
from etils import epath
from tiny_evaluation import evaluate, make_folder, read_lines, sums, sums_config, write_questions
from tiny_follow import follow, make_config, make_run
from tiny_qwen3 import model_config
from tiny_sft import make_recipe, train

from jaxreason.config import ConfigError
from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.data.examples import Example
from jaxreason.evaluation import grading
from jaxreason.evaluation.benchmarks import EvalItem
from jaxreason.evaluation.evaluator import run_eval
from jaxreason.evaluation.grading import EvalReply, Grader, sample_line
from jaxreason.results import claims, jsonl
from jaxreason.results.atomic_files import read_json, write_json
from jaxreason.results.drift_files import drift_part_path, remove_drift_parts
from jaxreason.results.grade_files import graded_samples, read_grades
from jaxreason.results.jsonl import JsonlWriter, grown_exists, read_jsonl
from jaxreason.results.sample_files import SampleKey, read_samples
from jaxreason.results.training_files import read_metrics
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.tasks.verify import VerifierPool
from jaxreason.tracking import metric_logger
from jaxreason.tracking.metric_logger import MetricsWriter
from jaxreason.verbs.call import Call
from jaxreason.verbs.log_file import LogFile
from jaxreason.verbs.run_view import show_verb

TIMES = ("_seconds", "tokens_per_second")
KILLED = (bucket.Killed, ValueError, RuntimeError)  # Orbax's threads have errors of other classes
RUN = epath.Path("gs://bucket/run")


@pytest.fixture(scope="module")
def address():
    """One server for all tests: tensorstore reads the address once."""
    patch = pytest.MonkeyPatch()
    holder = bucket.Bucket()
    with object_store.served(holder) as url:
        for name, value in object_store.google(url).items():
            patch.setenv(name, value)
        yield holder
    patch.undo()


@pytest.fixture
def store(monkeypatch, address):
    found = bucket.use(monkeypatch)
    for name in ("objects", "generations", "times", "put", "put_if", "delete"):
        monkeypatch.setattr(
            address, name, getattr(found, name)
        )  # Orbax's arrays are among the others
    return found


def numbers(workdir):
    rows = read_metrics(epath.Path(workdir) / "metrics.jsonl")
    return [{k: v for k, v in row.items() if not k.endswith(TIMES)} for row in rows]


def train_killed_and_resumed(store, folder, kill):
    """Trains on a disk, and on a bucket until `kill` and then to the end."""
    recipe = make_recipe(folder / "inputs", epochs=4.0, checkpoint_every=2, log_every=1)
    train(recipe, folder / "run")
    kill()
    with pytest.raises(KILLED):
        train(recipe, RUN)
    store.revive()
    train(recipe, RUN)
    return recipe


def assert_same_run(store, folder):
    assert numbers(RUN) == numbers(folder)
    assert store.names("*metrics*") == ["bucket/run/metrics.jsonl"]
    weights = (folder / "model" / "model.safetensors").read_bytes()
    assert store.objects["bucket/run/model/model.safetensors"] == weights
    for name in ("done.json", "data.json"):
        assert read_json(RUN / name) == read_json(folder / name)


@pytest.mark.slow
def test_sft_on_a_bucket_killed_and_resumed_equals_a_run_on_a_disk(store, tmp_path):
    """Killed as the line of step 4 is written: checkpoint 2 and the line of step 3 are there."""
    kill = functools.partial(store.die_at, "bucket/run/metrics.parts/*", 4)
    recipe = train_killed_and_resumed(store, tmp_path, kill)
    assert_same_run(store, tmp_path / "run")
    before = len(store.changes)
    train(recipe, RUN)  # complete: nothing is done, and nothing is written
    assert len(store.changes) == before


@pytest.mark.slow
@pytest.mark.parametrize("changes", [3, 25, 50, 70])
def test_sft_killed_at_any_change_of_the_bucket_equals_a_run_on_a_disk(store, tmp_path, changes):
    """A run makes 80 to 100 changes: how many depends on what Orbax's threads do at one time."""
    train_killed_and_resumed(store, tmp_path, functools.partial(store.die_after, changes))
    assert_same_run(store, tmp_path / "run")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["model/model.safetensors", "done.json"])
def test_sft_killed_at_its_end_on_a_bucket_equals_a_run_on_a_disk(store, tmp_path, name):
    kill = functools.partial(store.die_at, f"bucket/run/{name}", 1)
    train_killed_and_resumed(store, tmp_path, kill)
    assert_same_run(store, tmp_path / "run")


@pytest.mark.slow
def test_rl_on_a_bucket_killed_and_resumed_equals_a_run_on_a_disk(store, tmp_path):
    base, questions = tiny_rl.save_base(tmp_path), tiny_rl.save_questions(tmp_path)
    recipe = tiny_rl.rl_config(questions, num_steps=3, checkpoint_every=1)
    tiny_rl.run(recipe, base, tmp_path / "run")
    store.die_at("bucket/run/metrics.parts/*", 3)
    with pytest.raises(KILLED):
        tiny_rl.run(recipe, base, RUN)
    store.revive()
    tiny_rl.run(recipe, base, RUN)
    assert numbers(RUN) == numbers(tmp_path / "run")
    for step in (1, 2, 3):
        assert tiny_rl.rollouts_of(RUN, step) == tiny_rl.rollouts_of(tmp_path / "run", step)


@pytest.mark.slow
def test_an_evaluation_on_a_bucket_killed_and_resumed_equals_one_on_a_disk(
    store, tmp_path, monkeypatch
):
    """The questions are few, so that lines are written two at a time here."""
    monkeypatch.setattr(jsonl, "FLUSH_LINES", 2)
    monkeypatch.setattr(grading, "MOST_AT_ONCE", 1)
    questions = write_questions(tmp_path / "sums.jsonl", sums(12))
    model, config = make_folder(tmp_path), sums_config(questions, {"greedy": 1, "t1": 2})
    wanted = evaluate(config, model, tmp_path / "run")
    mesh = make_mesh(MeshConfig(data=1, fsdp=1, tensor=1, context=1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        store.die_at("bucket/run/evaluation/samples/sums.own.t1.parts/*", 3)
        with pytest.raises(bucket.Killed):
            run_eval(config, model_config(model), mesh, RUN, 0)
        store.revive()
        samples = RUN / "evaluation" / "samples"
        found = [read_jsonl(samples / f"sums.own.{name}.jsonl") for name in ("greedy", "t1")]
        assert len(found[0]) == 12 and len(found[1]) == 4
        run_eval(config, model_config(model), mesh, RUN, 0)
    for name in ("greedy", "t1"):
        key = SampleKey("sums", "own", name)
        samples, grades = (
            read_samples(RUN / "evaluation", key),
            read_grades(RUN / "evaluation", key, "hash_answer"),
        )
        lines = graded_samples(samples, grades, "bucket")
        assert lines == read_lines(tmp_path / "run", f"sums.{name}")
    assert read_json(RUN / "evaluation" / "scores.json") == wanted
    assert not store.names("*.parts/*")


def test_lines_are_there_after_a_while_though_no_more_come(store, monkeypatch):
    monkeypatch.setattr(grading, "FLUSH_SECONDS", 0.05)
    path = RUN / "evaluation" / "x.jsonl"
    writer = JsonlWriter(path)
    with VerifierPool(1, 20.0) as pool, Grader(pool, "math", writer, lambda _: None) as grader:
        example = Example("a", "math", ({"role": "user", "content": "q"},), "1", "test", {})
        item = EvalItem("a", example, "", "a")
        reply = EvalReply(item, 0, (1,), (2,), r"\boxed{1}", "stop", {})
        grader.put(item, sample_line("b", reply))
        assert wait_for(lambda: grown_exists(path))
        assert len(read_jsonl(path)) == 1


def wait_for(condition, seconds=60.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def test_metrics_are_in_the_bucket_after_each_flush_and_one_object_at_the_end(store):
    with MetricsWriter(RUN, "sft", 10, False, 0) as out:
        out.write(1, {"loss": 1.0})
        assert not store.objects
        out.flush()
        assert [row["step"] for row in read_metrics(RUN / "metrics.jsonl")] == [1]
        out.write(2, {"loss": 0.5})
    assert store.names() == ["bucket/run/metrics.jsonl"]
    with MetricsWriter(RUN, "sft", 10, False, 1) as out:
        out.write(2, {"loss": 0.25})
    assert [row["loss"] for row in read_metrics(RUN / "metrics.jsonl")] == [1.0, 0.25]


def test_event_files_are_copied_whole_to_a_bucket(store, tmp_path, monkeypatch):
    monkeypatch.setattr(metric_logger, "SECONDS_BETWEEN_COPIES", 0.0)
    with MetricsWriter(RUN, "sft", 10, True, 0) as out:
        out.write(1, {"loss": 1.0})
        out.flush()
        (name,) = store.names("bucket/run/tensorboard/events.*")
        size = len(store.objects[name])
        out.write(2, {"loss": 0.5})
    assert store.names("bucket/run/tensorboard/*") == [name]
    assert b"sft/loss" in store.objects[name] and len(store.objects[name]) > size


def test_each_start_has_a_log_of_its_own_on_a_bucket_once_the_run_is_there(store):
    log = LogFile(RUN, ("jaxreason", "sft"))
    log.write_error(ValueError("mistyped"))
    log.close()
    assert not store.objects
    write_json(RUN / "config.json", {})
    log = LogFile(RUN, ("jaxreason", "sft"))
    log.attach()
    logging.getLogger("jaxreason.test").setLevel(logging.INFO)
    logging.getLogger("jaxreason.test").info("loading")
    logging.getLogger("jaxreason.test").warning("slow")
    (name,) = store.names("bucket/run/logs/*")
    assert (
        b"COMMAND jaxreason sft" in store.objects[name] and b"INFO loading" in store.objects[name]
    )
    log.write("loss 1 -> 0")
    log.close()
    assert store.names("bucket/run/logs/*") == [name]
    assert store.objects[name].endswith(b"RESULT loss 1 -> 0\n")


def test_a_log_that_cannot_be_written_never_stops_a_run(store, monkeypatch):
    write_json(RUN / "config.json", {})

    tried, before = [], dict(store.objects)

    def out_of_reach(name, _):
        tried.append(name)
        raise RuntimeError("the bucket is out of reach")

    monkeypatch.setattr(store, "put", out_of_reach)
    LogFile(RUN, ("jaxreason", "sft")).write("done")
    assert tried and all(name.startswith("bucket/run/logs/") for name in tried)
    assert store.objects == before


def test_claims_and_question_files_are_whole_objects(store):
    claims.claim(RUN, {"seed": 0}, begun=False)
    with pytest.raises(ConfigError, match="seed: 0 -> 1"):
        claims.claim(RUN, {"seed": 1}, begun=True)
    save_character_tokenizer(RUN / "questions" / "tokenizer", "0123")
    names = store.names("bucket/run/questions/tokenizer/*")
    assert any(name.endswith("/tokenizer.json") for name in names)
    assert not [name for name in store.changes if name.startswith("-")]


def test_measurements_of_weights_are_removed_where_nothing_is_left_of_their_folder(store):
    for name in ("weights.a", "weights.b"):
        write_json(drift_part_path(RUN, name), {})
    remove_drift_parts(RUN, "weights.")
    assert not store.objects


def test_show_finds_samples_and_metrics_that_are_still_in_parts(store, capsys):
    folder = RUN / "evaluation"
    writer = JsonlWriter(folder / "samples" / "sums.own.t1.jsonl")
    head = {"benchmark": "sums", "prompt": "own", "decoding": "t1"}
    write_json(folder / "samples" / "sums.own.t1.head.json", head)
    writer.write({"id": "q1", "prompt": "1+1", "completion": "two"})
    writer.close()
    lines = JsonlWriter(RUN / "metrics.jsonl")
    lines.write({"step": 1, "stage": "sft", "loss": 2.0})
    lines.close()
    show_verb(Call("show", None, {"replies": "2"}, (str(RUN),), None))
    shown = capsys.readouterr().out
    assert "step 1: loss 2" in shown and "reply: two\nnot graded yet" in shown


@pytest.mark.slow
def test_a_run_on_a_bucket_is_followed_into_the_bucket_as_into_a_folder(store, tmp_path):
    make_run(tmp_path, RUN, epochs=2.0, checkpoint_every=1, keep=2)
    config = make_config(tmp_path)
    found = follow(RUN, epath.Path("gs://bucket/followed"), config)
    assert [row["step"] for row in found["steps"]] == [0, 2, 3]
    assert found == follow(RUN, tmp_path / "followed", config)
    before = len(store.changes)
    assert follow(RUN, epath.Path("gs://bucket/followed"), config) == found
    assert not [c for c in store.changes[before:] if "samples" in str(c)]  # nothing is asked again
