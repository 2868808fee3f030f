"""The training step: compiled before the first call, and not again."""

import jax
from compilations import compilations
from tiny_sft import make_recipe, train

from jaxreason.sharding import MeshConfig


def test_the_step_is_compiled_once_and_ahead_on_several_devices(tmp_path):
    recipe = make_recipe(tmp_path, epochs=1.0, kl_coefficient=0.1)
    jax.clear_caches()
    with compilations() as found:
        train(recipe, tmp_path / "run", MeshConfig(data=1, fsdp=2, tensor=1, context=2))
    assert [one.ahead for one in found if one.name == "jit(step)"] == [True]
