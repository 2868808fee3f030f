"""The device programs: the cache is updated in place on any mesh, and a block ends early."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.decoder import init_params
from jaxreason.sampling.slots import Admission, make_programs
from jaxreason.sharding import MeshConfig, make_mesh

SLOTS, ROWS, LENGTH, STEPS = 64, 8, 128, 4


def admission(slots):
    zeros = np.zeros(slots, np.int32)
    ones = np.ones(slots, np.float32)
    seed = np.zeros((slots, 2), np.uint32)
    return Admission(np.int32(0), zeros, zeros, zeros, zeros, zeros, seed, zeros, ones, zeros, ones)


@pytest.fixture(params=["one device", "eight devices"])
def placed(request, one_device):
    mesh = one_device
    if request.param == "eight devices":
        mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2, context=1))
    with jax.set_mesh(mesh):
        yield mesh


def test_no_program_makes_a_second_cache(model, placed):
    params = init_params(model, jax.random.key(0), placed)
    programs = make_programs(model, placed, SLOTS, ROWS, LENGTH, STEPS, (3,))
    state, staging = programs.make_state(), programs.make_staging()
    device_share = state.cache.k.nbytes * 2 // placed.size
    running, chunk = np.ones(SLOTS, bool), np.zeros((ROWS, 2), np.int32)
    zeros = np.zeros(ROWS, np.int32)
    compiled = {
        "prefill": programs.prefill.lower(params, staging, chunk, zeros, zeros),
        "admit": programs.admit.lower(state, staging, admission(SLOTS)),
        "decode": programs.decode.lower(params, state, running, np.int32(0)),
    }
    for name, lowered in compiled.items():
        memory = lowered.compile().memory_analysis()
        own = device_share * (ROWS / SLOTS if name == "prefill" else 1)
        assert memory.alias_size_in_bytes >= own, name  # the output is the donated input
        assert memory.temp_size_in_bytes < own * 0.8 + 100_000, (
            name
        )  # a layer of it, or gathered rows


def test_decode_ends_when_enough_slots_have(model, params, mesh):
    programs = make_programs(model, mesh, 4, 1, 32, 10, ())
    start = admission(4)._replace(
        count=np.int32(4),
        slot=np.arange(4, dtype=np.int32),
        token=np.array([5, 6, 7, 8], np.int32),
        last=np.array([2, 4, 6, 8], np.int32),  # replies of as many tokens
    )
    running = np.ones(4, bool)
    for enough, steps in [(0, 8), (1, 6), (2, 4), (3, 2)]:
        state = programs.admit(programs.make_state(), programs.make_staging(), start)
        state, block = programs.decode(params, state, running, np.int32(enough))
        np.testing.assert_array_equal(block.count, np.minimum([2, 4, 6, 8], steps))
    state = programs.admit(programs.make_state(), programs.make_staging(), start)
    _, block = programs.decode(params, state, np.array([False, True, False, True]), np.int32(0))
    np.testing.assert_array_equal(block.count, [0, 4, 0, 8])


def test_chunked_prefill_equals_prefill_at_once(model, params, mesh):
    prompts = np.asarray(jax.random.randint(jax.random.key(1), (2, 21), 4, 61), np.int32)
    programs = make_programs(model, mesh, 2, 2, 32, 4, ())
    lengths = np.array([21, 13], np.int32)
    whole = programs.prefill(params, programs.make_staging(), prompts, 0 * lengths, lengths)
    chunked = jax.tree.map(lambda x: x + jnp.nan, programs.make_staging())  # an earlier prompt's
    for start in range(0, 21, 8):
        count = np.clip(lengths - start, 0, 8)
        chunk = np.pad(prompts, ((0, 0), (0, 3)))[:, start : start + 8]
        chunked = programs.prefill(params, chunked, chunk, np.minimum(start, lengths), count)
    for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(chunked), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5)
