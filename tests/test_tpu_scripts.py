"""The shell scripts for Cloud TPUs: their syntax, and what they would ask of gcloud."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "tpu").glob("*.sh"))

# A cloud in one file: a request is ACTIVE once made, and its one host is a folder where commands really run. A new
# slice has a new host; installing makes its folder and no more.
GCLOUD = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
state="$CALLS.state"
case "$*" in
  *describe*) [ -f "$state" ] && cat "$state" || exit 1 ;;
  *queued-resources*create*) echo ACTIVE > "$state" ;;
  *queued-resources*delete*) rm -rf "$state" "$CALLS.host" ;;
  *"git clone"*) mkdir -p "$CALLS.host/jaxreason" ;;
  *"tpu-vm ssh"*)
    mkdir -p "$CALLS.host"
    cd "$CALLS.host" || exit 1
    for argument in "$@"; do
      case "$argument" in --command=*) bash -c "${argument#--command=}" || exit ;; esac
    done
    ;;
esac
"""


def run(script, tmp_path, *arguments, **environment):
    fake = tmp_path / "gcloud"
    fake.write_text(GCLOUD)
    fake.chmod(0o755)
    settings = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "CALLS": str(tmp_path / "calls"),
        "TPU_PROJECT": "project",
        "TPU_ZONE": "zone",
        "TPU_NAME": "name",
    }
    result = subprocess.run(
        ["bash", ROOT / "tpu" / script, *arguments],
        env=settings | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    calls = tmp_path / "calls"
    return result, calls.read_text().splitlines() if calls.exists() else []


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_a_script_is_valid_shell(script):
    subprocess.run(["bash", "-n", script], check=True)
    if shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-x", "-P", script.parent, script], check=True)


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
def test_create_asks_once_for_the_slice_by_cloud_tpus_own_names(tmp_path, slice_name, expected):
    result, calls = run("create.sh", tmp_path, TPU_SLICE=slice_name)
    assert result.returncode == 0, result.stderr
    asked = [call for call in calls if "create" in call]
    assert len(asked) == 1 and expected in asked[0] and "--spot" in asked[0]
    assert asked[0].endswith("--project=project --zone=zone")
    _, calls = run("create.sh", tmp_path, TPU_SLICE=slice_name)
    assert len([call for call in calls if "create" in call]) == 1


def test_run_starts_the_command_on_all_hosts_of_every_slice(tmp_path):
    (tmp_path / "calls.host" / "jaxreason").mkdir(parents=True)
    settings = {"TPU_SLICE": "2xv5p-64", "TPU_WORKDIR": "gs://b/run"}
    result, calls = run("run.sh", tmp_path, "echo rl", **settings)
    assert result.returncode == 0, result.stderr
    text = "\n".join(calls)
    for node in ("name-0", "name-1"):
        assert f"compute tpus tpu-vm ssh {node} --worker=all" in text
    assert text.count("echo rl --workdir gs://b/run") == 2


@pytest.mark.parametrize(
    ("script", "settings", "message"),
    [
        ("create.sh", {"TPU_SLICE": "h100"}, "expected v4-, v5e-, v5p- or v6e-"),
        ("create.sh", {"TPU_SLICE": "tpu7x-8"}, "rented through GKE"),
        ("run.sh", {"TPU_WORKDIR": "/tmp/run"}, "expected gs://bucket/folder"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_anything_is_asked(
    tmp_path, script, settings, message
):
    result, calls = run(script, tmp_path, **settings)
    assert result.returncode == 2 and message in result.stderr
    assert not any("create" in call or "ssh" in call for call in calls)


RESUME = {"TPU_WORKDIR": "gs://b/run", "TPU_POLL_SECONDS": "0.2", "TPU_SLICE": "v5p-8"}


def job(tmp_path, *codes):
    """A command that ends with these codes, one a start, the last again and again; and how often it was started."""
    starts = tmp_path / "starts"
    path = tmp_path / "job"
    path.write_text(
        f"""#!/usr/bin/env bash
echo start >> {starts}
sleep 0.3
codes=({" ".join(map(str, codes))} {codes[-1]} {codes[-1]})
exit "${{codes[$(wc -l < {starts}) - 1]}}"
"""
    )
    path.chmod(0o755)
    return str(path), lambda: starts.read_text().count("start") if starts.exists() else 0


def test_resume_asks_again_after_a_preemption_until_the_command_has_ended_well(tmp_path):
    (tmp_path / "calls.state").write_text("SUSPENDED\n")
    command, starts = job(tmp_path, 0)
    result, calls = run("resume.sh", tmp_path, command, **RESUME)
    assert result.returncode == 0 and "is complete" in result.stdout, result.stderr
    text = "\n".join(calls)
    places = [text.rindex(kind) for kind in ("delete name", "create name", "git clone", "nohup")]
    assert places == sorted(places) and text.count("create name") == 1
    assert starts() == 1


def test_resume_starts_a_command_that_failed_again_and_leaves_one_that_runs_alone(tmp_path):
    command, starts = job(tmp_path, 1, 143, 0)
    result, calls = run("resume.sh", tmp_path, command, **RESUME)
    assert result.returncode == 0, result.stderr
    assert starts() == 3
    assert "\n".join(calls).count("nohup") == 3  # installed and started only when nothing ran


def test_resume_ends_when_the_recipe_is_refused(tmp_path):
    command, starts = job(tmp_path, 2)
    result, _ = run("resume.sh", tmp_path, command, **RESUME)
    assert result.returncode == 2 and "refused" in result.stderr
    assert starts() == 1


def test_resume_does_not_take_the_end_of_another_command_for_that_of_this_one(tmp_path):
    run("resume.sh", tmp_path, job(tmp_path, 0)[0], **RESUME)
    (tmp_path / "second").mkdir()
    command, starts = job(tmp_path / "second", 1, 0)
    result, _ = run("resume.sh", tmp_path, command, **RESUME)
    assert result.returncode == 0, result.stderr
    assert starts() == 2
