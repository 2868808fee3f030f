"""How much of prefill is padding on a load like that of chats, counted by the engine itself (no GPU or weights needed).

    python scripts/prefill_padding.py
    python scripts/prefill_padding.py --tokens 1024 2048 4096 --blocks 16 32 64

Requests are all there at the start; prompts and replies have lognormal lengths with the given means. The model is
random and tiny: the engine's scheduling does not depend on what it says, since every reply ends at its own length.
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import numpy as np  # noqa: E402

from configs import sections  # noqa: E402
from jaxreason.config import parse  # noqa: E402
from jaxreason.models.decoder import Architecture, Model, init_params  # noqa: E402
from jaxreason.sampling.decoding import Decoding  # noqa: E402
from jaxreason.sampling.engine import Engine, Request, SamplerConfig, Stats  # noqa: E402
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

VOCAB, SPREAD = 64, 0.8  # SPREAD: of the logarithm of lengths


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=1000)
    parser.add_argument("--prompt", type=float, default=160, help="mean length")
    parser.add_argument("--reply", type=float, default=197, help="mean length")
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--max-length", type=int, default=2048)
    default = sections.sampler(1, 2)
    parser.add_argument("--tokens", type=int, nargs="+", default=[default.prefill_tokens])
    parser.add_argument("--blocks", type=int, nargs="+", default=[default.prefill_block])
    arguments = parser.parse_args()
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        for tokens in arguments.tokens:
            for block in arguments.blocks:
                print(shown(tokens, block, serve(arguments, mesh, tokens, block)), flush=True)


def serve(arguments, mesh, tokens: int, block: int) -> Stats:
    """What the engine has counted when all requests are served."""
    sizes = {"prefill_tokens": tokens, "prefill_block": block}
    section = sections.sampler(arguments.slots, arguments.max_length, **sizes)
    config = parse(SamplerConfig, section, "sampler")
    model = tiny_model(arguments.max_length)
    params = init_params(model, jax.random.key(0), mesh)
    engine = Engine(model, params, config, mesh, (), 0, str)
    for _ in engine.generate(requests(arguments), Decoding(1.0, 0, 1.0, 1, ())):
        pass
    return engine.stats


def tiny_model(longest: int) -> Model:
    sizes = {"vocab_size": VOCAB, "hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
    heads = {"num_attention_heads": 1, "num_key_value_heads": 1, "head_dim": 4}
    rope = {"rope_theta": 1e4, "rope_scaling": None, "max_position_embeddings": longest}
    flags = ("attention_bias", "attention_output_bias", "qk_norm")
    others = {"model_type": "qwen3", "rms_norm_eps": 1e-6, "tie_word_embeddings": True}
    others |= {"sliding_window": None, "initializer_range": 0.02, **dict.fromkeys(flags, False)}
    architecture = Architecture(**sizes, **heads, **rope, **others)
    return Model(architecture, "float32", "float32", "none", "plain", 1)


def requests(arguments) -> list[Request]:
    rng, number = np.random.default_rng(0), arguments.requests
    prompts, replies = (
        np.clip(lognormal(rng, mean, number), 1, arguments.max_length // 2 - 1)
        for mean in (arguments.prompt, arguments.reply)
    )
    return [
        Request(
            str(i), tuple(rng.integers(0, VOCAB, n).tolist()), i, 1, Decoding(1.0, 0, 1.0, m, ())
        )
        for i, (n, m) in enumerate(zip(prompts.tolist(), replies.tolist(), strict=True))
    ]


def lognormal(rng: np.random.Generator, mean: float, number: int) -> np.ndarray:
    return rng.lognormal(np.log(mean) - SPREAD**2 / 2, SPREAD, number).round().astype(int)


def shown(tokens: int, block: int, stats: Stats) -> str:
    ratio = stats.padded_tokens / stats.prefilled_tokens
    return (
        f"{tokens} tokens in blocks of {block}: {stats.prefilled_tokens:,} prompt tokens, "
        f"{stats.padded_tokens:,} with padding ({ratio:.3f}), {stats.prefill_dispatches} prefill and "
        f"{stats.decode_dispatches} decode dispatches"
    )


if __name__ == "__main__":
    main()
