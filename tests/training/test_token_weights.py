"""Token weights against their published formulas."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.training.token_weights import TOKEN_WEIGHTS, needs_top_entropy

LOGPROBS = np.log(np.array([[1.0, 0.5, 0.01], [0.9, 0.3, 1e-30]]))
TOP_ENTROPY = np.array([[0.0, 0.4, 1.0], [0.2, 0.9, 0.5]])


# (weights, relative tolerance): exp of a log-prob of -69 in float32 is the roughest.
EXPECTED = {"one": (1.0, 0), "dft": (np.exp(LOGPROBS), 1e-5), "eaft": (TOP_ENTROPY, 1e-6)}


def test_the_weights_are_one_the_probability_and_the_top_entropy():
    assert set(EXPECTED) == set(TOKEN_WEIGHTS)
    arrays = jnp.asarray(LOGPROBS, jnp.float32), jnp.asarray(TOP_ENTROPY, jnp.float32)
    for name, (expected, rtol) in EXPECTED.items():
        np.testing.assert_allclose(TOKEN_WEIGHTS[name](*arrays), expected, rtol, err_msg=name)


@pytest.mark.parametrize("name", TOKEN_WEIGHTS)
def test_no_gradient_goes_through_a_weight(name):
    arrays = jnp.asarray(LOGPROBS, jnp.float32), jnp.asarray(TOP_ENTROPY, jnp.float32)
    slopes = jax.grad(lambda a, b: jnp.sum(TOKEN_WEIGHTS[name](a, b)), (0, 1))(*arrays)
    for slope in slopes:
        np.testing.assert_array_equal(slope, 0.0)


def test_only_eaft_asks_for_top_entropies_and_does_not_go_on_without():
    assert [name for name in TOKEN_WEIGHTS if needs_top_entropy(name)] == ["eaft"]
    for name in TOKEN_WEIGHTS:
        if needs_top_entropy(name):
            with pytest.raises(AssertionError, match="top_entropy"):
                TOKEN_WEIGHTS[name](jnp.asarray(LOGPROBS), None)
        else:
            assert TOKEN_WEIGHTS[name](jnp.asarray(LOGPROBS), None).shape == LOGPROBS.shape
