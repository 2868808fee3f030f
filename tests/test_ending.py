"""The processes of a job end together, with the reason, whatever happened to one of them. Through the program."""

import fcntl
import json
import os
import re
import signal
import time
from pathlib import Path

import bucket
import object_store
import pytest
from processes import run_programs

from jaxreason.results.run_status import NAME, read_status

RECIPE = str(Path(__file__).parent / "smallest_study.py")
# Seconds from the end of the first process to that of the last; what a loaded machine needs included.
BOUND_S = 30.0
EPOCHS = "--config.sft.epochs=4.0"  # 16 steps

# Fails where only one process does: in the middle of training.
BROKEN_STEP = """
from jaxreason.training import sft_metrics
add, steps = sft_metrics.Recorder.add, []
def broken(self, *arguments):
    steps.append(1)
    if len(steps) == 3:
        raise {}
    return add(self, *arguments)
sft_metrics.Recorder.add = broken
"""


# A step takes a moment, so that a kill comes between two of many.
SLOW_STEPS = """
import time
from jaxreason.training import sft_metrics
add = sft_metrics.Recorder.add
sft_metrics.Recorder.add = lambda *arguments: (time.sleep(0.3), add(*arguments))[1]
"""


def sft(workdir, *more):
    return ["sft", "--config", RECIPE, "--workdir", str(workdir), *more]


def all_ended(ends, code, *texts):
    """Every process has this exit code and says each of the texts, soon after the first ended."""
    for end in ends:
        assert end.code == code, "\n".join(e.output for e in ends)
        for text in texts:
            assert text in end.output
    times = [end.at for end in ends]
    assert max(times) - min(times) < BOUND_S


