"""Counts what a decode step moves on a GPU that is not there, from the compiled text of the engine's own program.

    python scripts/decode_bytes.py 14b --slots 256         # needs jaxreason[cuda], but no GPU

It sums what the kernels of one step read and write, products of weights and others apart. Of the others, arrays of
more than 0.5 GB are left out, since only a part of them is used: the cache and the table of embeddings. Branches are
left out too. Products are made by cuBLAS, since XLA cannot choose its own kernels without a card.
"""

import argparse
import os
import pathlib
import re
import sys
from collections.abc import Iterator
from typing import NamedTuple

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = "--xla_gpu_enable_triton_gemm=false"
os.environ["TF_CPP_MIN_LOG_LEVEL"] = "2"
ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402
from engine_sizes import engine_sizes  # noqa: E402

from configs import qwen3  # noqa: E402
from jaxreason.models.huggingface import ModelConfig, static_model  # noqa: E402
from jaxreason.plan.gpu_compiler import described_gpus  # noqa: E402
from jaxreason.plan.programs import placed_call  # noqa: E402
from jaxreason.plan.slices import find_slice  # noqa: E402
from jaxreason.sampling.engine_calls import engine_calls  # noqa: E402
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

BYTES = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "s8": 1, "pred": 1}
PART = 5 * 10**8  # Of a larger array only a part is used, if its kernel is no product.
NO_KERNEL = ("get-tuple-element", "tuple", "bitcast", "constant", "parameter", "conditional")
LINE = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = (\([^=]*?\)|\S+) ([\w\-]+)\((.*?)\)(?:, |$)")


class Kernel(NamedTuple):
    """An instruction: its name, the bytes that it reads and writes, and whether it is a product of weights."""

    name: str
    bytes: int
    product: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=qwen3.SIZES)
    parser.add_argument("--slots", type=int, default=256)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--card", default="h200", choices=["h100", "h200"])
    arguments = parser.parse_args()
    kernels = list(kernels_of(largest_loop(compiled_text(arguments))))
    products, others = ([k for k in kernels if k.product == wanted] for wanted in (True, False))
    told = [f"{sum(k.bytes for k in part) / 1e9:.1f} GB" for part in (products, others)]
    print(f"{arguments.size}, {arguments.slots} slots, {arguments.card}, jax {jax.__version__}:")
    print(f"{len(kernels)} kernels; products {told[0]}, all others {told[1]}")
    sums: dict[str, int] = {}
    for kernel in others:
        name = re.sub(r"[.\d]+.*", "", kernel.name)
        sums[name] = sums.get(name, 0) + kernel.bytes
    for name, total in sorted(sums.items(), key=lambda item: -item[1])[:8]:
        print(f"  {total / 1e9:6.2f} GB  {name}")


def compiled_text(arguments) -> str:
    """Returns the compiled decode program."""
    gpus = described_gpus(find_slice(arguments.card))
    if not gpus:
        raise SystemExit("there is no compiler for GPUs here: pip install 'jaxreason[cuda]'")
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), gpus[:1])
    architecture = qwen3.architecture(arguments.size)
    how = "bfloat16", "bfloat16", "none", "blockwise", architecture["num_hidden_layers"]
    model = static_model(ModelConfig("", "random", architecture, *how))
    sizes = engine_sizes(arguments.slots, arguments.length)
    with jax.set_mesh(mesh):
        function, args = placed_call(mesh, engine_calls(model, mesh, sizes, (0,))["decode"])
        return function.lower(*args).compile().as_text()


def largest_loop(text: str) -> str:
    """Returns the computation with the most instructions that is no entry: the body of the loop over steps."""
    inner = (part for part in text.split("\n\n") if part.startswith("%"))
    return max(inner, key=lambda part: part.count("\n"))


def size_of(shape: str) -> int:
    """Returns the bytes of an array, or of a tuple of arrays."""
    total = 0
    for dtype, dims in re.findall(r"(\w+)\[([\d,]*)\]", shape):
        numbers = [int(x) for x in dims.split(",") if x]
        size = BYTES.get(dtype, 0)
        for number in numbers:
            size *= number
        total += size
    return total


def kernels_of(computation: str) -> Iterator[Kernel]:
    sizes: dict[str, int] = {}
    for line in computation.splitlines()[1:]:
        match = LINE.match(re.sub(r"/\*index=\d+\*/", "", line))
        if match is None:
            continue
        name, shape, operation, operands = match.groups()
        sizes[name] = size_of(shape)
        if operation not in NO_KERNEL:
            product = "__cublas" in line
            used = [
                sizes[name],
                *(sizes.get(x.strip().lstrip("%"), 0) for x in operands.split(",")),
            ]
            yield Kernel(name, sum(n for n in used if product or n <= PART), product)


if __name__ == "__main__":
    main()
