"""A working directory that cannot be written: every verb says so in one message, with the path and what to do."""

import os
import subprocess
from pathlib import Path

import pytest
from program import call

ROOT = Path(__file__).parents[2]
STUDY = ("--config", str(ROOT / "tests" / "smallest_study.py"))
DISTILL = ("--config", str(ROOT / "configs" / "distill_tiny.py"))
BASE = str(ROOT / "configs" / "tiny_base")
CALLS = {
    "study": STUDY,
    "questions": ("--config", str(ROOT / "configs" / "questions_paper.py")),
    "sft": STUDY,
    "rl": STUDY,
    "distill": DISTILL,
    "eval": STUDY,
    "drift": (*STUDY, "--tuned", BASE, "--base-evaluation", "x", "--tuned-evaluation", "x"),
    "cross-sample": (*STUDY, "--config.cross_sample.benchmark=add", "--tuned", BASE),
    "transfer": ("--config", str(ROOT / "configs" / "transfer_paper.py")),
    "weights": ("--base", BASE, "--tuned", BASE),
}


@pytest.fixture(scope="module")
def unwritable(tmp_path_factory):
    """A folder that nobody may write: a read-only file system for root, whom no permission stops."""
    folder = tmp_path_factory.mktemp("disk")
    if os.geteuid():
        folder.chmod(0o555)
        yield folder, "Permission denied; give this user the right to it, or take another path"
        folder.chmod(0o755)
        return
    mounted = ["mount", "-t", "tmpfs", "-o", "ro,size=64k", "tmpfs", str(folder)]
    if subprocess.run(mounted, capture_output=True).returncode:
        pytest.skip("root without the right to mount can write everywhere")
    yield folder, "Read-only file system; take a path on a disk that can be written"
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("verb", CALLS)
def test_every_verb_refuses_a_folder_that_cannot_be_written_in_one_message(
    verb, unwritable, capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    folder, reason = unwritable
    assert call(verb, *CALLS[verb], "--workdir", str(folder / "run")) == 2
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == f"jaxreason {verb}: {folder}/run: {reason}."
    assert "Traceback" not in said
    assert not list(folder.iterdir())
