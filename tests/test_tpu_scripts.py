"""The scripts for Cloud TPUs: what they ask of gcloud, what they have the hosts do, and what they print of it."""

import contextlib
import json
import os
import shlex
import subprocess
import time

import pytest
from cloud import ROOT, Cloud

from jaxreason.verbs.catalogue import VERBS
from jaxreason.verbs.flags import flags_of

COMMANDS = sorted((ROOT / "tpu").glob("*.sh"))
COMMANDS = [path.name for path in COMMANDS if path.name not in ("settings.sh", "host.sh")]
HOSTILE = 'gs://b/my run\'s "$(touch stolen)" & `touch stolen`; touch stolen #'

NO_SOURCE = {"TPU_SOURCE": "https://github.com/your-name/jaxreason.git"}


@pytest.fixture
def cloud(tmp_path):
    with contextlib.closing(Cloud(tmp_path)) as made:
        yield made


def wait_for(found):
    for _ in range(200):
        if value := found():
            return value
        time.sleep(0.05)
    raise AssertionError("it did not come")


@pytest.mark.parametrize("script", [*COMMANDS, "slurm.sbatch", "host.sh"])
def test_help_tells_the_head_of_a_script_and_runs_nothing(cloud, script):
    result = cloud.run(script, "--help", TPU_NAME="Not a name")
    assert result.returncode == 0, result.stderr
    text = (ROOT / "tpu" / script).read_text().splitlines()
    assert result.stdout.splitlines()[0] == text[1].removeprefix("# ")
    assert "set -e" not in result.stdout and not cloud.calls


@pytest.mark.parametrize("script", COMMANDS)
def test_a_dry_run_runs_nothing_and_prints_commands_that_a_shell_reads_back(cloud, script):
    arguments = ["apply"] if script == "gke.sh" else []
    result = cloud.run(
        script,
        "--dry-run",
        *arguments,
        TPU_SLICE="2xv5p-64",
        HF_TOKEN="hf_secret",
        TPU_WORKDIR=HOSTILE,
    )
    assert result.returncode == 0, result.stderr
    assert not cloud.calls and not list(cloud.folder.glob("**/stolen"))
    assert result.stdout and "hf_secret" not in result.stdout + result.stderr
    if script != "gke.sh":
        words = shlex.split(result.stdout)
        assert words[0] == "gcloud" and ("--zone=zone" in words or script == "status.sh")


@pytest.mark.parametrize("script", [*COMMANDS, "slurm.sbatch"])
def test_a_flag_that_is_not_known_is_refused_before_anything_is_asked(cloud, script):
    for word in ("--dryrun", "--dry_run"):
        result = cloud.run(script, word)
        assert result.returncode == 2 and f"{word}: no such flag" in result.stderr
    assert not cloud.calls


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("create.sh", ["v5e-16"]),
        ("run.sh", ["jaxreason", "rl"]),
        ("delete.sh", ["--yes", "name"]),
        ("logs.sh", ["al"]),
        ("gke.sh", ["delete", "name"]),
    ],
)
def test_a_word_that_would_be_passed_over_is_refused(cloud, script, words):
    result = cloud.run(script, *words)
    assert result.returncode == 2 and f"{words[-1]}: not expected here" in result.stderr
    assert not cloud.calls


@pytest.mark.parametrize("name", ["v5p-abc", "v5p-64x2", "0xv5p-64", "v5p", "v5p-64 v5e-8", ""])
@pytest.mark.parametrize("script", ["create.sh", "gke.sh"])
def test_a_slice_of_no_such_form_is_refused_before_anything_is_asked(cloud, script, name):
    result = cloud.run(script, TPU_SLICE=name or "x")
    assert result.returncode == 2 and "expected v4-, v5e-, v5p- or v6e-" in result.stderr
    assert not cloud.calls


@pytest.mark.parametrize(
    "form", ["HF_TOKEN=x", "--config.serve.api_key=x", "--config.serve.api_key x"]
)
def test_a_command_with_a_secret_is_refused_in_every_form(cloud, form):
    result = cloud.run("run.sh", f"jaxreason serve {form}")
    assert result.returncode == 2 and "the command holds a secret" in result.stderr
    result = cloud.run("slurm.sbatch", "--dry-run", "jaxreason", "serve", *form.split())
    assert result.returncode == 2 and "the command holds a secret" in result.stderr
    assert not cloud.calls


@pytest.mark.parametrize("form", ["VAULT_PW=x jaxreason rl", "jaxreason rl --config a:s3cret-word"])
def test_a_command_with_a_secret_that_the_settings_name_is_refused_by_name_and_by_value(
    cloud, form
):
    named = {"TPU_SECRETS": "HF_TOKEN VAULT_PW", "VAULT_PW": "s3cret-word"}
    result = cloud.run("run.sh", form, **named)
    assert result.returncode == 2 and "the command holds a secret" in result.stderr
    assert "s3cret" not in result.stderr and not cloud.calls


