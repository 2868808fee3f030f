"""Times attention on a GPU: our kernel for packed rows with several tiles, and cuDNN where a row is one sequence.

    python scripts/attention_speed.py --seconds 120
    python scripts/attention_speed.py --tiny        # on a CPU, interpreted: shows that it runs

FLOPs count only pairs that a token sees, and the backward pass as 2.5 forward passes. Times are medians of ten turns
of four calls. First it prints errors relative to float32: the largest, divided by the largest number.
"""

import argparse
import functools
import pathlib
import statistics
import sys
import time
from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
import jax.numpy as jnp  # noqa: E402
import numpy as np  # noqa: E402

from jaxreason.models.attention import plain  # noqa: E402
from jaxreason.models.attention_gpu import cudnn  # noqa: E402
from jaxreason.models.attention_mask import attention_mask  # noqa: E402
from jaxreason.models.packed_attention_gpu import LARGE, Tile, Tiles, packed_attention  # noqa: E402

# Rows, their length, and the lengths of the sequences in each; the rest is padding.
CASES = {
    "4 x 4,096, one sequence": (4, 4096, [4096]),
    "22,528, 11 sequences": (1, 22528, [2048] * 11),
    "8 x 4,096, 2 sequences": (8, 4096, [2016] * 2),
}
TRIED = {
    "forward": [
        (128, 128, 8, 2),
        (128, 128, 8, 3),
        (64, 64, 4, 3),
        (64, 128, 4, 2),
        (128, 64, 4, 3),
    ],
    "keys": [(64, 64, 4, 2), (32, 128, 8, 3), (64, 128, 8, 3), (32, 64, 4, 3), (128, 64, 8, 2)],
    "queries": [(64, 64, 4, 2), (128, 32, 8, 3), (128, 64, 8, 3), (64, 32, 4, 3), (64, 128, 8, 2)],
}
Attend = Callable[[jax.Array, jax.Array, jax.Array, jax.Array], jax.Array]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=120, help="after which nothing is begun")
    parser.add_argument("--heads", type=int, nargs=3, default=[16, 8, 128], help="N, K and H")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    cases = {name: shrunk(*case) if arguments.tiny else case for name, case in CASES.items()}
    if arguments.tiny:
        arguments.heads = [2, 1, 16]
    end = time.monotonic() + arguments.seconds
    print(f"{jax.devices()[0].device_kind}, jax {jax.__version__}")
    given = operands(1, 256 if arguments.tiny else 1024, arguments.heads)
    print("errors:", *(f"{error:.1e}" for error in errors(ours(None), *given)))
    sides = {"ours": ours(None), "cuDNN": one_sequence}
    for name, case in cases.items():
        for side, run in sides.items():
            if side == "ours" or len(case[2]) == 1:
                report(f"{name}: {side}", run, case, arguments.heads)
    best, packed = LARGE, list(cases.values())[1]
    for part, tried in TRIED.items():
        best = best._replace(**{part: fastest(part, tried, best, packed, arguments.heads, end)})
    print("fastest:", best)
    for name, case in cases.items():
        report(f"{name}: fastest", ours(best), case, arguments.heads)


def shrunk(rows: int, length: int, parts: list[int]) -> tuple[int, int, list[int]]:
    """Returns a case with a 32nd of the tokens."""
    return 1, -(-length // 32 // 128) * 128, [part // 32 for part in parts]


def ours(tiles: Tiles | None) -> Attend:
    return lambda q, k, v, ids: packed_attention(q, k, v, ids, tiles)


def one_sequence(q: jax.Array, k: jax.Array, v: jax.Array, ids: jax.Array) -> jax.Array:
    if jax.default_backend() != "gpu":
        return reference(q, k, v, ids)
    return cudnn(q, k, v, None)


def reference(q: jax.Array, k: jax.Array, v: jax.Array, ids: jax.Array) -> jax.Array:
    places = jnp.broadcast_to(jnp.arange(q.shape[1]), q.shape[:2])
    return plain(q, k, v, attention_mask(places, places, ids, ids, None))


def operands(rows: int, length: int, heads: list[int]) -> list[jax.Array]:
    """Returns random q, k, v and the gradient of the result, in bfloat16."""
    n, k, h = heads
    keys = jax.random.split(jax.random.key(0), 4)
    shapes = [(rows, length, number, h) for number in (n, k, k, n)]
    return [jax.random.normal(*given, jnp.bfloat16) for given in zip(keys, shapes, strict=True)]


def both(run: Attend, ids: jax.Array) -> Callable[..., tuple]:
    """Returns the jitted forward and backward pass."""

    @jax.jit
    def passes(q, k, v, d):
        out, back = jax.vjp(lambda *qkv: run(*qkv, ids), q, k, v)
        return out, *back(d)

    return passes


def segments(rows: int, length: int, parts: list[int]) -> jax.Array:
    ids = np.zeros(length, np.int32)
    ids[: sum(parts)] = np.repeat(np.arange(len(parts)) + 1, parts)
    return jnp.asarray(np.tile(ids, (rows, 1)))


def errors(run: Attend, *given: jax.Array) -> list[float]:
    """Returns the errors of the result and of the gradients of q, k and v."""
    length = given[0].shape[1]
    ids = segments(1, length, [length // 3, length // 8, length - length // 3 - length // 8])
    with jax.default_matmul_precision("highest"):
        wanted = both(reference, ids)(*(x.astype(jnp.float32) for x in given))
    found = both(run, ids)(*given)
    pairs = [(np.asarray(a, np.float32), np.asarray(b)) for a, b in zip(found, wanted, strict=True)]
    return [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs]


def seconds(run: Callable, given: list[jax.Array]) -> float:
    """Returns the median time of a call."""
    jax.block_until_ready([run(*given) for _ in range(2)])
    times = []
    for _ in range(10):
        began = time.perf_counter()
        jax.block_until_ready([run(*given) for _ in range(4)])
        times.append((time.perf_counter() - began) / 4)
    return statistics.median(times)


def report(name: str, run: Attend, case: tuple, heads: list[int]) -> float:
    """Prints the times of a forward pass and of both passes; returns the latter, infinite if it failed."""
    rows, length, parts = case
    given, ids = operands(rows, length, heads), segments(*case)
    flops = 4 * heads[0] * heads[2] * rows * sum(n * (n + 1) // 2 for n in parts)
    try:
        forward = seconds(jax.jit(functools.partial(run, ids=ids)), given[:3])
        whole = seconds(both(run, ids), given)
    except Exception as error:  # A tile may need more memory than a core has.
        print(f"{name:44} {type(error).__name__}: {str(error).splitlines()[0][:120]}", flush=True)
        return float("inf")
    shown = f"{forward * 1e3:8.3f} ms, {flops / forward / 1e12:4.0f} TFLOP/s; both"
    print(f"{name:44} {shown} {whole * 1e3:8.3f} ms, {3.5 * flops / whole / 1e12:4.0f}", flush=True)
    return whole


def fastest(part: str, tried: list, best: Tiles, case: tuple, heads: list[int], end: float) -> Tile:
    """Returns the tile of one kernel with which both passes take the shortest time."""
    found = {}
    for tile in [getattr(best, part), *(Tile(*numbers) for numbers in tried)]:
        if time.monotonic() < end or not found:
            run = ours(best._replace(**{part: tile}))
            found[tile] = report(f"{part} {tuple(tile)}", run, case, heads)
    return min(found, key=found.get)


if __name__ == "__main__":
    main()
