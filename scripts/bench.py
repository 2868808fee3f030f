"""Times our training step, prefill and generation beside Hugging Face transformers + torch, on the same random weights.

    python scripts/bench.py train
    python scripts/bench.py prefill --rows 4 --length 512
    python scripts/bench.py prompts --rows 8 --length 512           # the engine's prefill beside a forward pass of ours
    python scripts/bench.py sampler --rows 16 --length 32 --new-tokens 128 --slots 16 --batches 16
    python scripts/bench.py sampler --rows 128 --length 32 --shortest 16 --new-tokens 1024 --slots 32,64 --batches 16,32
    python scripts/bench.py train --size 0.6b --dtype bfloat16 --attention cudnn --compiled   # for a GPU
    python scripts/bench.py update --size 1.7b --dtype bfloat16 --attention cudnn    # RL's update beside SFT's step
    python scripts/bench.py load --kind chat --requests 1000     # a server's load, without a peer: see bench_load.py

`sampler` asks for `rows` greedy replies of `new-tokens` tokens, or of lengths from `shortest` on whose logarithm is
uniform. Each side uses the fastest of the given numbers of slots or batches. Transformers runs a batch as long as its
longest reply.

Both sides take turns in one process, so that a slow minute of the machine affects both. Medians and ranges of tokens
per second are printed, and their ratio. Training in bfloat16 keeps weights, gradients and moments in
float32 on both sides. Needs torch; sizes of Qwen3 need an accelerator.
"""

import argparse
import itertools
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time
from typing import get_args

# Torch's threads must not spin while it is our turn.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # Both sides share a GPU's memory.
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from jaxreason.host_memory import keep_freed_memory  # noqa: E402

keep_freed_memory()  # As in a run of ours; torch profits too.

import bench_load  # noqa: E402
import bench_update  # noqa: E402
import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402
from bench_peer import (  # noqa: E402
    SMALL,
    peer_prefill,
    peer_replies,
    peer_step,
    settings,
    torch_model,
)
from engine_sizes import engine_sizes  # noqa: E402
from machine import described, machine  # noqa: E402

from configs import qwen3  # noqa: E402
from jaxreason.models.decoder import abstract_params, forward, output_logits  # noqa: E402
from jaxreason.models.hf_config import architecture_from_hf  # noqa: E402
from jaxreason.models.huggingface import ModelConfig, make_model, open_model  # noqa: E402
from jaxreason.models.model_flops import causal_attention, weight_products  # noqa: E402
from jaxreason.models.sampler_weights import (  # noqa: E402
    WeightDtype,
    lay_out,
    sampling_model,
)
from jaxreason.plan.slices import GPU_SHARE, generation_of  # noqa: E402
from jaxreason.sampling.cache_engine import CacheDtype  # noqa: E402
from jaxreason.sampling.engine import Engine  # noqa: E402
from jaxreason.sampling.sampling_params import (  # noqa: E402
    Request,
    SamplingParams,
)
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

os.environ.setdefault("XLA_PYTHON_CLIENT_MEM_FRACTION", str(GPU_SHARE))  # As in a run of ours.


def main() -> None:
    if sys.argv[1:2] == ["load"]:
        bench_load.run(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=sorted(WORK))
    parser.add_argument("--size", default=SMALL, choices=[SMALL, *qwen3.SIZES])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--attention", default="blockwise")
    parser.add_argument("--remat", default="none")
    parser.add_argument("--unroll", type=int, default=30, help="layers per iteration of the scan")
    parser.add_argument("--rows", type=int, default=4)
    parser.add_argument("--length", type=int, default=512, help="tokens of a row or prompt")
    parser.add_argument("--packed", type=int, default=1, help="replies of a row, for `update`")
    parser.add_argument("--new-tokens", type=int, default=128)
    parser.add_argument("--shortest", type=int, help="of the replies; all are as long if not given")
    parser.add_argument(
        "--slots", type=numbers, default=[16], help="sequences that ours decodes at a time"
    )
    parser.add_argument(
        "--batches", type=numbers, default=[16], help="rows of one of the peer's calls"
    )
    parser.add_argument("--cache-dtype", default="auto", choices=get_args(CacheDtype))
    parser.add_argument("--weight-dtype", default="auto", choices=get_args(WeightDtype))
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--cold", action="store_true", help="do not run the peer untimed first")
    parser.add_argument("--chunk", type=int, help="of the log-probs; all of a row if not given")
    parser.add_argument("--compiled", action="store_true", help="the peer by torch.compile")
    parser.add_argument("--sides", default="both", choices=["both", "jaxreason", "torch"])
    parser.add_argument("--trace", help="folder for a profile of one more turn of ours")
    parser.add_argument("--out", type=pathlib.Path, help="append the result to this jsonl file")
    arguments = parser.parse_args()
    if arguments.size != SMALL and jax.default_backend() == "cpu":
        print(f"--size {arguments.size}: there is no accelerator here; nothing was timed.")
        return
    with tempfile.TemporaryDirectory() as folder:
        peer = None if is_alone(arguments) else torch_model(arguments, folder)
        mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
        with jax.set_mesh(mesh):
            makers, tokens = WORK[arguments.what](arguments, folder, peer, mesh)
            others = {"jaxreason": ["torch"], "torch": ["jaxreason"]}.get(arguments.sides, [])
            sides = {name: make() for name, make in makers.items() if name not in others}
            result = compare(sides, tokens, arguments)
            if arguments.trace:
                with jax.profiler.trace(arguments.trace):
                    next(iter(sides.values()))()
    print(shown(result))
    if arguments.out:
        with arguments.out.open("a") as file:
            file.write(json.dumps(result) + "\n")


def numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def our_model(arguments, folder: str, mesh):
    """Loads the same weights here; without a peer, random ones."""
    return open_model(model_config(arguments, folder), mesh, jax.random.key(0))


def model_config(arguments, folder: str) -> ModelConfig:
    alone = is_alone(arguments)
    return ModelConfig(
        path="" if alone else folder,
        init="random" if alone else "pretrained",
        architecture=settings(arguments.size) if alone else {},
        dtype=arguments.dtype,
        param_dtype="float32" if arguments.what in ("train", "update") else arguments.dtype,
        remat=arguments.remat,
        attention=arguments.attention,
        unroll=arguments.unroll,
    )


def is_alone(arguments) -> bool:
    """Whether torch has no part in it; our weights are random then."""
    return arguments.sides == "jaxreason" or arguments.what == "update"


def random_tokens(arguments) -> np.ndarray:
    shape = (arguments.rows, arguments.length)
    vocab = settings(arguments.size)["vocab_size"]
    return np.random.default_rng(0).integers(0, vocab, shape).astype(np.int32)


def train(arguments, folder: str, peer, mesh):
    """Times a step of AdamW with clipped gradients on rows in which every token is a target."""
    tokens, config = random_tokens(arguments), model_config(arguments, folder)
    sides = {
        "jaxreason": lambda: bench_update.single_side(arguments, config, mesh, tokens, 1, "loss"),
        "torch": lambda: peer_step(peer, arguments, tokens),
    }
    return sides, tokens.size


def prefill(arguments, folder: str, peer, mesh):
    """Times a forward pass over whole rows with the logits of the last token."""
    tokens = random_tokens(arguments)
    sides = {
        "jaxreason": lambda: forward_pass(*our_model(arguments, folder, mesh), mesh, tokens),
        "torch": lambda: peer_prefill(peer, tokens),
    }
    return sides, tokens.size


def forward_pass(model, params, mesh, tokens: np.ndarray):
    """Makes a forward pass over whole rows up to the logits of the last token, with the sampler's weights."""
    model, params = sampling_model(model, mesh), lay_out(model, mesh, params)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)

    @jax.jit
    def last(params, tokens):
        final = forward(model, params, tokens, positions).final
        return output_logits(model, params, final[:, -1:])

    return lambda: float(last(params, tokens).mean())


def prompts(arguments, folder: str, peer, mesh):
    """Times the engine's prefill, with one token sampled after each prompt, and a forward pass over the same rows."""
    tokens = random_tokens(arguments)
    model, params = our_model(arguments, folder, mesh)
    one, slots = np.ones(arguments.rows, int), arguments.slots[0]
    given = (arguments, model, params, mesh, tokens, one, slots)
    sides = {
        "jaxreason": lambda: our_replies(*given, fresh=True),
        "forward": lambda: forward_pass(model, params, mesh, tokens),
    }
    return sides, tokens.size


def sampler(arguments, folder: str, peer, mesh):
    """Times greedy replies to prompts of one length; both sides make the same tokens."""
    prompts, lengths = random_tokens(arguments), reply_lengths(arguments)

    def ours():
        given = (arguments, *our_model(arguments, folder, mesh), mesh, prompts, lengths)
        return fastest("slots", {n: our_replies(*given, n) for n in arguments.slots})

    def theirs():
        runs = {n: peer_replies(peer, prompts, lengths, n) for n in arguments.batches}
        return fastest("batch", runs)

    return {"jaxreason": ours, "torch": theirs}, int(lengths.sum())


def reply_lengths(arguments) -> np.ndarray:
    longest, shortest = arguments.new_tokens, arguments.shortest or arguments.new_tokens
    share = np.random.default_rng(1).uniform(size=arguments.rows)
    return np.round(shortest * (longest / shortest) ** share).astype(int)


