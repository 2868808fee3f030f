"""Puts a server under load: requests with the lengths of chats or of reasoning, all at the start or arriving at random.

    python scripts/bench.py load --kind chat --size 14b --dtype bfloat16 --slots 256 --requests 1000 --rate inf 8
    python scripts/bench.py load --kind reasoning --size 4b --dtype bfloat16 --slots 256 --requests 512
    python scripts/bench.py load --kind chat --size tiny --scale 0.1 --requests 12 --slots 4     # on any CPU
    python scripts/bench.py load --kind chat --url http://127.0.0.1:8000/v1 --model base --vocab 88 --rate inf 2

Without `--url` it is our engine in this process on random weights, every reply as long as was drawn. With it, any
server that speaks OpenAI's completions with token ids; `--ignore-eos` asks for replies of the drawn lengths, as vLLM
understands it. `--rate inf`: all requests are there at the start; a number: so many arrive a second on average, with
exponential gaps. Time to first token counts from the arrival. The time per output token is that of a reply after its
first token, divided by the others.
"""

import argparse
import json
import math
import pathlib
from typing import NamedTuple

import jax
import numpy as np
from bench_peer import SMALL
from load_sides import TINY, Timed, engine_side, http_side
from machine import machine

from configs import qwen3

ALL_AT_START = math.inf


class LogNormal(NamedTuple):
    """Lengths in tokens: their mean after the cut at `most`, and the standard deviation of their logarithm."""

    mean: float
    sigma: float
    most: int


# Kind -> lengths of prompts and of replies.
KINDS = {
    "chat": (LogNormal(160, 1.0, 1024), LogNormal(197, 0.9, 1024)),
    "reasoning": (LogNormal(160, 0.6, 1024), LogNormal(4000, 1.0, 16_384)),
}


def lengths(kind: LogNormal, number: int, scale: float, rng: np.random.Generator) -> np.ndarray:
    """Draws so many lengths of at least one token; `scale` makes all of them shorter."""
    mean, most = max(kind.mean * scale, 1.0), max(round(kind.most * scale), 1)
    shape = np.exp(kind.sigma * rng.standard_normal(number))
    # Bounds for the median; the cut changes the mean, so the median is searched.
    low, high = 0.0, float(most)
    for _ in range(60):
        middle = (low + high) / 2
        found = np.clip(middle * shape, 1, most).mean()
        low, high = (middle, high) if found < mean else (low, middle)
    return np.clip(np.round(low * shape), 1, most).astype(int)


def arrivals(rate: float, number: int, rng: np.random.Generator) -> np.ndarray:
    """Draws the seconds from the start at which requests arrive."""
    if rate == ALL_AT_START:
        return np.zeros(number)
    return np.cumsum(rng.exponential(1 / rate, number))


def numbers_of(times: list[Timed]) -> dict[str, float]:
    """Returns rates in tokens and requests per second, and latencies in milliseconds."""
    seconds = max(one.ended for one in times)
    output, prompts = sum(one.tokens for one in times), sum(one.prompt for one in times)
    first = [1e3 * (one.first - one.arrived) for one in times]
    each = [1e3 * (one.ended - one.first) / (one.tokens - 1) for one in times if one.tokens > 1]
    return {
        "requests": len(times),
        "seconds": seconds,
        "prompt_tokens": prompts,
        "output_tokens": output,
        "requests_per_second": len(times) / seconds,
        "output_tokens_per_second": output / seconds,
        "total_tokens_per_second": (output + prompts) / seconds,
        **percentiles("first_token_ms", first),
        **percentiles("output_token_ms", each),
    }


def percentiles(name: str, values: list[float]) -> dict[str, float]:
    """Returns the median and the 99th percentile; an empty dict if there are no values."""
    return {f"{name}_p{q}": float(np.percentile(values, q)) for q in (50, 99) if values}


def where(arguments) -> dict[str, str | int]:
    """Describes the machine and the settings behind the numbers."""
    here = machine()
    return {
        "device": arguments.url or jax.devices()[0].device_kind,
        "processor": here["name"],
        "cores": here["cores"],
        "python": here["python"],
        "jax": jax.__version__,
    }


def run(argv: list[str]) -> list[dict]:
    """Makes one result for each rate, which is printed and kept."""
    arguments = parse(argv)
    if arguments.size not in ("tiny", SMALL) and not arguments.url and is_cpu():
        print(f"--size {arguments.size}: there is no accelerator here; nothing was timed.")
        return []
    rng = np.random.default_rng(arguments.seed)
    prompts, replies = (
        lengths(kind, arguments.requests, arguments.scale, rng) for kind in KINDS[arguments.kind]
    )
    side = (http_side if arguments.url else engine_side)(arguments, prompts, replies)
    results = []
    for rate in arguments.rate:
        times, counts = side(arrivals(rate, arguments.requests, rng))
        about = {"kind": arguments.kind, "rate": str(rate), **where(arguments)}
        results.append(about | numbers_of(times) | counts)
        print(shown(results[-1]))
        if arguments.out:
            with arguments.out.open("a") as file:
                file.write(json.dumps(results[-1] | {"arguments": argv}) + "\n")
    return results


def is_cpu() -> bool:
    return jax.default_backend() == "cpu"


def positive(text: str) -> float:
    """Parses a number above 0, such as `inf`."""
    value = float(text)
    if not value > 0:  # NaN is refused too.
        raise argparse.ArgumentTypeError(f"expected more than 0, got {text}")
    return value


def at_least_one(text: str) -> int:
    """Parses a whole number of at least 1."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return value


def parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kind", choices=sorted(KINDS), required=True)
    parser.add_argument("--requests", type=at_least_one, default=1000)
    parser.add_argument("--rate", type=positive, nargs="+", default=[ALL_AT_START])
    parser.add_argument("--scale", type=positive, default=1.0, help="of all lengths")
    parser.add_argument("--temperature", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--size", default="14b", choices=["tiny", SMALL, *qwen3.SIZES])
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--decode-block", type=int, default=32)
    parser.add_argument("--prefill-tokens", type=int, default=2048)
    parser.add_argument("--prefill-block", type=int, default=16)
    parser.add_argument("--pages", type=int, default=0, help="of 64 tokens; 0: for every slot")
    parser.add_argument("--url", help="of a server, with /v1; its key is OPENAI_API_KEY")
    parser.add_argument("--model", help="its name on that server")
    parser.add_argument("--vocab", type=int, default=TINY["vocab_size"], help="of that model")
    parser.add_argument("--ignore-eos", action="store_true")
    parser.add_argument("--out", type=pathlib.Path, help="append the results to this jsonl file")
    return parser.parse_args(argv)


def shown(result: dict) -> str:
    """Returns lines for people."""
    what = "all there at the start" if result["rate"] == "inf" else f"{result['rate']} a second"
    lines = [
        f"load {result['kind']}, {result['requests']} requests, {what}: {result['device']}, "
        f"{result['processor']}, {result['cores']} cores, jax {result['jax']}"
    ]
    about = {"kind", "rate", "device", "processor", "cores", "python", "jax", "requests"}
    lines += [f"{k:28} {v:12,.1f}" for k, v in result.items() if k not in about]
    return "\n".join(lines)
