"""An engine's programs: compiled side by side before the weights are there, and none when a request comes."""

import jax
import pytest
from compilations import compilations
from processes import run_processes

from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import init_params
from jaxreason.sampling.device_programs import make_device_programs
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_calls import begin_engine_compiling
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sharding import MeshConfig, make_mesh

NAMES = ("<lambda>", "_init_state", "decode", "prefill")
CONFIG = SamplerConfig(8, 48, 4, 64, 8, 64, 8, 0, 0, "auto", "auto", True)


def compiled_by_an_engine(architecture, sizes, num_devices, unroll, begun, reads=False):
    """Replies, and what was compiled ahead and when its turn came, by name; `reads`: each parameter by its path."""
    model = Model(Architecture(**architecture), "float32", "float32", "none", "plain", unroll)
    mesh = make_mesh(MeshConfig(*sizes), jax.devices()[:num_devices])
    make_device_programs.cache_clear()
    jax.clear_caches()
    with jax.set_mesh(mesh):
        params = jax.block_until_ready(init_params(model, jax.random.key(0), mesh))
        flat = dict(jax.tree_util.tree_leaves_with_path(params))
        with compilations() as found:
            given = model, mesh, CONFIG, (3,)
            compiling = begin_engine_compiling(*given, reads=reads) if begun else None
            given = (lambda path, before: flat[path]) if reads else params
            engine = Engine(model, given, CONFIG, mesh, (3,), 0, str, compiling=compiling)
            requests = [Request(str(i), (5, 6, 7 + i), i, 2) for i in range(3)]
            done = list(engine.generate(requests, SamplingParams(1.0, 0, 1.0, 6, ())))
    replies = sorted([c.id, c.sample, *c.tokens] for c in done)
    return replies, *(sorted(c.name for c in found if c.ahead == ahead) for ahead in (True, False))


def test_a_request_compiles_nothing_where_compiling_was_begun_before_the_weights(architecture):
    _, ahead, late = compiled_by_an_engine(architecture, (2, 1, 2, 1), 4, unroll=2, begun=True)
    assert ahead == [
        *("jit(<lambda>)", "jit(_init_state)", "jit(change)", "jit(decode)", "jit(prefill)")
    ]
    assert late == []


@pytest.mark.parametrize(("sizes", "devices"), [((1, 1, 1, 1), 1), ((2, 1, 2, 1), 4)], ids=str)
def test_nor_where_the_engine_reads_each_parameter_by_itself(architecture, sizes, devices):
    given = architecture, sizes, devices, 2, True
    replies, ahead, late = compiled_by_an_engine(*given, reads=True)
    layout = "jit(change)"
    assert set(ahead) == {layout, *(f"jit({x})" for x in NAMES)} and ahead.count(layout) > 1
    assert late == []
    assert replies == compiled_by_an_engine(*given)[0]


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
