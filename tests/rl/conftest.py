"""What all tests of `rl` share."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def compile_each_program_once():
    """Runs of one configuration compile the same programs; the cache on disk has the small ones too."""
    name = "jax_persistent_cache_min_compile_time_secs"
    before = getattr(jax.config, name)
    jax.config.update(name, 0.0)
    yield
    jax.config.update(name, before)
