"""An engine's programs: compiled side by side before the weights are there, and none when a request comes."""

import functools

import jax
import numpy as np
import pytest
from compilations import compilations
from processes import run_processes

from jaxreason.compiling import Compiling
from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import init_params
from jaxreason.models.sampler_weight_loading import part_programs, read_layout
from jaxreason.sampling.device_programs import make_device_programs
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_calls import copy_calls, engine_calls
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh, unstacked

NAMES = ("<lambda>", "_init_state", "decode", "prefill")
CONFIG = SamplerConfig(8, 48, 4, 64, 8, 64, 8, 0, 0, "auto", "auto", True)


def compiled_by_an_engine(architecture, sizes, num_devices, unroll, begun=False, reads=False):
    """Replies, and what was compiled ahead and when its turn came, by name; `reads`: each parameter by its path."""
    model = Model(Architecture(**architecture), "float32", "float32", "none", "plain", unroll)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[:num_devices])
    make_device_programs.cache_clear()
    jax.clear_caches()
    with jax.set_mesh(mesh):
        params = jax.block_until_ready(init_params(model, jax.random.key(0), mesh))
        read = reader_of(params) if reads else None
        with compilations() as found:
            calls, given, compiling = engine_calls(model, mesh, CONFIG, (3,)), params, None
            if begun:  # As RL does.
                compiling = Compiling(mesh, calls | copy_calls(model, mesh, CONFIG))
            if reads:
                compiling = Compiling(mesh, part_programs(model, mesh, CONFIG.weights))
                compiling.begin(calls)
                how = read, CONFIG.weights, compiling.wait
                given = functools.partial(read_layout, model, mesh, *how)
            engine = Engine(model, given, CONFIG, mesh, (3,), 0, str, compiling=compiling)
            requests = [Request(str(i), (5, 6, 7 + i), i, 2) for i in range(3)]
            done = list(engine.generate(requests, SamplingParams(1.0, 0, 1.0, 6, ())))
    replies = sorted([c.id, c.sample, *c.tokens] for c in done)
    return replies, *(sorted(c.name for c in found if c.ahead == ahead) for ahead in (True, False))


def reader_of(params):
    """Reads parameters from copies on the host."""
    flat = dict(jax.tree_util.tree_leaves_with_path(params))
    host = {path: np.asarray(x) for path, x in flat.items()}

    def read(path, before=None, layer=None):
        if layer is None:
            return jax.device_put(host[path], flat[path].sharding)
        return jax.device_put(host[path][layer], unstacked(flat[path].sharding))

    return read


def test_a_request_compiles_nothing_where_compiling_was_begun_before_the_weights(architecture):
    _, ahead, late = compiled_by_an_engine(architecture, (2, 1, 2, 1), 4, unroll=2, begun=True)
    first_and_later_copy = ["jit(change)"] * 2
    others = [f"jit({name})" for name in NAMES]
    assert ahead == sorted(others + first_and_later_copy)
    assert late == []


@pytest.mark.parametrize(("sizes", "devices"), [((1, 1, 1, 1), 1), ((2, 1, 2, 1), 4)], ids=str)
def test_nor_where_the_engine_reads_each_parameter_by_itself(architecture, sizes, devices):
    given = architecture, sizes, devices, 2
    replies, ahead, late = compiled_by_an_engine(*given, reads=True)
    layout = "jit(change)"
    assert set(ahead) == {layout, *(f"jit({x})" for x in NAMES)} and ahead.count(layout) > 1
    assert late == []
    assert replies == compiled_by_an_engine(*given, begun=True)[0]


def test_an_engine_compiles_side_by_side_itself(architecture):
    _, ahead, late = compiled_by_an_engine(architecture, (1, 1, 1, 1), 1, unroll=1, begun=False)
    assert ahead == ["jit(<lambda>)", "jit(_init_state)", "jit(decode)", "jit(prefill)"]
    assert late == []


@pytest.mark.slow
def test_processes_compile_the_same_programs_once_and_reply_alike(architecture):
    given = (architecture, (1, 2, 2, 1), 4, 1, True)
    first, second = run_processes(compiled_by_an_engine, 2, *given, num_devices=2)
    assert first == second
    assert first[1].count("jit(decode)") == 1
    assert "jit(decode)" not in first[2] and "jit(prefill)" not in first[2]
    assert first[0] == compiled_by_an_engine(*given)[0]