@pytest.mark.slow
def test_a_refused_claim_ends_all_processes_with_the_differences(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    (workdir / "config.json").write_text(json.dumps({"claimed": {"seed": 5}}))
    (workdir / "metrics.jsonl").write_text('{"step": 1}\n')  # something was learned there
    ends = run_programs([sft(workdir)] * 2, tmp_path)
    all_ended(ends, 2, "made with something else", "seed: 5 -> 0")


def test_a_lock_that_is_held_ends_all_processes(tmp_path):
    workdir = tmp_path / "run"
    workdir.mkdir()
    with open(workdir / ".lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        ends = run_programs([sft(workdir)] * 2, tmp_path)
    all_ended(ends, 2, "another run is using this working directory")
    assert not (workdir / NAME).exists()  # it is the living run's to write


@pytest.mark.slow
def test_a_lease_that_another_run_has_taken_ends_all_processes(tmp_path, monkeypatch):
    pytest.importorskip("gcsfs")
    store, other = bucket.Bucket(), b'{"host": "elsewhere", "process": 7, "token": "x"}'

    def take_over(name):
        if name.startswith("bucket/run/metrics.parts/"):
            store.objects.setdefault("bucket/run/.lease/000002.json", other)
        return False

    store.dies = take_over
    before = "from jaxreason.results import lease; lease.RENEW_SECONDS = 0.3" + SLOW_STEPS
    with object_store.served(store) as address:
        for name, value in object_store.google(address).items():
            monkeypatch.setenv(name, value)
        arguments = [sft("gs://bucket/run", EPOCHS, "--config.sft.log_every=1")] * 2
        ends = run_programs(arguments, tmp_path, before={0: before, 1: SLOW_STEPS})
    all_ended(ends, 2, "lease of this working directory was taken over by process 7 on elsewhere")
    assert "bucket/run/done.json" not in store.objects and not store.refused
    assert store.objects["bucket/run/.lease/000002.json"] == other


@pytest.mark.slow
def test_a_recipe_that_one_machine_lacks_ends_all_processes(tmp_path):
    lacks = ["sft", "--config", str(tmp_path / "lost.py"), "--workdir", str(tmp_path / "run")]
    ends = run_programs([sft(tmp_path / "run"), lacks], tmp_path)
    all_ended(ends, 2, "lost.py")
    assert "process 1 ended this job" in ends[0].output


@pytest.mark.slow
def test_data_that_one_process_cannot_read_end_all_with_its_file(tmp_path):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"id": 1\n')
    other = f"--config.sft.datasets.teacher.path={bad}"
    ends = run_programs([sft(tmp_path / "run"), sft(tmp_path / "run", other)], tmp_path)
    all_ended(ends, 2, "bad.jsonl")
    assert "process 1 ended this job" in ends[0].output
    status = read_status(tmp_path / "run")
    assert status["state"] == "failed" and "bad.jsonl" in status["error"]


@pytest.mark.slow
@pytest.mark.parametrize(
    "index, error, code",
    [(0, 'OSError(28, "No space left on device")', 2), (1, 'RuntimeError("a fault of ours")', 1)],
)
def test_an_error_in_the_middle_of_training_ends_all_processes(tmp_path, index, error, code):
    ends = run_programs([sft(tmp_path / "run")] * 2, tmp_path, {index: BROKEN_STEP.format(error)})
    all_ended(ends, code, error.split('"')[1])
    assert ("Traceback" in ends[index].output) == (code == 1)  # what a user can mend has none
    assert f"process {index} ended this job: {error.split('(')[0]}" in ends[1 - index].output
    assert not (tmp_path / "run" / "done.json").exists()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """A run of 16 steps of two processes that nothing disturbed."""
    folder = tmp_path_factory.mktemp("undisturbed")
    all_ended(run_programs([sft(folder / "run", EPOCHS)] * 2, folder), 0)
    return folder / "run"


@pytest.mark.slow
def test_a_job_in_a_fresh_directory_finds_its_question_files_and_ends_well(undisturbed):
    assert json.loads((undisturbed / "done.json").read_text())["stage"] == "sft"
    status = json.loads((undisturbed / "status.json").read_text())
    assert status["device"]["processes"] == 2
    assert status["slowest"]["process"] in (0, 1) and status["slowest"]["seconds"] > 0


@pytest.mark.slow
@pytest.mark.parametrize("index", [0, 1])
def test_a_killed_process_ends_the_others_and_the_same_command_gives_the_same_model(
    undisturbed, tmp_path, index
):
    workdir = tmp_path / "run"

    def kill(processes):
        wait_for(workdir / "metrics.jsonl", num_lines=5)
        os.killpg(processes[index].pid, signal.SIGKILL)

    slow = dict.fromkeys((0, 1), SLOW_STEPS)
    ends = run_programs([sft(workdir, EPOCHS)] * 2, tmp_path, slow, at_start=kill)
    killed, other = ends[index], ends[1 - index]
    assert killed.code == -signal.SIGKILL and other.code not in (0, -signal.SIGKILL)
    assert other.at - killed.at < BOUND_S
    # With process 0 goes the service of JAX, whose own message may come before ours.
    assert re.search("ended this job|Traceback|JAX distributed service", other.output)
    assert list((workdir / "checkpoints").glob("[0-9]*")) and not (workdir / "done.json").exists()
    ends = run_programs([sft(workdir, EPOCHS)] * 2, tmp_path)
    all_ended(ends, 0)
    assert re.search(r"goes on after step [1-9]\d* of 16", ends[0].output)
    assert steps_and_losses(workdir) == steps_and_losses(undisturbed)
    weights = "model/model.safetensors"
    assert (workdir / weights).read_bytes() == (undisturbed / weights).read_bytes()


def steps_and_losses(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").open()]
    return [(row["step"], row["loss"], row["grad_norm"], row["update_norm"]) for row in rows]


@pytest.mark.slow
def test_a_signal_to_one_process_stops_all_in_order(tmp_path):
    def stop(processes):
        wait_for(tmp_path / "run" / "metrics.jsonl")
        processes[1].send_signal(signal.SIGTERM)

    many = ["--config.sft.epochs=1000.0", "--config.sft.checkpoint_every=0"]
    ends = run_programs([sft(tmp_path / "run", *many)] * 2, tmp_path, at_start=stop)
    all_ended(ends, 143)
    assert "Stopped by a signal to another process" in ends[0].output
    assert list((tmp_path / "run" / "checkpoints").iterdir())


def wait_for(path, num_lines=1):
    deadline = time.monotonic() + 120
    while not (path.exists() and path.read_text().count("\n") >= num_lines):
        assert time.monotonic() < deadline, f"{path} never came"
        time.sleep(0.05)


ONE_ARM = f"""
import sys
sys.path.insert(0, {str(Path(RECIPE).parent)!r})
import smallest_study

def get_config():
    config = smallest_study.get_config()
    with config.ignore_type():
        config.study.arms = {{"rl": config.study.arms["rl"]}}
    return config
"""
BROKEN_CALL = """
import importlib
owner = importlib.import_module({module!r})
*path, name = {name!r}.split(".")
for part in path:
    owner = getattr(owner, part)
def broken(*arguments, **named):
    raise {error}
getattr(owner, name)  # or nothing would be broken
setattr(owner, name, broken)
"""
FULL = 'OSError(28, "No space left on device", "some/file")'
FAULT = 'RuntimeError("a fault of ours")'
# In the order of a study's stages: the process that has the error, what it cannot do, the error, where the job ends.
FAULTS = [
    (1, "jaxreason.sampling.engine", "Engine.generate", FAULT, 1),
    (0, "jaxreason.evaluation.evaluator", "grade_parts", FULL, 1),
    (0, "jaxreason.models.hf_export", "_write_file", FULL, 2),
    (1, "jaxreason.analysis.drift", "_Run._measure_unit", FAULT, 4),
    (0, "jaxreason.report.build", "_write_tables", FULL, 6),
]


@pytest.mark.slow
def test_an_error_in_any_stage_of_a_study_ends_all_processes_and_the_same_command_goes_on(tmp_path):
    recipe = tmp_path / "one_arm.py"
    recipe.write_text(ONE_ARM)
    study = ["study", "--config", str(recipe), "--workdir", str(tmp_path / "run")]
    for index, module, name, error, stage in FAULTS:
        before = BROKEN_CALL.format(module=module, name=name, error=error)
        ends = run_programs([study] * 2, tmp_path, {index: before})
        code, reason = (2 if error == FULL else 1), error.split('"')[1]
        all_ended(ends, code, reason)
        assert re.findall(r"^stage (\d+)/", ends[0].output, re.MULTILINE)[-1] == str(stage)
        assert ("Traceback" in ends[index].output) == (code == 1)
    all_ended(run_programs([study] * 2, tmp_path), 0)
    assert (tmp_path / "run" / "report" / "summary.json").exists()
