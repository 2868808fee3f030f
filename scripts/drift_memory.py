"""Measures the device memory for comparing Qwen3-14B with a tuned twin, by length of text: the table of docs/drift.md.

    python scripts/drift_memory.py --slice v5p-8
    python scripts/drift_memory.py --slice v6e-8 --lengths 2048,16384

The same program that drift runs is compiled for the slice, with a row for each group of `tensor` devices; no TPU is
needed. Needs jaxreason[tpu].
"""

import argparse
import functools

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from jaxreason.analysis.paired_forward import make_measure
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import ModelConfig, make_model
from jaxreason.plan.devices import slice_devices
from jaxreason.plan.program_costs import needed_bytes, peak_bytes
from jaxreason.plan.slices import GIB, find_slice
from jaxreason.recipes import load_recipe
from jaxreason.sharding import (
    ROWS,
    MeshConfig,
    abstract_arrays,
    bytes_on_device,
    make_mesh,
    num_parts,
    spec,
)

RECIPE = "configs/study_qwen3_14b.py"
CHUNK = 512  # Positions whose logits are in memory at the same time.


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slice", required=True)
    parser.add_argument("--lengths", default="2048,16384,32768")
    arguments = parser.parse_args()
    slice_ = find_slice(arguments.slice)
    devices, _ = slice_devices(slice_)
    tensor = min(8, len(devices))
    mesh = make_mesh(MeshConfig(data=1, fsdp=-1, tensor=tensor, context=1), devices)
    print("| slice | mesh | tokens of a text | GiB a device: both models | peak | of |")
    print("|---|---|---|---|---|---|")
    for length in map(int, arguments.lengths.split(",")):
        held, peak = measure(mesh, length)
        shown = ", ".join(f"{name} {size}" for name, size in mesh.shape.items() if size > 1)
        sizes = f"{held / GIB:.1f} | {peak / GIB:.1f} | {slice_.kind.hbm / GIB:.1f}"
        print(f"| {slice_.name} | {shown} | {length:,} | {sizes} |", flush=True)


def measure(mesh: jax.sharding.Mesh, length: int) -> tuple[int, float]:
    """Returns bytes on a device: of both models' parameters, and at the program's peak."""
    architecture = architecture_from_hf(load_recipe(RECIPE).plan.architecture.to_dict())
    how = dict(dtype="bfloat16", param_dtype="bfloat16", remat="full", attention="splash", unroll=1)
    model = make_model(ModelConfig(path="", init="random", architecture={}, **how), architecture)
    params = abstract_arrays(abstract_params(model), param_shardings(model, mesh))
    row = functools.partial(
        jax.ShapeDtypeStruct,
        (num_parts(mesh, *ROWS), length),
        sharding=NamedSharding(mesh, spec(ROWS)),
    )
    arrays = row(jnp.int32), row(jnp.int32), row(jnp.float32)
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        traced = make_measure(model, model, CHUNK).trace(params, params, *arrays)
        lowered = traced.lower(lowering_platforms=(mesh.devices.flat[0].platform,))
    try:
        platform = mesh.devices.flat[0].platform
        return 2 * bytes_on_device(params), peak_bytes(lowered.compile(), platform)
    except jax.errors.JaxRuntimeError as error:  # It does not fit.
        return 2 * bytes_on_device(params), needed_bytes(str(error))


if __name__ == "__main__":
    main()
