"""Checks what many short requests leave behind: memory, pages, arrays, objects, threads, files, unfinished replies.

    python scripts/leaks.py engine --requests 10000
    python scripts/leaks.py server --requests 10000      # the program `jaxreason serve` in a process of its own

Prints a row after the warm-up and after each tenth of the requests. Ends with code 1 if anything has grown: the memory
by more than `--most` MiB, the threads by more than `POOLED_THREADS`, anything else at all.
"""

import argparse
import gc
import os
import pathlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import httpx  # noqa: E402
import jax  # noqa: E402
from engine_sizes import engine_sizes  # noqa: E402
from load_sides import TINY  # noqa: E402

from jaxreason.models.huggingface import ModelConfig, open_model  # noqa: E402
from jaxreason.sampling.engine import Engine  # noqa: E402
from jaxreason.sampling.sampling_params import (  # noqa: E402
    Request,
    SamplingParams,
)
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

RECIPE = "configs/study_tiny.py"
CLIENTS = 4
# XLA's pools start a thread when all of theirs are at work, and keep it. So there are as many as ever worked at once,
# which is chance. 10,000 requests show a thread that one in a thousand of them leaves behind.
POOLED_THREADS = 8
Row = dict[str, float]


def process_row(pid: int | str = "self") -> Row:
    """Returns memory in MiB, threads and open files of a process."""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    memory, threads = (
        int(re.search(rf"{name}:\s+(\d+)", status)[1]) for name in ("VmRSS", "Threads")
    )
    files = len(os.listdir(f"/proc/{pid}/fd"))
    return {"memory_mib": memory / 1024, "threads": threads, "files": files}


def make_engine() -> Engine:
    """Makes an engine with the smallest model, and so few pages that the cache is soon full."""
    architecture = {"path": "", "init": "random", "architecture": TINY}
    how = {"dtype": "float32", "param_dtype": "float32", "remat": "none", "attention": "plain"}
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    with jax.set_mesh(mesh):
        model, params = open_model(
            ModelConfig(**architecture, **how, unroll=1), mesh, jax.random.key(0)
        )
        small = {"decode_block": 4, "prefill_tokens": 32, "prefill_block": 8, "score_tokens": 64}
        config = engine_sizes(8, 32, page_size=4, pages=100, **small)
        return Engine(model, params, config, mesh, (3,), 0, str)


