"""Compiles programs before they are called, several at the same time: XLA compiles in threads without Python's lock.

No more than one for each core of the host compile at a time. More would take as long, and memory for each.

The result of `f.lower(*abstract).compile()` stays in JAX's own caches. A later call of `f` takes it from there without
tracing or compiling, if shapes, dtypes, shardings and the current mesh are the same. Otherwise it compiles as usual.
"""

import os
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from jax.sharding import Mesh

from jaxreason.errors import check_running
from jaxreason.memory import check_room

# A jitted function and abstract arguments. Arguments that a call passes as host arrays have no sharding.
ProgramCall = tuple[Any, tuple[Any, ...]]


class Compiling:
    """Compiles programs in the background; it starts when the object is made.

    Python traces one at a time, in the given order. The first one should be the largest, so that the compiler gets it
    as early as possible. Several processes lower in the same order, and none waits for another.

    Args:
      mesh: the mesh that is set when the programs are called.
      calls: the programs by name.
    """

    def __init__(self, mesh: Mesh, calls: Mapping[str, ProgramCall]):
        self._mesh = mesh
        self._tracer = ThreadPoolExecutor(1, "tracing")
        self._compilers = ThreadPoolExecutor(os.cpu_count() or 1, "compiling")
        self._begun: dict[str, Future] = {}
        self.begin(calls)

    def begin(self, calls: Mapping[str, ProgramCall]) -> None:
        """Compiles more programs, after those that were begun before."""
        for name, call in calls.items():
            self._begun[name] = self._tracer.submit(self._lower, *call)

    def wait(self, *names: str) -> None:
        """Waits until these programs are compiled; all of them if none is named.

        Raises:
          Exception: the error of compiling one of them, for example that it does not fit into memory.
          MemoryError: the host's memory cannot hold what a run of one of them takes beside its arguments.
        """
        for name in names or self._begun:
            if name in self._begun:
                compiled = self._begun[name].result().result()
                needed = beside_arguments(compiled.memory_analysis())
                check_room(needed * len(self._mesh.local_devices), f'the program "{name}"')

    def _lower(self, function: Any, args: tuple[Any, ...]) -> Future:
        check_running("compiling")
        with jax.set_mesh(self._mesh):
            lowered = function.lower(*args)
        return self._compilers.submit(self._compile, lowered)

    def _compile(self, lowered: Any) -> Any:
        with jax.set_mesh(self._mesh):
            return lowered.compile()


def beside_arguments(stats: Any) -> int:
    """Returns the bytes on a device that a run of a program takes beside its arguments; 0 if the compiler told none.

    On GPUs and CPUs, XLA allocates all temporary memory and all results at the start of a run.
    """
    if stats is None:
        return 0
    return stats.temp_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes


def make_products_exact(dtype: str) -> None:
    """If the model is in float32, makes this process compute float32 products in full float32 from now on.

    By default GPUs compute them in TensorFloat-32 and TPUs in bfloat16. Log-probs then agree to three digits, not five.
    """
    if dtype == "float32":
        jax.config.update("jax_default_matmul_precision", "float32")
