"""What a run does before its work: where it keeps compiled programs."""

import jax
import pytest
from etils import epath

from jaxreason.verbs.call import cache_folder, enable_compilation_cache

SECONDS = "jax_persistent_cache_min_compile_time_secs"


def test_hosts_without_a_common_disk_keep_their_programs_on_the_bucket_of_the_run(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/home/someone/cache")
    own = "/home/someone/cache/jaxreason/jax"
    bucket, disk = epath.Path("gs://bucket/runs/sft"), epath.Path("/runs/sft")
    assert cache_folder(bucket, 16) == "gs://bucket/runs/sft/programs"
    assert cache_folder(bucket, 1) == cache_folder(disk, 16) == cache_folder(None, 16) == own


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
