"""The scripts for Cloud TPUs when the cloud fails: quota, preemption, lost connections, requests made by half."""

import concurrent.futures
import contextlib
import json
import subprocess
import time

import pytest
from cloud import Cloud


@pytest.fixture
def cloud(tmp_path):
    with contextlib.closing(Cloud(tmp_path)) as made:
        yield made


def test_from_nothing_to_the_end_of_the_command_and_the_rent_in_one(cloud):
    command, starts = cloud.job(0)
    result = cloud.run("resume.sh", "--delete", command)
    assert result.returncode == 0, result.stderr
    assert "is complete; name was given back" in result.stderr
    assert cloud.changes == ["create", "host.sh install", "host.sh start", "delete"]
    assert starts() == 1 and not (cloud.folder / "hosts").exists()


def test_at_the_end_it_is_said_what_goes_on_costing(cloud):
    result = cloud.run("resume.sh", cloud.job(0)[0])
    assert result.stderr.endswith("goes on costing: tpu/delete.sh ends the rent\n")


def test_a_machine_that_is_taken_away_before_the_request_says_so_is_asked_for_again(cloud):
    cloud.run("create.sh")
    (cloud.folder / "hosts" / "name").rmdir()
    result = cloud.run("resume.sh", cloud.job(0)[0])
    assert result.returncode == 0, result.stderr
    assert cloud.changes == ["create", "delete", "create", "host.sh install", "host.sh start"]


def test_nothing_is_rented_again_for_a_run_that_was_complete_when_its_machine_was_taken(cloud):
    command = cloud.folder / "job"
    status = f"{cloud.folder}/bucket/status.json"
    command.write_text(
        f"""#!/usr/bin/env bash
printf '{{"run": "%s", "state": "done"}}' "$JAXREASON_RUN" > {status}
rm -rf {cloud.folder}/hosts
"""
    )
    command.chmod(0o755)
    result = cloud.run("resume.sh", str(command))
    assert result.returncode == 0 and "is complete" in result.stderr, result.stderr
    assert cloud.changes == ["create", "host.sh install", "host.sh start"]


def test_a_suspended_request_is_deleted_before_a_new_one(cloud):
    (cloud.folder / "state").write_text("SUSPENDED\n")
    result = cloud.run("resume.sh", cloud.job(0)[0])
    assert result.returncode == 0, result.stderr
    assert cloud.changes[:2] == ["delete", "create"]


def test_a_command_that_failed_or_was_stopped_is_started_again(cloud):
    command, starts = cloud.job(1, 143, 0)
    result = cloud.run("resume.sh", command)
    assert result.returncode == 0, result.stderr
    assert starts() == 3 and cloud.changes.count("host.sh start") == 3


def test_a_command_that_is_refused_ends_it_and_the_rent(cloud):
    command, starts = cloud.job(2)
    result = cloud.run("resume.sh", "--delete", command)
    assert result.returncode == 2 and "was refused" in result.stderr
    assert starts() == 1 and cloud.changes[-1] == "delete"


def test_the_end_of_another_command_is_not_taken_for_that_of_this_one(cloud):
    cloud.run("resume.sh", cloud.job(0)[0])
    command, starts = cloud.job(1, 0, name="second")
    result = cloud.run("resume.sh", command)
    assert result.returncode == 0, result.stderr
    assert starts() == 2
    again = cloud.run("resume.sh", command)
    assert again.returncode == 0 and starts() == 2  # it has ended, and is not started once more


def test_two_that_start_a_command_at_once_start_it_once(cloud):
    cloud.run("create.sh")
    cloud.run("setup.sh")
    device = cloud.folder / "dev" / "accel0"
    device.parent.mkdir()
    device.write_text("")
    command, starts = cloud.job(0)
    job = cloud.folder / "job"
    job.write_text(job.read_text().replace("sleep 0.05", "sleep 3"))
    with open(device) as held:  # To end it takes each of the two half a second.
        holder = subprocess.Popen(["sleep", "60"], stdin=held)
    try:
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            both = [pool.submit(cloud.run, "run.sh", command) for _ in range(2)]
        results = [one.result() for one in both]
    finally:
        holder.kill()
        holder.wait()
    assert [result.returncode for result in results] == [0, 0], results
    said = " ".join(result.stdout for result in results)
    assert said.count("started as") == said.count("still running as") == starts() == 1