def short_requests(first: int, number: int) -> Iterator[Request]:
    """Yields prompts that share beginnings with earlier ones, with other seeds and lengths,
    some with several samples.
    """
    for i in range(first, first + number):
        tokens = (*(5 + i % 7 for _ in range(i % 9)), 10 + i % 50, 10 + i // 50 % 50)
        decoding = SamplingParams(1.0, 0, 1.0, 1 + i % 5, ("zz",) if i % 3 else ())
        yield Request(str(i), tokens, i, 1 + (i % 4 == 0), decoding)


def ask_engine(engine: Engine, first: int, number: int) -> None:
    """Generates replies."""
    with jax.set_mesh(engine.mesh):
        for _ in engine.generate(short_requests(first, number), SamplingParams(1.0, 0, 1.0, 4, ())):
            pass


def engine_row(engine: Engine) -> Row:
    """Returns what the engine, JAX and this process hold."""
    (pool,) = engine._pools
    held = {"pages_held": pool.held, "pages_lost": pool.number - 1 - pool.available}
    return process_row() | own_objects() | {"arrays": len(jax.live_arrays())} | held


def own_objects() -> Row:
    """Counts the objects of the package's classes in this process."""
    gc.collect()
    modules = (str(type(one).__module__) for one in gc.get_objects())
    return {"objects": sum(module.startswith("jaxreason.") for module in modules)}


def bodies(first: int, number: int) -> Iterator[tuple[str, dict]]:
    """Yields short requests of all kinds; some of them are refused."""
    for i in range(first, first + number):
        prompt = f"<user>{i % 100}+{i // 100 % 100}=<assistant>"
        body = {"prompt": prompt, "max_tokens": 1 + i % 4, "seed": i}
        kinds = [
            {},
            {"stream": True},
            {"n": 2, "logprobs": 2},
            {"max_tokens": 0, "echo": True, "logprobs": 1},
            {"stop": ["1", "22"], "stream": True},
            {"temperature": -1},  # This one is refused.
            {"prompt": "ж"},
        ]
        yield "/completions", body | kinds[i % len(kinds)]


def ask_server(url: str, first: int, number: int, headers: dict[str, str] | None = None) -> dict:
    """Sends requests over a few connections; every ninth client hangs up. Returns the number of answers by status."""
    seen: dict[int, int] = {}
    with (
        httpx.Client(headers=headers, timeout=120) as client,
        ThreadPoolExecutor(CLIENTS) as pool,
    ):

        def ask(item: tuple[int, tuple[str, dict]]) -> int:
            index, (path, body) = item
            with client.stream("POST", f"{url}{path}", json=body) as response:
                if index % 9:
                    response.read()
                return response.status_code

        for status in pool.map(ask, enumerate(bodies(first, number), first)):
            seen[status] = seen.get(status, 0) + 1
    return seen


def waiting(url: str) -> int:
    """Returns the number of replies that the server at `url` has not finished."""
    text = httpx.get(url.replace("/v1", "/metrics")).text
    return sum(int(n) for n in re.findall(r"^jaxreason_(?:running|waiting)_\w+ (\d+)", text, re.M))


def serve() -> tuple[subprocess.Popen, str]:
    """Starts the program; returns it and its address."""
    code = "from jaxreason.__main__ import main; main()"
    arguments = ["serve", "--config", RECIPE, "--config.serve.port=0"]
    process = subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    return process, re.search(r"http://\S+", process.stdout.readline())[0]


def settled(measure: Callable[[], Row], first: Row | None, most_mib: float) -> Row:
    """Measures until the result is no larger than `first`, or until a time limit: connections close gradually."""
    for _ in range(20):
        row = measure()
        if first is not None and not grown(first, row, most_mib):
            break
        time.sleep(0.1)
        if first is None:
            return measure()
    return row


def rounds(
    ask: Callable[[int, int], Any], measure: Callable[[], Row], number: int, most_mib: float
) -> list[str]:
    """Prints rows after a warm-up and after each tenth; returns what has grown."""
    tenth, first = max(number // 10, 1), None
    for index in range(11):
        ask(index * tenth, tenth)
        row = settled(measure, first, most_mib)
        first = first or row
        shown = {"requests": index * tenth, **row}
        print("  ".join(f"{name} {value:,.0f}" for name, value in shown.items()), flush=True)
    return grown(first, row, most_mib)


def grown(first: Row, last: Row, most_mib: float) -> list[str]:
    """Returns what has grown from the first row to the last."""
    allowed = {"memory_mib": most_mib, "threads": POOLED_THREADS}
    return [name for name in first if last[name] - first[name] > allowed.get(name, 0)]


def through_server(number: int, most_mib: float) -> list[str]:
    process, url = serve()

    def measure() -> Row:
        return process_row(process.pid) | {"replies": waiting(url)}

    try:
        return rounds(lambda *which: ask_server(url, *which), measure, number, most_mib)
    finally:
        process.terminate()
        process.wait()


def through_engine(number: int, most_mib: float) -> list[str]:
    engine = make_engine()
    return rounds(
        *(lambda *which: ask_engine(engine, *which), lambda: engine_row(engine)),
        *(number, most_mib),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=["engine", "server"])
    parser.add_argument("--requests", type=int, default=10_000)
    parser.add_argument("--most", type=float, default=64.0, help="MiB")
    arguments = parser.parse_args()
    through = {"engine": through_engine, "server": through_server}[arguments.what]
    found = through(arguments.requests, arguments.most)
    if found:
        raise SystemExit(f"more of: {', '.join(found)}")


if __name__ == "__main__":
    main()
