"""Products of float32 are asked for in float32, where a model is."""

import jax
import jax.numpy as jnp
import pytest

from jaxreason.compiling import make_products_exact


@pytest.fixture(autouse=True)
def precision_as_jax_has_it():
    """Tests that ran a verb in this process may have left theirs."""
    before = jax.config.jax_default_matmul_precision
    jax.config.update("jax_default_matmul_precision", None)
    yield
    jax.config.update("jax_default_matmul_precision", before)


@pytest.mark.parametrize(("dtype", "asked"), [("float32", True), ("bfloat16", False)])
def test_the_precision_of_products_goes_by_the_models_dtype(dtype, asked):
    make_products_exact(dtype)
    product = jax.make_jaxpr(lambda a: a @ a)(jnp.ones((2, 2))).eqns[0]
    assert product.primitive.name == "dot_general"
    found = product.params["precision"]
    assert found == ((jax.lax.Precision.HIGHEST,) * 2 if asked else None)
