"""Loads, saves, restores and exports a checkpoint of several GB in two processes, and reports the memory it took.

    python scripts/load_at_size.py --folder runs/size --layers 16    # 0.6 GB in bfloat16, and 0.1 more for each layer

A folder of random bfloat16 weights is written in the Hugging Face layout (Qwen3's blocks, 2,048 wide). Two processes
of four virtual CPU devices load it over fsdp x tensor = 4 x 2, save it with Orbax, and end; one process of eight
devices restores it over 2 x 4 and exports it; the export must be the first folder, bit for bit in every tensor. Memory
is the peak of a process's own pages (RssAnon) above what it had before, beside its share of the parameters. On CPU
"device" memory is the host's, so the share itself is in there; on a TPU it would not be.
"""

import argparse
import json
import pathlib
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

import jax  # noqa: E402
import ml_dtypes  # noqa: E402
import numpy as np  # noqa: E402
from processes import run_processes  # noqa: E402
from safetensors import safe_open  # noqa: E402
from safetensors.numpy import save_file  # noqa: E402

from configs import qwen3  # noqa: E402
from jaxreason.checkpoint import Checkpointer  # noqa: E402
from jaxreason.models.decoder import abstract_params, param_shardings  # noqa: E402
from jaxreason.models.families import WEIGHTS  # noqa: E402
from jaxreason.models.hf_export import save_model  # noqa: E402
from jaxreason.models.huggingface import (  # noqa: E402
    ModelConfig,
    open_model,
    static_model,
)
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

