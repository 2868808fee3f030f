"""The peak of a compiled program: temporary memory counts."""

import jax
import jax.numpy as jnp

from jaxreason.plan.program_costs import peak_bytes


def test_the_peak_has_room_for_all_that_a_backward_pass_must_keep():
    def last(x):
        step = lambda carry, _: (jnp.tanh(carry @ x), None)  # noqa: E731
        return jax.lax.scan(step, x, None, length=8)[0].sum()

    shape = jax.ShapeDtypeStruct((256, 256), jnp.float32)
    compiled = jax.jit(jax.grad(last)).lower(shape).compile()
    one = 256 * 256 * 4
    # what was given, the gradient, and the state before each step
    assert peak_bytes(compiled, "cpu") >= (2 + 8) * one
