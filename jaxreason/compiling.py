"""Programs compiled before they are called, side by side: XLA does so on threads, without Python's lock.

What `f.lower(*abstract).compile()` makes stays in JAX's own caches. A call of `f` takes it from there, without tracing
or compiling anything, if shapes, dtypes, shardings and the mesh that is set are the same; else it compiles as ever.
"""

import threading
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import jax
from jax.sharding import Mesh

# A jitted function and abstract arguments; those that a call gives as host arrays have no sharding.
ProgramCall = tuple[Any, tuple[Any, ...]]


class Compiling:
    """Compiles programs in the background, from when it is made.

    Python traces one at a time, in the order given, so that the first, which should be the largest, is with the
    compiler as early as can be. Several processes lower in the same order, and none waits for another one.

    Args:
      mesh: the one that is set where the programs are called.
      calls: the programs by name.
    """

    def __init__(self, mesh: Mesh, calls: Mapping[str, ProgramCall]):
        self._mesh = mesh
        self._compilers = ThreadPoolExecutor(max(len(calls), 1), "compiling")
        tracer = ThreadPoolExecutor(1, "tracing")
        self._begun = {name: tracer.submit(self._lower, *call) for name, call in calls.items()}
        tracer.shutdown(wait=False)

    def wait(self, *names: str) -> None:
        """Until these programs are compiled; all of them if none is named.

        Raises:
          what compiling one of them did, such as that it does not fit into memory.
        """
        for name in names or self._begun:
            if name in self._begun:
                self._begun[name].result().result()

    def _lower(self, function: Any, args: tuple[Any, ...]) -> Future:
        if not threading.main_thread().is_alive():  # the program ends
            raise RuntimeError("the program ended before its programs were compiled")
        with jax.set_mesh(self._mesh):
            lowered = function.lower(*args)
        return self._compilers.submit(self._compile, lowered)

    def _compile(self, lowered: Any) -> Any:
        with jax.set_mesh(self._mesh):
            return lowered.compile()


def make_products_exact(dtype: str) -> None:
    """Makes this process compute float32 products in full float32 from now on, if the model is in float32.

    Left alone, GPUs make them in TensorFloat-32 and TPUs in bfloat16: log-probs then agree to three places, not five.
    """
    if dtype == "float32":
        jax.config.update("jax_default_matmul_precision", "float32")