TIMEOUT_S = 3000.0
SETTINGS = dict(
    dtype="bfloat16", param_dtype="bfloat16", remat="full", attention="blockwise", unroll=1
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--layers", type=int, default=16)
    arguments = parser.parse_args()
    source = arguments.folder / "source"
    if not (source / "config.json").exists():
        write_random(source, arguments.layers)
    loaded = run(load_and_save, arguments.folder, num=2, num_devices=4)
    exported = run(restore_and_export, arguments.folder, num=1, num_devices=8)
    print(report(loaded, exported, *compare(source, arguments.folder / "export")))


def run(function, folder: pathlib.Path, num: int, num_devices: int) -> list[dict]:
    """Runs a function of this file in each of so many processes; returns their results."""
    return run_processes(function, num, str(folder), num_devices=num_devices, timeout_s=TIMEOUT_S)


def write_random(folder: pathlib.Path, layers: int) -> None:
    """Writes a model folder with one file per layer; at most one file's tensors are in memory."""
    settings = qwen3.architecture("1.7b") | {"num_hidden_layers": layers}
    folder.mkdir(parents=True)
    config = ModelConfig("", "random", settings, **SETTINGS)
    shapes = jax.tree_util.tree_leaves_with_path(abstract_params(static_model(config)))
    by_name = {".".join(key.key for key in path): leaf.shape for path, leaf in shapes}
    random, index = np.random.default_rng(0), {}
    for number in range(-1, layers):
        tensors = {}
        for name, shape in by_name.items():
            if name.startswith("layers.") != (number >= 0):
                continue
            key, transposed = WEIGHTS[name]
            shape = shape[1:] if number >= 0 else shape
            value = random.standard_normal(shape[::-1] if transposed else shape, np.float32)
            tensors[key.format(number)] = (0.02 * value).astype(ml_dtypes.bfloat16)
        file = f"model-{number + 2:05d}-of-{layers + 1:05d}.safetensors"
        save_file(tensors, folder / file, {"format": "pt"})
        index |= dict.fromkeys(tensors, file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "config.json").write_text(json.dumps(settings))


class Watch:
    """Measures the peak of this process's own pages in the `with` block, in bytes above those at the start."""

    def __enter__(self) -> "Watch":
        self.start = self.peak = own_pages()
        self.began, self._open = time.perf_counter(), True
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()
        return self

    def _look(self) -> None:
        while self._open:
            self.peak = max(self.peak, own_pages())
            time.sleep(0.01)

    def __exit__(self, *_) -> None:
        self._open = False
        self._thread.join()
        self.seconds, self.above = time.perf_counter() - self.began, self.peak - self.start


def own_pages() -> int:
    """Returns the bytes of this process that no file backs."""
    text = pathlib.Path("/proc/self/status").read_text()
    return next(int(x.split()[1]) for x in text.splitlines() if x.startswith("RssAnon")) * 1024


def share(params) -> int:
    """Returns the bytes of the parameters that this process's devices hold."""
    return sum(part.data.nbytes for x in jax.tree.leaves(params) for part in x.addressable_shards)


def load_and_save(folder: str) -> dict:
    """Runs in each of two processes."""
    mesh = make_mesh(MeshConfig(1, 4, 2, 1))
    config = ModelConfig(f"{folder}/source", "pretrained", {}, **SETTINGS)
    with jax.set_mesh(mesh):
        with Watch() as loading:
            _, params = open_model(config, mesh)
            jax.block_until_ready(params)
        with Watch() as saving, Checkpointer(f"{folder}/checkpoints", keep=1) as checkpoints:
            began = time.perf_counter()
            checkpoints.save(1, {"params": params})
            returned = time.perf_counter() - began
            checkpoints.wait()
    return {
        "share": share(params),
        "loading": [loading.above, loading.seconds],
        "saving": [saving.above, saving.seconds],
        "returned": returned,
    }


def restore_and_export(folder: str) -> dict:
    """Runs in one process, with another mesh."""
    mesh = make_mesh(MeshConfig(1, 2, 4, 1))
    model = static_model(ModelConfig(f"{folder}/source", "pretrained", {}, **SETTINGS))
    shapes = jax.tree.map(
        lambda x, s: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=s),
        abstract_params(model),
        param_shardings(model, mesh),
    )
    with jax.set_mesh(mesh):
        with Watch() as restoring, Checkpointer(f"{folder}/checkpoints", keep=None) as checkpoints:
            params = jax.block_until_ready(checkpoints.restore_params(1, shapes))
        with Watch() as exporting:
            save_model(
                f"{folder}/export", model, params, tokenizer_from=None, max_shard_bytes=2**28
            )
    return {
        "share": share(params),
        "restoring": [restoring.above, restoring.seconds],
        "exporting": [exporting.above, exporting.seconds],
    }


def compare(source: pathlib.Path, export: pathlib.Path) -> tuple[int, int]:
    """Returns the number of tensors that are equal in both folders, and the number of tensors of the first."""
    places = []
    for folder in (source, export):
        index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        places.append({key: folder / file for key, file in index.items()})
    same = 0
    for key, path in places[0].items():
        with safe_open(path, "numpy") as a, safe_open(places[1][key], "numpy") as b:
            same += np.array_equal(
                a.get_tensor(key).view(np.uint16), b.get_tensor(key).view(np.uint16)
            )
    return same, len(places[0])


def report(loaded: list[dict], exported: list[dict], same: int, total: int) -> str:
    """Returns the measurements as Markdown."""
    lines = ["| step | processes | GiB of parameters a process | peak / share | seconds |"]
    lines += ["|---|---|---|---|---|"]
    for found, steps in ((loaded, ("loading", "saving")), (exported, ("restoring", "exporting"))):
        for step in steps:
            peak = max(one[step][0] / one["share"] for one in found)
            seconds = max(one[step][1] for one in found)
            size = found[0]["share"] / 2**30
            lines.append(f"| {step} | {len(found)} | {size:.2f} | {peak:.2f} | {seconds:.1f} |")
    lines.append(f"\nSaving gave control back after {max(x['returned'] for x in loaded):.1f} s.")
    lines.append(f"{same} of {total} tensors of the export are those of the source, bit for bit.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
