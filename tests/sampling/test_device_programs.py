"""The device programs: the cache is updated in place on any mesh, and a block ends early."""

import jax
import numpy as np
import pytest

from jaxreason.models.decoder import init_params
from jaxreason.sampling.device_programs import ThinkTokens, make_device_programs, step
from jaxreason.sampling.engine_config import EngineSizes
from jaxreason.sampling.sequences import NEVER, Admission
from jaxreason.sharding import MeshConfig, make_mesh

SLOTS, ROWS, LENGTH, STEPS, PAGE = 64, 8, 128, 4, 16


def sizes(slots=4, rows=1, length=32, steps=10, page=8, parts=1):
    return EngineSizes(slots, length, steps, page, parts + (slots + rows) * -(-length // page))


def admission(shape):
    """Nothing starts."""
    names = ("copy_from", "copy_to", "token", "position", "last", "close_at", "sample", "top_k")
    return Admission(
        **{name: np.zeros(shape.slots, np.int32) for name in names},
        starts=np.zeros(shape.slots, bool),
        seen=np.zeros((shape.slots, 2), np.uint32),  # 61 tokens
        seed=np.zeros((shape.slots, 2), np.uint32),
        temperature=np.zeros(shape.slots, np.float32),
        min_p=np.zeros(shape.slots, np.float32),
        penalty=np.ones(shape.slots, np.float32),
        top_p=np.ones(shape.slots, np.float32),
        dirty=np.zeros(shape.pages, bool),
    )


def own_pages(rows, shape, first=1):
    """Tables of rows that each have pages of their own, from page `first` on."""
    return np.arange(first, first + rows * shape.columns, dtype=np.int32).reshape(rows, -1)


@pytest.fixture(params=["one device", "eight devices"])
def placed(request, one_device):
    mesh = one_device
    if request.param == "eight devices":
        mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=2, context=1))
    with jax.set_mesh(mesh):
        yield mesh


def test_no_program_makes_a_second_cache(model, placed):
    params = init_params(model, jax.random.key(0), placed)
    shape = sizes(SLOTS, ROWS, LENGTH, STEPS, PAGE, parts=max(placed.size // 2, 1))
    programs = make_device_programs(model, placed, shape, (3,))
    state = programs.make_state(params)
    own = state.cache.pages.nbytes // placed.size
    until, chunk = np.ones(SLOTS, np.int32), np.zeros((ROWS, 2), np.int32)
    mine = np.zeros((SLOTS, shape.columns), np.int32)
    zeros, tables = np.zeros(ROWS, np.int32), np.zeros((ROWS, shape.columns), np.int32)
    compiled = {
        "prefill": programs.prefill.lower(params, state, tables, chunk, zeros, zeros),
        "admit": programs.admit.lower(state, admission(shape)),
        "decode": programs.decode.lower(params, state, mine, until, np.int32(0)),
    }
    for name, lowered in compiled.items():
        memory = lowered.compile().memory_analysis()
        assert memory.alias_size_in_bytes >= own, name  # the output is the donated input
        # a layer of it, or the rows of other devices
        assert memory.temp_size_in_bytes < own * 0.8 + 100_000, name


def test_decode_ends_when_enough_slots_have(model, params, mesh):
    shape = sizes()
    programs = make_device_programs(model, mesh, shape, ())
    start = admission(shape)._replace(
        starts=np.ones(4, bool),
        token=np.array([5, 6, 7, 8], np.int32),
        last=np.array([2, 4, 6, 8], np.int32),  # replies of as many tokens
    )
    tables, until = own_pages(4, shape), np.full(4, 32, np.int32)
    for enough, steps in [(0, 8), (1, 6), (2, 4), (3, 2)]:
        state = programs.admit(programs.make_state(params), start)
        state, block = programs.decode(params, state, tables, until, np.int32(enough))
        np.testing.assert_array_equal(block.count, np.minimum([2, 4, 6, 8], steps))
    state = programs.admit(programs.make_state(params), start)
    until = np.array([0, 32, 3, 32], np.int32)  # one slot does not run, one has few pages
    _, block = programs.decode(params, state, tables, until, np.int32(0))
    np.testing.assert_array_equal(block.count, [0, 4, 3, 8])


def test_chunked_prefill_equals_prefill_at_once(model, params, mesh):
    prompts = np.asarray(jax.random.randint(jax.random.key(1), (2, 21), 4, 61), np.int32)
    shape = sizes(2, 2, 32, 4)
    programs = make_device_programs(model, mesh, shape, ())
    lengths, tables = np.array([21, 13], np.int32), own_pages(2, shape)
    whole = programs.prefill(
        params, programs.make_state(params), tables, prompts, 0 * lengths, lengths
    )
    chunked = programs.make_state(params)
    for start in range(0, 21, 8):
        count = np.clip(lengths - start, 0, 8)
        chunk = np.pad(prompts, ((0, 0), (0, 3)))[:, start : start + 8]
        chunked = programs.prefill(
            params, chunked, tables, chunk, np.minimum(start, lengths), count
        )
    np.testing.assert_allclose(whole.cache.pages, chunked.cache.pages, atol=1e-5, rtol=1e-5)


def test_admission_clears_copies_and_starts_only_what_it_names(model, params, placed):
    parts = max(placed.size // 2, 1)
    shape = sizes(SLOTS, ROWS, LENGTH, STEPS, PAGE, parts=parts)
    programs = make_device_programs(model, placed, shape, ())
    mine, slots = shape.pages // parts, SLOTS // parts  # of a part
    numbered = np.broadcast_to(
        np.arange(shape.pages)[None, :, None, None, None], (2, shape.pages, 4, PAGE, 8)
    )
    state = programs.make_state(params)
    pages = jax.device_put(numbered.astype(np.float32), state.cache.pages.sharding)
    state = state._replace(cache=state.cache._replace(pages=pages))
    new, expected = admission(shape), np.array(numbered[0, :, 0, 0, 0], np.float32)
    for part in range(parts):
        slot = part * slots + part
        new.starts[slot], new.position[slot] = True, 9
        new.copy_from[slot], new.copy_to[slot] = 5, 7 + part
        new.dirty[part * mine + 3] = True
        expected[part * mine + 7 + part] = part * mine + 5
        expected[part * mine + 3] = 0
    after = programs.admit(state, new)
    np.testing.assert_array_equal(
        after.cache.pages,
        np.broadcast_to(expected[None, :, None, None, None], numbered.shape),
    )
    np.testing.assert_array_equal(after.position, np.where(new.starts, 9, 0))


def test_a_slot_that_waits_for_a_page_keeps_its_think_budget(model, params, mesh):
    """A slot that does not run is computed too, but what it would have chosen closes no think block."""
    programs = make_device_programs(model, mesh, sizes(), ())
    start = admission(sizes())._replace(
        starts=np.ones(4, bool),
        token=np.array([5, 6, 7, 8], np.int32),
        close_at=np.full(4, 30, np.int32),
    )
    state = programs.admit(programs.make_state(params), start)
    state = state._replace(cache=state.cache._replace(tables=own_pages(4, sizes())))
    running = np.array([False, True, True, True])
    chosen = int(step(model, params, state, running)[1].token[0])
    after, choice = step(model, params, state, running, ThinkTokens((chosen, 11)))
    assert choice.token[0] == chosen
    expected = np.where(running & (choice.token == chosen), NEVER, 30)
    np.testing.assert_array_equal(after.close_at, expected)
    assert after.close_at[0] == 30