def test_a_dry_run_prints_just_what_is_then_run(cloud):
    printed = shlex.split(cloud.run("run.sh", "--dry-run", "echo rl", TPU_WORKDIR=HOSTILE).stdout)
    cloud.run("run.sh", "echo rl", TPU_WORKDIR=HOSTILE)
    assert cloud.calls == [printed]


@pytest.mark.parametrize(
    ("slice_name", "expected"),
    [
        ("v5p-64", "--accelerator-type=v5p-64 --runtime-version=v2-alpha-tpuv5 --node-id=name"),
        (
            "v5e-16",
            "--accelerator-type=v5litepod-16 --runtime-version=v2-alpha-tpuv5-lite --node-id=name",
        ),
        (
            "2xv6e-64",
            "--accelerator-type=v6e-64 --runtime-version=v2-alpha-tpuv6e --node-count=2 --node-prefix=name",
        ),
    ],
)
def test_create_asks_once_for_the_slice_by_cloud_tpus_own_names(cloud, slice_name, expected):
    result = cloud.run("create.sh", TPU_SLICE=slice_name)
    assert result.returncode == 0, result.stderr
    (asked,) = cloud.asked("create")
    assert f"{expected} --spot --project=project --zone=zone" in " ".join(asked)
    cloud.run("create.sh", TPU_SLICE=slice_name)
    assert len(cloud.asked("create")) == 1


def test_without_spot_and_project_neither_is_asked_for(cloud):
    cloud.run("create.sh", TPU_SPOT="no", TPU_PROJECT="")
    (asked,) = cloud.asked("create")
    assert "--spot" not in asked and not any(word.startswith("--project") for word in asked)


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_gets_the_working_directory_if_its_verb_takes_one(cloud, verb):
    result = cloud.run("run.sh", "--dry-run", f"jaxreason {verb} --config x")
    takes = {flag.name for flag in flags_of(verb)}
    if "target" not in takes:  # which would have to be given
        assert ("--workdir gs://b/run" in result.stdout) == ("workdir" in takes), result.stdout


def test_an_installation_that_was_cut_off_is_made_again(cloud):
    cloud.run("create.sh")
    cloud.run("setup.sh")
    pip = cloud.host() / ".venv" / "bin" / "pip"
    pip.unlink()  # it comes after the interpreter
    result = cloud.run("setup.sh")
    assert result.returncode == 0, result.stderr
    assert pip.exists()


def test_run_starts_the_command_on_all_hosts_of_every_slice_in_an_environment_of_its_own(cloud):
    two = {"TPU_SLICE": "2xv5p-64"}
    stale = {"MEGASCALE_COORDINATOR_ADDRESS": "10.0.0.9", "MEGASCALE_NUM_SLICES": "4"}
    assert cloud.run("create.sh", **two).returncode == 0
    assert cloud.run("setup.sh", **two).returncode == 0
    result = cloud.run("run.sh", "env; : rl", **two, **stale)
    assert result.returncode == 0, result.stderr
    for node in ("name-0", "name-1"):
        assert cloud.asked("ssh", node, "--worker=all")
        assert wait_for(lambda: (cloud.host(node) / "run.exit").exists())  # noqa: B023
        log = (cloud.host(node) / "logs" / "run.log").read_text()
        assert "JAXREASON_RUN=" in log and "exit code 0" in log
        assert "MEGASCALE" not in log  # of a slice that is gone


def test_what_still_holds_the_chips_is_ended_before_a_start(cloud):
    cloud.run("create.sh")
    cloud.run("setup.sh")
    device = cloud.folder / "dev" / "accel0"
    device.parent.mkdir()
    device.write_text("")
    (cloud.folder / "dev" / "libtpu_lockfile").write_text("")
    with open(device) as held:
        holder = subprocess.Popen(["sleep", "60"], stdin=held)
        other = subprocess.Popen(["sleep", "60"])
    try:
        result = cloud.run("run.sh", "true")
        assert result.returncode == 0, result.stderr
        assert f"ending what holds the chips: {holder.pid}" in result.stdout
        assert holder.wait(10) == -15 and other.poll() is None
        assert not (cloud.folder / "dev" / "libtpu_lockfile").exists()
    finally:
        holder.kill()
        other.kill()


