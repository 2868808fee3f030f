"""The feed-forward layer by blocks gives the numbers of the plain one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.layers import INITIALIZERS, swiglu, swiglu_by_blocks
from jaxreason.sharding import MeshConfig, make_mesh

WEIGHTS = {"gate": (16, 48), "up": (16, 48), "down": (48, 16)}


@pytest.fixture(scope="module")
def arrays():
    rng = np.random.default_rng(0)
    weights = {k: rng.normal(size=s).astype(np.float32) / 4 for k, s in WEIGHTS.items()}
    return rng.normal(size=(8, 5, 16)).astype(np.float32), weights


def plain(x, gate, up, down):
    return swiglu(x @ gate, x @ up) @ down


def value_and_gradients(function, x, weights):
    def loss(x, weights):
        return jnp.sum(jnp.sin(function(x, **weights)))

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1)))(x, weights)


def assert_close(found, expected):
    compare = lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)  # noqa: E731
    jax.tree.map(compare, found, expected)


def test_the_result_is_numpys(arrays):
    x, weights = arrays
    gate, up = (x.astype(np.float64) @ weights[name] for name in ("gate", "up"))
    expected = (gate / (1 + np.exp(-gate)) * up) @ weights["down"]
    np.testing.assert_allclose(swiglu_by_blocks(x, **weights), expected, rtol=1e-4, atol=1e-4)


def test_value_and_gradients_are_those_of_the_plain_layer(arrays):
    assert_close(
        value_and_gradients(swiglu_by_blocks, *arrays), value_and_gradients(plain, *arrays)
    )


def test_a_width_that_the_blocks_do_not_divide_is_done_at_once(arrays):
    x, weights = arrays
    cut = {
        "gate": weights["gate"][:, :46],
        "up": weights["up"][:, :46],
        "down": weights["down"][:46],
    }
    assert_close(value_and_gradients(swiglu_by_blocks, x, cut), value_and_gradients(plain, x, cut))


@pytest.mark.parametrize(
    "mesh", [MeshConfig(1, 8, 1, 1), MeshConfig(1, 2, 4, 1), MeshConfig(2, 2, 2, 1)]
)
def test_eight_devices_give_the_numbers_of_one(arrays, mesh):
    expected = value_and_gradients(plain, *arrays)
    with jax.set_mesh(make_mesh(mesh)):
        assert_close(value_and_gradients(swiglu_by_blocks, *arrays), expected)


def test_every_initializer_draws_what_its_name_says():
    key = jax.random.key(0)
    drawn = {name: np.asarray(make(key, (50, 40), 0.3)) for name, make in INITIALIZERS.items()}
    assert set(drawn) == {"normal", "ones", "zeros"}
    assert (drawn["ones"] == 1).all() and (drawn["zeros"] == 0).all()
    normal = drawn["normal"] / 0.3
    # means of 2,000 draws: four standard errors of the mean and of the standard deviation
    assert abs(normal.mean()) < 4 / np.sqrt(2000) and abs(normal.std() - 1) < 4 / np.sqrt(4000)
    assert {x.dtype for x in drawn.values()} == {np.dtype("float32")}
