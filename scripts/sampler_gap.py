"""Measures the cost of a cache or weights in fewer bits: log-probs of sampled tokens against the trainer's.

    python scripts/sampler_gap.py smollm2
    python scripts/sampler_gap.py Qwen/Qwen3-0.6B --dtype bfloat16 --tokens 512

For each choice the sampler draws replies at temperature 1, and the trainer's forward pass reads them. It prints the
mean, 99th percentile and largest |Δ log p|, and the effective share: (Σw)² / (n Σw²) with w = p_trainer / p_sampler.
"""

import argparse
import functools
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from engine_sizes import engine_sizes  # noqa: E402

from jaxreason.compiling import make_products_exact  # noqa: E402
from jaxreason.data.tokenizer import load_tokenizer  # noqa: E402
from jaxreason.models.decoder import forward, head  # noqa: E402
from jaxreason.models.huggingface import ModelConfig, open_model, resolve  # noqa: E402
from jaxreason.models.logprobs import logprobs  # noqa: E402
from jaxreason.sampling.engine import Engine  # noqa: E402
from jaxreason.sampling.sampling_params import (  # noqa: E402
    Request,
    SamplingParams,
)
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

CHOICES = [
    ("auto", "auto"),
    ("bfloat16", "auto"),
    ("int8", "auto"),
    ("auto", "int8"),
    ("int8", "int8"),
]
QUESTIONS = (
    "What is 17 + 25? Explain each step.",
    "Natalia sold 48 clips in April and half as many in May. How many did she sell in both months?",
    "Why is the sky blue?",
    "Write a short story about a lighthouse keeper.",
    "List the planets of the solar system with a fact about each.",
    "Translate into French: The train leaves at half past nine.",
    "Write a Python function that reverses a list.",
    "Which is larger, 3/7 or 2/5, and how do you know?",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", help="folder or hub name of a model with a chat template")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--tokens", type=int, default=128, help="longest reply")
    parser.add_argument("--samples", type=int, default=4, help="replies to each of 8 questions")
    arguments = parser.parse_args()
    make_products_exact(arguments.dtype)
    stored = {"dtype": arguments.dtype, "param_dtype": arguments.dtype}
    layout = {"remat": "none", "attention": "blockwise", "unroll": 1}
    config = ModelConfig(arguments.path, "pretrained", {}, **stored, **layout)
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    tokenizer = load_tokenizer(str(resolve(arguments.path)))
    with jax.set_mesh(mesh):
        model, params = open_model(config, mesh)
        print("cache     weights   tokens   mean |Δ|    p99 |Δ|    max |Δ|   effective share")
        for choice in CHOICES:
            replies = sample(arguments, model, params, mesh, tokenizer, *choice)
            print("{:9} {:9}".format(*choice), measure(model, params, replies), flush=True)


def sample(arguments, model, params, mesh, tokenizer, cache_dtype: str, weight_dtype: str):
    """Returns (prompt, completion) of every reply."""
    prompts = [
        tuple(tokenizer.encode_prompt(({"role": "user", "content": question},), None))
        for question in QUESTIONS
    ]
    longest = max(map(len, prompts)) + arguments.tokens
    dtypes = {"cache_dtype": cache_dtype, "weight_dtype": weight_dtype}
    config = engine_sizes(16, longest, prefill_tokens=512, **dtypes)
    engine = Engine(
        model, params, config, mesh, tokenizer.stop_ids, tokenizer.pad_id, tokenizer.decode
    )
    requests = [Request(str(i), p, i, arguments.samples) for i, p in enumerate(prompts)]
    decoding = SamplingParams(1.0, 0, 1.0, arguments.tokens, ())
    return [(prompts[int(c.id)], c) for c in engine.generate(requests, decoding)]


def measure(model, params, replies) -> str:
    """Returns a line of the table."""
    longest = max(len(prompt) + len(reply.tokens) for prompt, reply in replies)
    read = functools.partial(trainer_logprobs, model, params, -(-longest // 64) * 64)
    delta = np.concatenate(
        [
            read(prompt + reply.tokens)[len(prompt) :] - np.array(reply.logprobs)
            for prompt, reply in replies
        ]
    )
    gap, weights = np.abs(delta), np.exp(delta)
    share = weights.sum() ** 2 / (len(weights) * (weights**2).sum())
    numbers = gap.mean(), np.quantile(gap, 0.99), gap.max()
    return f"{len(gap):6}" + "".join(f"{x:11.2g}" for x in numbers) + f"{share:18.5f}"


def trainer_logprobs(model, params, length: int, tokens: tuple[int, ...]) -> np.ndarray:
    """Returns the log-prob of each token from one forward pass without a cache."""
    padded = np.zeros((1, length), np.int32)
    padded[0, : len(tokens)] = tokens
    return np.asarray(_read(model, params, padded))[0, : len(tokens)].astype(np.float64)


@functools.partial(jax.jit, static_argnums=0)
def _read(model, params, tokens):
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    final = forward(model, params, tokens, positions).final
    return logprobs(final, head(model, params), tokens, chunk=64).logprobs


if __name__ == "__main__":
    main()
