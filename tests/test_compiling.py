"""Programs that are compiled ahead: the ones that run, once, side by side, and errors reach whoever waits."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compilations

from jaxreason.compiling import Compiling
from jaxreason.sharding import MeshConfig, make_mesh, place_rows


@pytest.fixture
def mesh():
    mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2, context=1))
    with jax.set_mesh(mesh):
        yield mesh


def test_what_was_compiled_ahead_is_what_runs(mesh):
    double, add = jax.jit(lambda x: x * 2), jax.jit(lambda x, y: x + y, donate_argnums=0)
    x = place_rows(mesh, np.arange(8, dtype=np.float32))
    shape = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    number = jax.ShapeDtypeStruct((), np.int32)
    with compilations() as found:
        Compiling(mesh, {"double": (double, (shape,)), "add": (add, (shape, number))}).wait()
        assert [one.ahead for one in found] == [True, True]
        y = add(double(x), np.int32(3))
        assert len(found) == 2  # the calls have compiled nothing
        double(np.arange(8, dtype=np.float32))  # lies elsewhere
        assert len(found) == 3
    np.testing.assert_array_equal(y, np.arange(8) * 2 + 3)


def test_the_compiler_has_all_programs_before_it_has_finished_one(mesh):
    """Each waits, in the compiler's place, until the other has been handed over as well."""

    class Lowered:
        def __init__(self, meeting):
            self.compile = lambda: self if meeting.wait(timeout=60) >= 0 else None

        def memory_analysis(self):
            return None

    class Function:
        def __init__(self, meeting):
            self.lower = lambda: Lowered(meeting)

    meeting = threading.Barrier(2)
    Compiling(mesh, {name: (Function(meeting), ()) for name in "ab"}).wait()
    assert not meeting.broken


def test_an_error_reaches_who_waits_for_that_program_and_for_all(mesh):
    @jax.jit
    def wrong(x):
        raise FloatingPointError("traced wrongly")

    shape = jax.ShapeDtypeStruct((2,), jnp.float32)
    compiling = Compiling(mesh, {"right": (jax.jit(jnp.sin), (shape,)), "wrong": (wrong, (shape,))})
    compiling.wait("right")
    compiling.wait("no such program")
    for names in [("wrong",), ()]:
        with pytest.raises(FloatingPointError, match="traced wrongly"):
            compiling.wait(*names)
