"""Writes a model folder of one of Qwen3's sizes with random weights in bfloat16, to time what needs a folder.

python scripts/random_model.py 4b runs/random_4b
python scripts/random_model.py 1.7b runs/random_1.7b --tokenizer Qwen/Qwen3-1.7B   # a folder with a tokenizer
"""

import argparse
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import jax  # noqa: E402

from configs import qwen3  # noqa: E402
from jaxreason.models.hf_export import save_model  # noqa: E402
from jaxreason.models.huggingface import ModelConfig, open_model  # noqa: E402
from jaxreason.sharding import MeshConfig, make_mesh  # noqa: E402

SHARD = 4 * 2**30


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("size", choices=qwen3.SIZES)
    parser.add_argument("folder")
    parser.add_argument("--tokenizer", help="folder whose tokenizer and chat template are copied")
    arguments = parser.parse_args()
    mesh = make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])
    how = "bfloat16", "bfloat16", "none", "blockwise", 1
    config = ModelConfig("", "random", qwen3.architecture(arguments.size), *how)
    with jax.set_mesh(mesh):
        model, params = open_model(config, mesh, jax.random.key(0))
        places = {"tokenizer_from": arguments.tokenizer, "max_shard_bytes": SHARD}
        save_model(arguments.folder, model, params, **places)


if __name__ == "__main__":
    main()
