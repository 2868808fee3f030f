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
from jaxreason.models.huggingface import ModelConfig, open_model
from jaxreason.sampling import open_engine as module
from jaxreason.sampling.device_programs import make_device_programs
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.open_engine import open_engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh

ROOT = Path(__file__).parents[2]
CONFIG = SamplerConfig(8, 48, 4, 64, 8, 64, 8, 0, 0, "auto", "auto", True)
TOKENS = SimpleNamespace(stop_ids=(3,), pad_id=0, decode=str, close_think=())


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
    threading.Thread(target=lambda: read.wait(60) and loaded.set_result(TOKENS)).start()
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


SLOW = """
import time
from concurrent.futures import Future
import jax
from jaxreason.errors import UserError
from jaxreason.sampling import open_engine as module
from test_open_engine import CONFIG, mesh_of, model_config

open_reader = module.open_reader

def slowly(*given):
    model, read = open_reader(*given)
    def read_slowly(*how):
        time.sleep(1.0)
        print("read", flush=True)
        return read(*how)
    return model, read_slowly

module.open_reader, failed = slowly, Future()
failed.set_exception(UserError("no tokenizer here"))
mesh = mesh_of((1, 1, 1, 1))
with jax.set_mesh(mesh):
    module.open_engine(model_config(1), mesh, CONFIG, failed)
"""


@pytest.mark.slow
def test_a_program_that_ends_early_does_not_read_the_rest_of_the_weights():
    folders = (ROOT, ROOT / "tests", ROOT / "tests/sampling")
    env = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, folders))}
    program = [sys.executable, "-c", SLOW]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, env=env)
    assert done.returncode == 1 and "no tokenizer here" in done.stderr
    assert done.stdout.count("read") <= 1
