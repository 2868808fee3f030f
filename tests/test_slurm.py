"""tpu/slurm.sbatch: what it has srun do, and what becomes of the job when that ends."""

import shlex

import pytest
from cloud import ROOT, Cloud

from jaxreason.runtime import ending

WORDS = ["jaxreason", "study", "--config", "a b.py", "--workdir", '/runs/it\'s "$(touch stolen)"']


@pytest.fixture
def cloud(tmp_path):
    made = Cloud(tmp_path)
    made.settings |= {"SLURM_SUBMIT_DIR": str(tmp_path), "SLURM_JOB_ID": "17"}
    (tmp_path / "bin" / "jaxreason").write_text("#!/bin/sh\n")
    (tmp_path / "bin" / "jaxreason").chmod(0o755)
    return made


def test_the_command_runs_once_a_node_with_its_words_as_they_are(cloud):
    printed = cloud.run("slurm.sbatch", "--dry-run", *WORDS)
    assert printed.returncode == 0 and not cloud.calls
    assert cloud.run("slurm.sbatch", *WORDS).returncode == 0
    expected = ["srun", "--kill-on-bad-exit=0", "--wait=600", "--ntasks-per-node=1", *WORDS]
    assert cloud.calls == [expected]
    assert shlex.split(printed.stdout)[2:] == expected
    assert not list(cloud.folder.glob("**/stolen"))


@pytest.mark.parametrize(
    ("code", "crashes", "requeued", "ends"),
    [
        (143, 99, True, 0),  # the time limit or a preemption: it has saved
        (1, 9, True, 0),
        (1, 10, False, 1),
        (2, 0, False, 2),  # the recipe is refused
    ],
)
def test_a_job_goes_back_into_the_queue_where_that_may_help(cloud, code, crashes, requeued, ends):
    (cloud.folder / "jaxreason-17.crashes").write_text("1\n" * crashes)
    cloud.fail("srun", f"{code} slurmstepd: error")
    result = cloud.run("slurm.sbatch", *WORDS, SLURM_RESTART_COUNT="50")
    assert result.returncode == ends
    assert (["scontrol", "requeue", "17"] in cloud.calls) == requeued
    assert result.stderr.splitlines()[-1].startswith("slurm.sbatch: ")


def test_a_crash_after_many_time_limits_is_the_first_one(cloud):
    cloud.fail("srun", *(f"{code} slurmstepd: error" for code in [143] * 12 + [1, 1, 1]))
    for count in range(15):
        settings = {"SLURM_RESTART_COUNT": str(count), "JAXREASON_RESTARTS": "2"}
        result = cloud.run("slurm.sbatch", *WORDS, **settings)
        assert result.returncode == (1 if count == 14 else 0), result.stderr
    assert "crash number 3; the job ends" in result.stderr
    assert len(cloud.asked("scontrol", "requeue")) == 14


def test_srun_gives_the_tasks_the_time_to_end_together_with_one_code(cloud):
    words = shlex.split(cloud.run("slurm.sbatch", "--dry-run", *WORDS).stdout)
    wait = next(int(word.removeprefix("--wait=")) for word in words if "--wait=" in word)
    assert "--kill-on-bad-exit=0" in words
    assert wait > ending.STOP_GRACE_S + ending.LAST_S


def test_secrets_come_from_a_file_or_the_environment_and_not_from_the_command(cloud):
    refused = cloud.run("slurm.sbatch", "HF_TOKEN=hf_x", "jaxreason", "rl")
    assert refused.returncode == 2 and "hf_x" not in refused.stderr and not cloud.calls
    (cloud.folder / "secrets").write_text("HF_TOKEN='hf x'\n")
    (cloud.folder / "bin" / "srun").write_text('#!/bin/sh\necho "got $HF_TOKEN"\n')
    got = cloud.run("slurm.sbatch", *WORDS, JAXREASON_SECRETS=str(cloud.folder / "secrets"))
    assert got.stdout == "got hf x\n"


def test_what_is_missing_is_said_in_one_line(cloud):
    assert (
        cloud.run("slurm.sbatch").stderr == "slurm.sbatch: expected a command: jaxreason VERB …\n"
    )
    (cloud.folder / "bin" / "jaxreason").unlink()
    result = cloud.run("slurm.sbatch", *WORDS, PATH=f"{cloud.folder}/bin:/usr/bin:/bin")
    assert result.returncode == 2 and "has no jaxreason" in result.stderr and not cloud.calls


def test_the_job_is_told_in_time_and_may_be_started_again():
    lines = (ROOT / "tpu" / "slurm.sbatch").read_text().splitlines()
    options = [line.removeprefix("#SBATCH ") for line in lines if line.startswith("#SBATCH")]
    # To the tasks and not to the script, which would end before they have saved.
    assert "--signal=TERM@300" in options and "--requeue" in options
    assert "--ntasks-per-node=1" in options and "--open-mode=append" in options
    first = next(n for n, line in enumerate(lines) if line and not line.startswith("#"))
    assert not any(line.startswith("#SBATCH") for line in lines[first:])  # Slurm reads no further
