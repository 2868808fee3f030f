"""Measures when each phase of a start has ended, up to the first token: with an empty or a full program cache.

    python scripts/start_time.py --layers 36
    python scripts/start_time.py --path Qwen/Qwen3-4B --dtype bfloat16 --slots 256    # on a GPU

Each start is a process of its own, as after a restart: imports, the devices, the tokenizer and the weights of a folder
on disk, the programs, one greedy token. It prints how many seconds after the start of the process each of them was
there. The tokenizer, the weights and the programs are made at the same time. `compiling` is the sum over all programs.
`--one-by-one` compiles each program when it is called, which shows what parallel compilation saves. The ways take
turns, so that a slow minute of the machine affects both.
"""

import argparse
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

BEGAN = time.perf_counter()
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
PHASES = ("imports", "devices", "tokenizer", "weights", "programs", "token")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--path", help="a model with its tokenizer; without one, random weights of 64 features"
    )
    parser.add_argument("--layers", type=int, default=36, help="of the model with random weights")
    parser.add_argument("--dtype", default="float32", choices=["float32", "bfloat16"])
    parser.add_argument("--slots", type=int, default=16)
    parser.add_argument("--max-length", type=int, default=512)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--one-by-one", action="store_true", help="that way too, for comparison")
    # The way, and the folder of the cache.
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        from jaxreason.host_memory import no_collection

        with no_collection():  # As the program does it.
            print(json.dumps(start(arguments, *arguments.child)))
        return
    from machine import described, machine

    print(described(machine()))
    ways = ["side by side", *["one by one"] * arguments.one_by_one]
    with tempfile.TemporaryDirectory() as folder:
        if arguments.path is None:
            arguments.path = write_model(arguments.layers, pathlib.Path(folder) / "model")
        report(measure(arguments, ways, pathlib.Path(folder)))
    print(f"load at the end {machine()['load']}")


def measure(arguments, ways: list[str], folder: pathlib.Path) -> dict[tuple[str, str], list[dict]]:
    """Returns for each way the starts with an empty cache, and those after them."""
    found = {(way, kind): [] for way in ways for kind in ("cold", "warm")}
    for turn in range(arguments.repeats):
        for way in ways if turn % 2 == 0 else reversed(ways):
            shutil.rmtree(folder / "cache", ignore_errors=True)
            for kind in ("cold", "warm"):
                found[way, kind].append(restart(arguments, way, folder / "cache"))
    return found


def restart(arguments, way: str, cache: pathlib.Path) -> dict:
    """Makes one start in a process of its own."""
    given = [f"--{k.replace('_', '-')}={v}" for k, v in kept(arguments).items()]
    command = [sys.executable, __file__, *given, "--child", way, str(cache)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def kept(arguments) -> dict:
    names = ("path", "layers", "dtype", "slots", "max_length")
    return {name: getattr(arguments, name) for name in names}


def start(arguments, way: str, cache: str) -> dict:
    """Does what a server does up to its first token; returns when each phase had ended."""
    # In the order of the program and its recipe.
    from jaxreason.data.tokenizer_library import hide_torch

    hide_torch()
    import jax
    from engine_sizes import engine_sizes

    import jaxreason.cli  # noqa: F401
    from jaxreason.compiling import Compiling
    from jaxreason.models.huggingface import ModelConfig
    from jaxreason.sampling import engine, open_engine
    from jaxreason.serve import server  # noqa: F401
    from jaxreason.sharding import MeshConfig, make_mesh
    from jaxreason.verbs.answering import begin_loading_tokenizer

    at = {"imports": time.perf_counter()}

    def note(name: str, function=lambda *_: None):
        """Returns a function that does the same, and remembers when it had ended."""

        def noted(*args):
            found = function(*args)
            at[name] = time.perf_counter()
            return found

        return noted

    jax.config.update("jax_compilation_cache_dir", cache)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)  # As in a run.
    compiled = count_compiling()
    how = arguments.dtype, arguments.dtype, "none", "blockwise", 1000
    model_config = ModelConfig(arguments.path, "pretrained", {}, *how)
    loading = begin_loading_tokenizer(model_config)
    loading.add_done_callback(note("tokenizer"))
    mesh = note("devices", make_mesh)(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    open_engine.read_layout = note("weights", open_engine.read_layout)
    engine.Engine._compile = note("programs", engine.Engine._compile)
    if way == "one by one":
        Compiling.begin = lambda *_: None
    sizes = engine_sizes(arguments.slots, arguments.max_length)
    with jax.set_mesh(mesh):
        note("token", open_engine.open_engine)(model_config, mesh, sizes, loading)
    seconds = {name: at[name] - BEGAN for name in PHASES}
    return seconds | compiled | {"of a core": sum(os.times()[:2])}


def count_compiling() -> dict[str, float]:
    """Returns the total seconds of tracing, lowering and compiling or loading all programs; updated as they come."""
    from jax import monitoring

    found = {"tracing": 0.0, "compiling": 0.0, "number": 0}

    def listen(event: str, seconds: float, **_) -> None:
        if event.endswith("backend_compile_duration"):
            found["compiling"] += seconds
            found["number"] += 1
        elif event.endswith(("jaxpr_trace_duration", "jaxpr_to_mlir_module_duration")):
            found["tracing"] += seconds

    monitoring.register_event_duration_secs_listener(listen)
    return found


def write_model(layers: int, folder: pathlib.Path) -> str:
    """Writes a model of many layers whose programs are as large as a real one's but whose weights are small."""
    import jax

    from configs import qwen3
    from jaxreason.models.decoder import init_params
    from jaxreason.models.hf_config import architecture_from_hf
    from jaxreason.models.hf_export import save_model
    from jaxreason.models.huggingface import ModelConfig, make_model

    small = {"hidden_size": 64, "intermediate_size": 128, "head_dim": 16, "vocab_size": 1024}
    heads = {"num_attention_heads": 4, "num_key_value_heads": 2, "num_hidden_layers": layers}
    architecture = architecture_from_hf(qwen3.architecture("4b") | small | heads)
    how = ModelConfig("", "random", {}, "float32", "float32", "none", "blockwise", layers)
    model = make_model(how, architecture)
    params = init_params(model, jax.random.key(0))
    tokenizer = ROOT / "configs/tiny_base"
    save_model(folder, model, params, tokenizer_from=tokenizer, max_shard_bytes=1 << 30)
    return str(folder)


def report(found: dict[tuple[str, str], list[dict]]) -> None:
    """Prints medians by way and cache."""
    names = (*PHASES, "tracing", "compiling", "of a core", "number")
    print(f"{'seconds':22}" + "".join(f"{name:>11}" for name in names))
    for (way, kind), runs in found.items():
        medians = (statistics.median(run[name] for run in runs) for name in names)
        print(f"{f'{way}, {kind}':22}" + "".join(f"{value:11.2f}" for value in medians))


if __name__ == "__main__":
    main()