def test_a_run_is_left_alone_by_the_same_command_and_by_another_one_until_it_is_stopped(cloud):
    cloud.run("create.sh")
    cloud.run("setup.sh")
    job = cloud.folder / "job"
    job.write_text(
        "#!/bin/bash\ntrap 'echo saved; exit 143' TERM\necho up\nwhile true; do sleep 0.05; done\n"
    )
    job.chmod(0o755)
    cloud.run("run.sh", str(job))
    log = cloud.host() / "logs" / "run.log"
    wait_for(lambda: log.exists() and "up" in log.read_text())
    assert "still running" in cloud.run("run.sh", str(job)).stdout
    for script, words in (("run.sh", ["echo other"]), ("setup.sh", [])):
        refused = cloud.run(script, *words)
        assert refused.returncode == 1 and "a command is running" in refused.stderr
    cloud.run("stop.sh")
    wait_for(lambda: (cloud.host() / "run.exit").exists())
    assert (cloud.host() / "run.exit").read_text() == "143\n"
    assert log.read_text().endswith("saved\nexit code 143\n")
    assert "exit code 143" in cloud.run("logs.sh", "all", "2").stdout
    assert "nothing runs" in cloud.run("stop.sh").stdout


def test_resume_asks_again_after_a_preemption_until_the_command_has_ended_well(cloud):
    command, starts = cloud.job(1, 0)
    # Looked at, set up, started; at the next look the machines go.
    cloud.fail("ssh", "ok", "ok", "ok", "preempted")
    result = cloud.run("resume.sh", command)
    assert result.returncode == 0 and "asking for it again" in result.stderr
    assert cloud.changes.count("create") == 2 and cloud.changes.count("delete") == 1
    assert starts() == 2


def test_paths_with_quotes_and_spaces_reach_the_hosts_as_they_are(cloud):
    settings = {"TPU_WORKDIR": HOSTILE, "TPU_SOURCE": "/a b/it's.git", "TPU_REVISION": "v1 '$(x)'"}
    cloud.run("create.sh")
    assert cloud.run("setup.sh", **settings).returncode == 0
    assert cloud.asked("git", "clone", "/a b/it's.git")
    assert cloud.asked("git", "fetch", "/a b/it's.git", "v1 '$(x)'")
    assert cloud.run("run.sh", "printf '%s\\n'", **settings).returncode == 0
    log = cloud.host() / "logs" / "run.log"
    wait_for(lambda: log.exists() and "exit code" in log.read_text())
    assert log.read_text().splitlines() == ["--workdir", HOSTILE, "exit code 0"]
    assert not list(cloud.folder.glob("**/stolen"))


def test_a_command_that_says_where_it_writes_gets_no_other_place(cloud):
    for command in (
        "jaxreason convert --source a --target gs://b/c",
        "jaxreason rl --workdir=gs://b/d",
    ):
        assert "gs://b/run" not in cloud.run("run.sh", "--dry-run", command).stdout


def test_each_of_several_commands_says_where_it_writes(cloud):
    both = "jaxreason sft --config x{} && jaxreason eval --config x{}"
    for places in (("", ""), (" --workdir gs://b/c", ""), ("", " --workdir=gs://b/c")):
        result = cloud.run("resume.sh", both.format(*places))
        assert result.returncode == 2 and "runs jaxreason 2 times: give each" in result.stderr
    result = cloud.run("resume.sh", "jaxreason rl --config x && jaxreason show gs://b/run")
    assert result.returncode == 2 and "give that a --workdir" in result.stderr
    assert cloud.calls == []  # nothing was rented
    whole = both.format(" --workdir gs://b/c", " --workdir=gs://b/d")
    assert whole in cloud.run("run.sh", "--dry-run", whole).stdout
    looked = cloud.run(
        "run.sh", "--dry-run", "jaxreason check --config x && jaxreason rl --config x"
    )
    assert "jaxreason rl --config x --workdir gs://b/run" in looked.stdout


def test_secrets_reach_the_hosts_in_a_file_of_their_owner_and_are_in_no_command_line(cloud):
    secret = "hf_it's a $(secret)"
    cloud.run("create.sh")
    result = cloud.run("setup.sh", HF_TOKEN=secret)
    assert result.returncode == 0, result.stderr
    (file,) = cloud.folder.glob("hosts/name/.jaxreason_secrets")
    assert os.stat(file).st_mode & 0o777 == 0o600
    started = cloud.run("run.sh", "printenv HF_TOKEN; :")
    log = cloud.host() / "logs" / "run.log"
    wait_for(lambda: log.exists() and "exit code" in log.read_text())
    assert log.read_text().splitlines()[0] == secret
    everything = json.dumps(cloud.calls) + result.stdout + result.stderr + started.stdout
    assert "secret)" not in everything
    assert len(cloud.asked("scp")) == 1


