"""What a run does before its work: it looks for devices, and chooses where it keeps compiled programs."""

import os
import subprocess
import sys

import jax
import pytest
from etils import epath

from jaxreason.results import checksums
from jaxreason.verbs.device_setup import cache_folder, enable_compilation_cache

SECONDS = "jax_persistent_cache_min_compile_time_secs"


def test_hosts_without_a_common_disk_keep_their_programs_on_the_bucket_of_the_run(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/someone/cache")
    own = "/home/someone/cache/jaxreason/jax"
    bucket, disk = epath.Path("gs://bucket/runs/sft"), epath.Path("/runs/sft")
    assert cache_folder(bucket, 16) == "gs://bucket/runs/sft/programs"
    assert cache_folder(bucket, 1) == cache_folder(disk, 16) == cache_folder(None, 16) == own


def test_an_empty_cache_variable_is_as_none(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", "/home/someone")
    assert cache_folder(None, 1) == "/home/someone/.cache/jaxreason/jax"


def nobody(path):
    """What Python makes of `~` for a user without HOME and without an entry in the list of users."""
    return path


@pytest.mark.parametrize("home", [True, False])
def test_without_a_cache_that_can_be_written_programs_are_not_kept_and_files_are_hashed(
    tmp_path, monkeypatch, caplog, home
):
    monkeypatch.delenv("JAXREASON_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file") if home else "")
    (tmp_path / "file").write_text("in the way")
    if not home:
        monkeypatch.setattr("os.path.expanduser", nobody)
    caplog.set_level("INFO", "jaxreason")
    before = jax.config.jax_compilation_cache_dir
    try:
        jax.config.update("jax_compilation_cache_dir", None)
        enable_compilation_cache()
        assert jax.config.jax_compilation_cache_dir is None
    finally:
        jax.config.update("jax_compilation_cache_dir", before)
    why = "Not a directory" if home else "this user has no home"
    assert (
        "compiled programs are not kept for the next start:" in caplog.text and why in caplog.text
    )
    assert checksums.hash_once(tmp_path / "file")["bytes"] == len("in the way")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file"]


@pytest.mark.parametrize(("variable", "seconds"), [(None, 0.5), ("0.25", 0.25)])
def test_half_a_second_of_compiling_keeps_a_program_unless_the_user_says_otherwise(
    monkeypatch, variable, seconds
):
    monkeypatch.delenv(SECONDS.upper(), raising=False)
    if variable is not None:
        monkeypatch.setenv(SECONDS.upper(), variable)
    before = getattr(jax.config, SECONDS)
    try:
        jax.config.update(SECONDS, 0.25)  # What JAX has read from the variable.
        enable_compilation_cache()
        assert getattr(jax.config, SECONDS) == seconds
    finally:
        jax.config.update(SECONDS, before)


NO_GPU = pytest.param(
    "cuda", marks=pytest.mark.skipif(os.path.exists("/dev/nvidiactl"), reason="there is a GPU")
)


@pytest.mark.parametrize("platforms", ["nonsense", "cpu,nonsense", NO_GPU])
def test_platforms_that_are_not_here_are_one_message_and_no_fault_of_ours(platforms):
    environment = os.environ | {"JAX_PLATFORMS": platforms}
    words = "init --model none --data none --target none", "weights --workdir none"
    init, weights = (
        subprocess.run(
            [sys.executable, "-m", "jaxreason", *line.split()],
            env=environment,
            capture_output=True,
            text=True,
        )
        for line in words
    )
    assert init.returncode == 2 and init.stderr.startswith("jaxreason init: none: ")  # needs none
    assert weights.returncode == 2 and weights.stderr.count("\n") == 1
    assert weights.stderr.startswith(
        f"jaxreason weights: JAX_PLATFORMS={platforms}: expected platforms of this machine"
    )
    assert weights.stderr.endswith("set JAX_PLATFORMS=cpu.\n")
