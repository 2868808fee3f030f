"""Model folders with the tiny base model's settings: other weights, and weights that cannot be served."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from jaxreason.results.checksums import hash_file, write_checksums

BASE = Path("configs/tiny_base")
WEIGHTS, SETTINGS = "model.safetensors", "config.json"


def write(folder, change=lambda tensors: tensors, settings=None):
    """A copy of the base model; `change` is given its tensors by name, `settings` replace some."""
    shutil.copytree(BASE, folder)
    save_file(change(load_file(BASE / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})
    if settings:
        known = json.loads((folder / SETTINGS).read_text())
        (folder / SETTINGS).write_text(json.dumps(known | settings))
    return folder


def noisy(tensors, seed=1):
    """Other weights, whose replies are other ones."""
    rng = np.random.default_rng(seed)
    return {k: (v + rng.normal(0, 0.3, v.shape)).astype(v.dtype) for k, v in tensors.items()}


def wider(tensors):
    key = "model.layers.0.mlp.up_proj.weight"
    return tensors | {key: np.concatenate([tensors[key]] * 2)}


def not_finite(tensors):
    key = "model.norm.weight"
    return tensors | {key: np.full_like(tensors[key], np.nan)}


def without_a_layer(tensors):
    return {k: v for k, v in tensors.items() if "layers.0.mlp.up_proj" not in k}


def write_cut(folder):
    write(folder)
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:-100])


def write_changed(folder):
    """Not the bytes that were exported."""
    write(folder)
    write_checksums(folder / "checksums.json", {WEIGHTS: hash_file(folder / WEIGHTS)})
    save_file(noisy(load_file(BASE / WEIGHTS)), folder / WEIGHTS, {"format": "pt"})


class Code:
    """Pickled, it writes a file where it is loaded."""

    def __init__(self, canary):
        self._canary = str(canary)

    def __reduce__(self):
        return Path.touch, (Path(self._canary),)


def write_pickle(folder, canary):
    write(folder)
    (folder / WEIGHTS).unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Code(canary)))


def write_code(folder, canary):
    auto_map = {"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"}
    write(folder, settings={"model_type": "evil", "auto_map": auto_map})
    (folder / "evil.py").write_text(f"import pathlib\npathlib.Path({str(canary)!r}).touch()\n")


def write_other_tokens(folder):
    write(folder)
    table = json.loads((folder / "tokenizer.json").read_text())
    vocab = table["model"]["vocab"]
    vocab["1"], vocab["2"] = vocab["2"], vocab["1"]
    (folder / "tokenizer.json").write_text(json.dumps(table))


def write_refused(root, canary):
    """Folders by name that are refused; `canary` is written if a file of theirs runs."""
    write(root / "shape", wider)
    write(root / "nan", not_finite)
    write(root / "missing", without_a_layer)
    write(root / "family", settings={"model_type": "llama"})
    write(root / "heads", settings={"num_attention_heads": 1, "num_key_value_heads": 1})
    write(root / "short", settings={"max_position_embeddings": 32})
    write_cut(root / "cut")
    write_changed(root / "changed")
    write_pickle(root / "pickle", canary)
    write_code(root / "code", canary)
    write_other_tokens(root / "tokens")
    (root / "empty").mkdir()
    (root / "file").write_text("no folder")
