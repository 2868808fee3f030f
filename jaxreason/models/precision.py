"""How exactly products of float32 are made."""

import jax


def make_products_exact(dtype: str) -> None:
    """For a model in float32, makes products of float32 in float32, in all of this process's programs from now on.

    Left alone, GPUs make them in TensorFloat-32 and TPUs in bfloat16: log-probs then agree to three places, not five.
    """
    if dtype == "float32":
        jax.config.update("jax_default_matmul_precision", "float32")