def test_a_run_that_says_in_the_bucket_that_it_is_done_rents_nothing(cloud):
    started = cloud.run("run.sh", "--dry-run", "jaxreason rl").stdout
    run = started.split("start ")[1].split()[0]
    status = cloud.folder / "bucket" / "status.json"
    status.write_text(json.dumps({"run": run, "state": "done"}, indent=1))
    result = cloud.run("resume.sh", "jaxreason rl")
    assert result.returncode == 0 and "is complete" in result.stderr
    assert not cloud.changes
    status.write_text(json.dumps({"run": run, "state": "failed"}, indent=1))
    cloud.fail("create", "1 ERROR: Quota exceeded")
    assert cloud.run("resume.sh", "jaxreason rl").returncode == 2


@pytest.mark.parametrize("form", ["--workdir {}", "--workdir={}", "--workdir '{}'"])
def test_a_run_with_a_working_directory_of_its_own_is_looked_for_there(cloud, form):
    place = "gs://b/of its own" if "'" in form else "gs://b/own"
    command = f"jaxreason rl {form.format(place)}"
    started = cloud.run("run.sh", "--dry-run", command).stdout
    run = started.split("start ")[1].split()[0]
    status = cloud.folder / "bucket" / "status.json"
    status.write_text(json.dumps({"run": run, "state": "done"}, indent=1))
    result = cloud.run("resume.sh", command)
    assert result.returncode == 0 and f"{place} is complete" in result.stderr
    cloud.run("create.sh")
    cloud.run("status.sh", command)
    assert cloud.asked("cat") == [["gcloud", "storage", "cat", f"{place}/status.json"]] * 2


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ("ERROR: (gcloud) Quota limit 'TPUV5PPreemptible' has been exceeded.", 2),
        ("ERROR: (gcloud) PERMISSION_DENIED: no rights in 'project'", 2),
        ("ERROR: (gcloud) UNAVAILABLE: try again later", 1),
    ],
)
def test_a_request_that_is_refused_is_one_line_and_tells_whether_to_try_again(cloud, message, code):
    cloud.fail("create", f"1 {message}")
    result = cloud.run("create.sh")
    assert result.returncode == code
    (line,) = result.stderr.splitlines()
    assert message in line


def test_resume_ends_where_the_quota_refuses_and_tries_again_where_it_may_help(cloud):
    cloud.fail("create", "1 ERROR: UNAVAILABLE: later", "1 ERROR: Quota limit exceeded")
    result = cloud.run("resume.sh", "true")
    assert result.returncode == 2 and "the slice was refused" in result.stderr
    assert cloud.changes == ["create", "create"]


def test_a_request_whose_answer_was_lost_is_waited_for_and_not_made_twice(cloud):
    cloud.fail("create", "lost ERROR: the connection was closed")
    result = cloud.run("create.sh")
    assert result.returncode == 0 and "ACTIVE" in result.stdout, result.stderr
    assert cloud.changes == ["create"]


def test_a_request_that_fails_by_half_is_given_back_and_made_again(cloud):
    (cloud.folder / "state").write_text("FAILED\n")  # one of the two slices came
    (cloud.folder / "hosts" / "name-0").mkdir(parents=True)
    result = cloud.run("resume.sh", cloud.job(0)[0], TPU_SLICE="2xv5p-8")
    assert result.returncode == 0, result.stderr
    assert cloud.changes[:2] == ["delete", "create"]


def test_a_dropped_connection_is_tried_again_and_starts_nothing_twice(cloud):
    cloud.run("create.sh")
    # The look at the hosts, the installation, then a start that happened though its answer was lost.
    cloud.fail("ssh", "255 ssh: connection reset", "255 ssh: connection reset", "255 ssh: again")
    command, starts = cloud.job(0)
    result = cloud.run("resume.sh", command)
    assert result.returncode == 0, result.stderr
    assert "not every host can be reached; trying again" in result.stderr and starts() == 1
    assert "delete" not in cloud.changes