def our_replies(arguments, model, params, mesh, prompts, lengths, slots: int, fresh=False):
    """Makes a run of the engine; with `fresh`, prompts are new every time, so that none is in the cache."""
    total = arguments.length + arguments.new_tokens
    dtypes = {"cache_dtype": arguments.cache_dtype, "weight_dtype": arguments.weight_dtype}
    config = engine_sizes(slots, total, **dtypes)
    engine = Engine(model, params, config, mesh, (), 0, str)
    greedy = [SamplingParams(0.0, 0, 1.0, int(length), ()) for length in lengths]
    turns = itertools.count()

    def run() -> float:
        rows = (prompts + next(turns) * fresh) % model.architecture.vocab_size
        requests = [
            Request(str(i), tuple(row.tolist()), i, 1, greedy[i]) for i, row in enumerate(rows)
        ]
        replies = list(engine.generate(requests, greedy[0]))
        return float(np.mean([token for reply in replies for token in reply.tokens]))

    return run


def fastest(name: str, runs: dict):
    """Returns the fastest of several runs; each runs once before it is timed."""
    if len(runs) == 1:
        return next(iter(runs.values()))
    seconds = {}
    for size, run in runs.items():
        run()
        start = time.perf_counter()
        run()
        seconds[size] = time.perf_counter() - start
    best = min(seconds, key=seconds.get)
    print(f"{name}: {best} of {', '.join(f'{n} ({s:.1f} s)' for n, s in seconds.items())}")
    return runs[best]


def update(arguments, folder: str, peer, mesh):
    """Times RL's update on replies packed into rows, and the SFT step on the same replies, one in each row."""
    tokens, config = random_tokens(arguments), model_config(arguments, folder)
    how = arguments, config, mesh, tokens, len(tokens) // arguments.packed, bench_update.SAME
    sides = {
        "jaxreason": lambda: bench_update.packed_side(arguments, config, mesh, tokens),
        "sft": lambda: bench_update.single_side(*how),
    }
    return sides, tokens.size


WORK = {
    "train": train,
    "prefill": prefill,
    "prompts": prompts,
    "sampler": sampler,
    "update": update,
}


def compare(sides: dict, tokens: int, arguments) -> dict:
    """Returns tokens per second of both sides, which take turns after each has run once.

    With --cold the peer does not run before: it compiles nothing. The first results show that both sides do the same,
    except for `prompts`, which begins with new prompts every time.
    """
    before = machine()
    first = {name: run() for name, run in sides.items() if not (arguments.cold and name == "torch")}
    rates: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(arguments.repeats):
        for name in list(sides) if turn % 2 == 0 else reversed(sides):
            start = time.perf_counter()
            first.setdefault(name, sides[name]())
            rates[name].append(tokens / (time.perf_counter() - start))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    ours, *theirs = medians.values()
    return {
        "arguments": {k: v for k, v in vars(arguments).items() if k != "out"},
        "device": jax.devices()[0].device_kind,
        "machine": before | {"load_at_the_end": machine()["load"]},
        "first": first,
        "tokens_per_second": rates,
        "median": medians,
        "ratio": ours / theirs[0] if theirs else None,
        "mfu": {name: mfu(arguments, median) for name, median in medians.items()},
    }


def mfu(arguments, rate: float) -> float | None:
    """Returns the share of the accelerator's peak that a training step reaches; None if no peak is known."""
    device = generation_of(jax.devices()[0].device_kind)
    if device is None or arguments.what != "train":
        return None
    config = model_config(arguments, "")
    model = make_model(config, architecture_from_hf(settings(arguments.size)))
    products = weight_products(abstract_params(model), model.architecture.tie_word_embeddings)
    attention = causal_attention(model.architecture, arguments.length) / arguments.length
    return 3 * (2 * products + attention) * rate / device.flops


def shown(result: dict) -> str:
    """Returns a table for people."""
    arguments = result["arguments"]
    lines = [
        f"{arguments['what']}: {arguments['size']}, {arguments['dtype']}, {arguments['rows']} x {arguments['length']}, "
        f"{result['device']}",
        f"{described(result['machine'])}; load at the end {result['machine']['load_at_the_end']}",
        "first result: " + ", ".join(f"{k} {v:.4f}" for k, v in result["first"].items()),
    ]
    for name, values in result["tokens_per_second"].items():
        share = result["mfu"][name]
        shown = "" if share is None else f", MFU {share:.1%}"
        lines.append(
            f"{name:10} {result['median'][name]:8.1f} tokens/s ({min(values):.1f} to {max(values):.1f}){shown}"
        )
    if result["ratio"] is not None:
        lines.append(f"ratio      {result['ratio']:8.2f}")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
