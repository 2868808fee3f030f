"""What all tests of `rl` share."""

import jax
import pytest


@pytest.fixture(scope="module", autouse=True)
def compile_each_program_once(tmp_path_factory):
    """Runs of one configuration compile the same programs; a cache on disk shares them."""
    changes = {
        "jax_compilation_cache_dir": str(tmp_path_factory.mktemp("programs")),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
    }
    before = {name: getattr(jax.config, name) for name in changes}
    for name, value in changes.items():
        jax.config.update(name, value)
    yield
    for name, value in before.items():
        jax.config.update(name, value)
