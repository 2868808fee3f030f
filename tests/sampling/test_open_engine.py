"""A model is read while its tokenizer loads and its programs compile, and every fault among them ends the start."""

import os
import subprocess
import sys
import threading
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from compilations import compilations

from jaxreason.errors import UserError
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import ModelConfig, open_model
from jaxreason.sampling import open_engine as module
from jaxreason.sampling.device_programs import make_device_programs
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.open_engine import open_engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh

ROOT = Path(__file__).parents[2]
TINY = "configs/study_tiny.py"
CONFIG = SamplerConfig(8, 48, 4, 64, 8, 64, 8, 0, 0, "auto", "auto", True)
TOKENS = SimpleNamespace(stop_ids=(3,), pad_id=0, decode=str, close_think=(), open_think=None)


def model_config(unroll, path=ROOT / "configs/tiny_base"):
    return ModelConfig(str(path), "pretrained", {}, "float32", "float32", "none", "plain", unroll)


def mesh_of(sizes):
    return make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])


def replies(engine):
    requests = [Request(str(i), (5, 6, 7 + i), i, 2) for i in range(3)]
    done = engine.generate(requests, SamplingParams(1.0, 0, 1.0, 6, ()))
    return sorted((c.id, c.sample, c.tokens) for c in done)


@pytest.mark.parametrize("unroll", [1, 1000])
@pytest.mark.parametrize("sizes", [(1, 1, 1, 1), (2, 1, 2, 1)], ids=str)
def test_an_engine_that_is_opened_replies_like_one_that_is_given_the_parameters(sizes, unroll):
    mesh, loaded, config = mesh_of(sizes), Future(), model_config(unroll)
    threading.Timer(1.0, loaded.set_result, [TOKENS]).start()  # The tokenizer takes its time.
    make_device_programs.cache_clear()
    jax.clear_caches()
    with jax.set_mesh(mesh):
        with compilations() as found:
            engine, model = open_engine(config, mesh, CONFIG, loaded)
            opened = replies(engine)
        _, params = open_model(config, mesh)
        given = Engine(model, params, CONFIG, mesh, (3,), 0, str)
        assert opened == replies(given)
    late = [one.name for one in found if not one.ahead]
    assert late == []


def test_the_weights_are_read_before_the_tokenizer_is_there(monkeypatch):
    mesh, loaded, read = mesh_of((1, 1, 1, 1)), Future(), threading.Event()
    layout = module.read_layout

    def reading(*given):
        found = layout(*given)
        read.set()
        return found

    monkeypatch.setattr(module, "read_layout", reading)

    def answer():
        if read.wait(60):
            loaded.set_result(TOKENS)
        else:
            loaded.set_exception(AssertionError("the weights were not read"))

    threading.Thread(target=answer).start()
    with jax.set_mesh(mesh):
        engine, _ = open_engine(model_config(1), mesh, CONFIG, loaded)
        assert len(replies(engine)) == 6


def test_a_tokenizer_or_weights_that_cannot_be_loaded_end_the_start(tmp_path):
    mesh, loaded, failed = mesh_of((1, 1, 1, 1)), Future(), Future()
    loaded.set_result(TOKENS)
    failed.set_exception(UserError("no tokenizer here"))
    (tmp_path / "config.json").write_bytes((ROOT / "configs/tiny_base/config.json").read_bytes())
    with jax.set_mesh(mesh):
        with pytest.raises(UserError, match="no tokenizer here"):
            open_engine(model_config(1), mesh, CONFIG, failed)
        with pytest.raises(UserError, match=r"neither model\.safetensors\.index\.json nor"):
            open_engine(model_config(1, tmp_path), mesh, CONFIG, loaded)


# Each weight takes a second, and the tokenizer fails soon after the first has begun.
SLOW = """
import sys, threading, time
from concurrent.futures import Future
from jaxreason.__main__ import main
from jaxreason.errors import UserError
from jaxreason.models import huggingface
from jaxreason.results import checksums
from jaxreason.verbs import answering

where = {"huggingface": huggingface, "checksums": checksums}[sys.argv.pop(1)]
name = sys.argv.pop(1)
work, failed, began = getattr(where, name), Future(), threading.Event()

def slowly(*given):
    began.set()
    print("begun", flush=True)
    time.sleep(1.0)
    return work(*given)

def fail():
    began.wait(60)
    time.sleep(0.5)  # By then the others wait for a thread.
    failed.set_exception(UserError("no tokenizer here"))

setattr(where, name, slowly)
answering.begin_loading_tokenizer = lambda model: failed
threading.Thread(target=fail).start()
main()
"""


@pytest.fixture
def in_shards(tmp_path):
    """A model in many files, with their checksums."""
    config = model_config(1)
    model, params = open_model(config, None)
    where = {"tokenizer_from": ROOT / "configs/tiny_base", "max_shard_bytes": 50_000}
    save_model(tmp_path / "model", model, params, **where)
    assert len(list((tmp_path / "model").glob("*.safetensors"))) > 20
    return tmp_path / "model"


# The weights that are read when the program ends: one stack of layers, or one layer by each thread; four files hashed.
@pytest.mark.slow
@pytest.mark.parametrize(
    ("where", "name", "unroll", "most"),
    [
        ("huggingface", "copy_into", 1, 3),
        ("huggingface", "copy_into", 1000, 8),
        ("checksums", "hash_once", 1, 4),
    ],
)
def test_a_program_that_ends_early_does_not_read_the_rest(
    in_shards, tmp_path, where, name, unroll, most
):
    # One device, and no file has been hashed before.
    env = os.environ | {"XLA_FLAGS": "", "JAXREASON_CACHE": str(tmp_path / "hashes")}
    if name != "hash_once":
        (in_shards / "checksums.json").unlink()
    fields = {"model.path": in_shards, "model.unroll": unroll, "serve.port": 0}
    words = [f"--config.{field}={value}" for field, value in fields.items()]
    program = [sys.executable, "-c", SLOW, where, name, "serve", "--config", TINY, *words]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, env=env, cwd=ROOT)
    assert done.returncode == 2 and "no tokenizer here" in done.stderr
    assert 1 <= done.stdout.count("begun") <= most
