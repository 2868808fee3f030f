"""The shell scripts for Cloud TPUs: their syntax, and what they would ask of gcloud."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SCRIPTS = sorted((ROOT / "tpu").glob("*.sh"))

# A cloud in one file: a request is ACTIVE once made, and a run is complete once it has been started.
GCLOUD = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
state="$CALLS.state"
case "$*" in
  *describe*) [ -f "$state" ] && cat "$state" || exit 1 ;;
  *queued-resources*create*) echo ACTIVE > "$state" ;;
  *queued-resources*delete*) rm "$state" ;;
  *nohup*) touch "$CALLS.started" ;;
  storage*) [ -f "$CALLS.started" ] || exit 1 ;;
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
    result, calls = run(
        "run.sh", tmp_path, "jaxreason rl", TPU_SLICE="2xv5p-64", TPU_WORKDIR="gs://b/run"
    )
    assert result.returncode == 0, result.stderr
    text = "\n".join(calls)
    for node in ("name-0", "name-1"):
        assert f"compute tpus tpu-vm ssh {node} --worker=all" in text
    assert text.count("jaxreason rl --workdir gs://b/run") == 2


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


def test_resume_asks_again_after_a_preemption_until_the_run_is_complete(tmp_path):
    (tmp_path / "calls.state").write_text("SUSPENDED\n")
    settings = {"TPU_WORKDIR": "gs://b/run", "TPU_POLL_SECONDS": "0", "TPU_SLICE": "v5p-8"}
    result, calls = run("resume.sh", tmp_path, "jaxreason rl", **settings)
    assert result.returncode == 0 and "is complete" in result.stdout, result.stderr
    kinds = ("delete name", "create name", "git clone", "nohup", "storage ls gs://b/run/done.json")
    text = "\n".join(calls)
    places = [text.rindex(kind) for kind in kinds]
    assert places == sorted(places) and text.count("create name") == 1