def test_a_start_whose_answer_was_lost_is_found_running(cloud):
    cloud.run("create.sh")
    cloud.run("setup.sh")
    cloud.fail("ssh", "lost ssh: connection closed by remote host")
    lost = cloud.run("run.sh", "sleep 5; :")
    assert lost.returncode == 1 and "run it again" in lost.stderr
    assert "still running" in cloud.run("run.sh", "sleep 5; :").stdout


@pytest.mark.parametrize("script", ["setup.sh", "run.sh", "stop.sh"])
def test_an_unreachable_host_is_said_in_one_line(cloud, script):
    cloud.run("create.sh")
    cloud.fail("ssh", "255 ssh: connect to host port 22: timed out")
    result = cloud.run(script)
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith(f"{script}: not")


def test_what_is_not_there_is_deleted_without_an_error_and_without_a_request(cloud):
    result = cloud.run("delete.sh", "--yes")
    assert result.returncode == 0 and "there is none" in result.stdout
    assert not cloud.changes


def test_a_slice_is_never_said_to_be_gone_because_google_could_not_be_asked(cloud):
    cloud.run("create.sh")
    unknown = "it is not known whether name is there"
    for script, words, said in (
        ("delete.sh", ["--yes"], unknown),
        ("create.sh", [], unknown),
        ("resume.sh", ["true"], "Google cannot be asked"),
    ):
        cloud.fail("describe", "1 ERROR: (gcloud) There was a problem refreshing your tokens")
        result = cloud.run(script, *words)
        assert result.returncode == 1
        why, last = result.stderr.splitlines()
        assert "refreshing your tokens" in why
        assert said in last
    assert cloud.changes == ["create"]


@pytest.mark.parametrize(
    "words",
    [
        "1 ERROR: gcloud crashed (ModuleNotFoundError): No module named 'grpc'",
        "127 /usr/bin/gcloud: line 192: exec: python3: not found",
        "1 ERROR: (gcloud) credentials file key.json was not found",
    ],
)
def test_a_gcloud_that_does_not_work_is_not_taken_for_a_slice_that_is_gone(cloud, words):
    cloud.run("create.sh")
    cloud.fail("describe", words)
    result = cloud.run("delete.sh", "--yes")
    assert result.returncode == 1 and "the rent may go on" in result.stderr
    assert "there is none" not in result.stdout and cloud.changes == ["create"]


def test_a_deletion_that_fails_says_that_the_rent_goes_on(cloud):
    cloud.run("create.sh")
    cloud.fail("delete", "1 ERROR: (gcloud) UNAVAILABLE")
    result = cloud.run("delete.sh", "--yes")
    assert result.returncode == 1 and "could not be deleted; the rent goes on" in result.stderr
    assert cloud.run("delete.sh", "--yes").returncode == 0
    assert not (cloud.folder / "state").exists()


def test_resume_gives_the_slice_back_though_google_does_not_answer_at_first(cloud):
    cloud.fail("delete", *["1 ERROR: (gcloud) UNAVAILABLE"] * 3)
    result = cloud.run("resume.sh", "--delete", cloud.job(0)[0])
    assert result.returncode == 0 and "name was given back" in result.stderr
    assert cloud.changes[-4:] == ["delete"] * 4 and not (cloud.folder / "state").exists()


def test_resume_does_not_end_well_if_the_slice_could_not_be_given_back(cloud):
    cloud.fail("delete", *["1 ERROR: (gcloud) UNAVAILABLE"] * 100)
    result = cloud.run("resume.sh", "--delete", cloud.job(0)[0])
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1] == (
        "gs://b/run is complete; name could not be given back: the rent may go on"
    )


def test_nothing_is_deleted_without_a_yes(cloud):
    cloud.run("create.sh")
    began = time.monotonic()
    assert cloud.run("delete.sh").returncode == 1
    assert "delete" not in cloud.changes and time.monotonic() - began < 30
