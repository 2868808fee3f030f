"""Walking through the layers of models side by side gives what each one's whole forward pass gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_models import make_architecture, make_model, random_params, random_tokens

from jaxreason.models.decoder import abstract_params, forward
from jaxreason.models.lockstep import walk

MODEL = make_model(make_architecture())


def rows():
    tokens = random_tokens((2, 12))
    segments = np.ones((2, 12), np.int32)
    segments[1, 7:] = 0
    return tokens, segments


def params(seed):
    return random_params(abstract_params(MODEL), seed)


def whole(seed):
    tokens, segments = rows()
    positions = jnp.broadcast_to(jnp.arange(12), tokens.shape)
    return forward(MODEL, params(seed), tokens, positions, segments)


def test_each_layer_of_two_models_is_seen_as_the_whole_pass_has_it():
    both = jax.jit(lambda *p: walk([MODEL] * 2, p, *rows(), lambda x, y: {"sum": x + y, "own": x}))
    found = both(params(0), params(1))
    one, other = whole(0), whole(1)
    np.testing.assert_allclose(found.reduced["own"], one.hidden, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(
        found.reduced["sum"], one.hidden + other.hidden, rtol=1e-5, atol=1e-5
    )
    for final, expected in zip(found.finals, (one, other), strict=True):
        np.testing.assert_allclose(final, expected.final, rtol=1e-5, atol=1e-5)


def test_the_layers_that_are_kept_are_those_that_were_asked_for_in_that_order():
    asked = (3, 0, 2)
    found = jax.jit(lambda p: walk([MODEL], [p], *rows(), lambda x: (), keep=asked))(params(0))
    expected = whole(0).hidden[np.array(asked)]
    np.testing.assert_allclose(found.kept[0], expected, rtol=1e-5, atol=1e-5)


def test_no_array_of_all_layers_is_made():
    """[L+1, B, T, D] would be most of the memory of a long text: it is reduced layer by layer."""
    reduce = lambda x, y: jnp.sum(x * y, axis=(1, 2))  # noqa: E731
    traced = jax.jit(lambda *p: walk([MODEL] * 2, p, *rows(), reduce)).trace(params(0), params(1))
    tokens, _ = rows()
    all_layers = tokens.size * MODEL.architecture.hidden_size * 3  # blocks alone
    largest = max(
        (v.aval.size for eqn in traced.jaxpr.eqns for v in eqn.outvars if v.aval.ndim == 4),
        default=0,
    )
    assert largest < all_layers


def test_models_of_other_depths_are_no_pair():
    other = make_model(make_architecture(num_hidden_layers=2))
    with pytest.raises(AssertionError, match="side by side"):
        walk([MODEL, other], [params(0)] * 2, *rows(), lambda x, y: ())
