"""Layers in arrays of their own give what stacked ones give."""

import jax
import numpy as np
import pytest
from tiny_models import make_architecture, make_model, random_tokens

from jaxreason.models.decoder import forward, init_cache, init_params
from jaxreason.models.unstacked import unstack_layers, wants_unstacked
from jaxreason.sharding import MeshConfig, make_mesh


@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (1, 4, 2, 1)])
@pytest.mark.parametrize("cached", [False, True])
def test_unstacked_layers_give_the_same_outputs_as_stacked_ones(sizes, cached):
    model = make_model(make_architecture(), unroll=3)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])
    tokens = random_tokens((4, 12))
    positions = np.broadcast_to(np.arange(12, dtype=np.int32), (4, 12))
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        cache = init_cache(model, 4, 16) if cached else None
        run = jax.jit(lambda params: forward(model, params, tokens, positions, cache=cache))
        stacked, apart = run(params), run(unstack_layers(model, mesh, params))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), stacked, apart)


def test_only_models_with_all_layers_unrolled_want_it():
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    wants = [wants_unstacked(make_model(make_architecture(), unroll=n), mesh) for n in (1, 2, 3)]
    assert wants == [False, False, True]