def test_the_logs_of_hosts_where_nothing_was_started_are_said_to_be_none(cloud):
    cloud.run("create.sh")
    cloud.run("setup.sh")
    result = cloud.run("logs.sh", "all")
    assert result.returncode == 0 and "no command was started here" in result.stdout
    cloud.run("run.sh", "echo first; echo second; :")
    log = cloud.host() / "logs" / "run.log"
    wait_for(lambda: log.exists() and "exit code" in log.read_text())
    assert cloud.run("logs.sh", "all", "2").stdout.splitlines()[1:] == ["second", "exit code 0"]
    result = cloud.run("logs.sh", "all", "many")
    assert result.returncode == 2 and "many: expected a number of lines" in result.stderr


def test_status_tells_what_is_rented_what_the_hosts_do_and_the_runs_own_word(cloud):
    cloud.run("create.sh")
    cloud.run("setup.sh")
    (cloud.folder / "bucket" / "status.json").write_text('{"state": "running"}\n')
    said = cloud.run("status.sh").stdout
    assert "ANOTHER  READY" in said and "status none" in said and '"state": "running"' in said


@pytest.mark.parametrize(
    ("script", "settings", "message"),
    [
        ("create.sh", {"TPU_SLICE": "h100"}, "expected v4-, v5e-, v5p- or v6e-"),
        ("create.sh", {"TPU_SLICE": "tpu7x-8"}, "rented through GKE"),
        ("create.sh", {"TPU_NAME": "it's mine"}, "expected lower-case letters"),
        ("setup.sh", NO_SOURCE, "TPU_SOURCE is not set"),
        ("run.sh", {"TPU_WORKDIR": "/tmp/run"}, "expected gs://bucket/folder"),
        ("run.sh", {"TPU_WORKDIR": "gs://your-bucket/x"}, "TPU_WORKDIR is not set"),
        ("run.sh", {"TPU_COMMAND": "HF_TOKEN=hf_x jaxreason rl"}, "the command holds a secret"),
        ("resume.sh", {"TPU_WORKDIR": "/tmp/run"}, "expected gs://bucket/folder"),
        ("resume.sh", NO_SOURCE, "TPU_SOURCE is not set"),
        ("resume.sh", {"TPU_POLL_SECONDS": "two"}, "TPU_POLL_SECONDS=two: expected a number"),
        ("create.sh", {"TPU_SPOT": "true"}, "TPU_SPOT=true: expected yes or no"),
        ("gke.sh", {"TPU_SPOT": "true"}, "TPU_SPOT=true: expected yes or no"),
        (
            "setup.sh",
            {"TPU_SECRETS": "HF_TOKEN,WANDB_API_KEY"},
            "TPU_SECRETS=HF_TOKEN,WANDB_API_KEY",
        ),
        ("gke.sh", {"TPU_IMAGE": "IMAGE"}, "TPU_IMAGE is not set"),
        ("gke.sh", {"TPU_IMAGE": "i", "TPU_SLICE": "v5p-7"}, "there is no such slice"),
        ("gke.sh", {"TPU_IMAGE": "i", "TPU_SLICE": "v5p-9"}, "there is no such slice"),
    ],
)
def test_settings_that_cannot_work_are_refused_in_one_line_before_anything_is_asked(
    cloud, script, settings, message
):
    result = cloud.run(script, **settings)
    assert result.returncode == 2 and message in result.stderr, result.stderr
    assert len(result.stderr.splitlines()) == 1 and "hf_x" not in result.stderr
    assert not cloud.calls


def test_a_revision_that_the_source_has_not_is_refused_before_anything_is_rented(cloud):
    for name in ("man", "3438d9b6", "heads/man"):
        done = cloud.run("resume.sh", "jaxreason rl", TPU_REVISION=name, CLOUD_BRANCH="main")
        assert (done.returncode, cloud.changes) == (2, [])
        assert f"TPU_REVISION={name}: https://example.org/jaxreason.git has no such" in done.stderr
    cloud.run("create.sh")
    for revision, branch in (("heads/main", "main"), ("3" * 40, "main"), ("main", "unknown")):
        done = cloud.run("setup.sh", TPU_REVISION=revision, CLOUD_BRANCH=branch)
        assert done.returncode == 0, done.stderr


def test_a_copy_of_the_settings_can_be_named(cloud):
    text = (ROOT / "tpu" / "settings.sh").read_text()
    (cloud.folder / "mine.sh").write_text(f"TPU_ZONE='of mine'\n{text}")
    said = cloud.run("create.sh", "--dry-run", TPU_SETTINGS=str(cloud.folder / "mine.sh")).stdout
    assert "'--zone=of mine'" in said


def test_a_machine_without_gcloud_is_told_so(cloud):
    (cloud.folder / "bin" / "gcloud").unlink()
    for name in ("bash", "dirname", "sed"):
        (cloud.folder / "bin" / name).symlink_to(f"/usr/bin/{name}")
    result = cloud.run("create.sh", PATH=str(cloud.folder / "bin"))
    assert result.returncode == 2 and "gcloud is needed" in result.stderr
