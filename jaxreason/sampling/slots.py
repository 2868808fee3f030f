"""The device side of sampling: the record of all slots, and the three programs that map it to itself.

`prefill` runs chunks of prompts into the rows of a staging cache, `admit` copies finished rows into slots (all
samples of a group from one row), and `decode` runs many steps in one dispatch. Prefill stops before a prompt's last
token: the first decode step takes it, so that every reply token is chosen in one place, by one program.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxreason.models.cache import Cache
from jaxreason.models.decoder import Model, forward
from jaxreason.sampling import decoding, kv_cache
from jaxreason.sharding import fitting_spec


class SlotState(NamedTuple):
    """One sequence a slot. What an idle slot holds means nothing: `admit` overwrites all of it."""

    cache: Cache  # entries of positions < position
    token: Int[Array, " B"]  # the newest token; the next step's input
    position: Int[Array, " B"]  # its index in the sequence (prompt and reply)
    last: Int[Array, " B"]  # index of the last token the sequence may have
    rule: decoding.Rule


class Admission(NamedTuple):
    """Sequences that start: the first `count` entries, each from staging row `row` into slot `slot`.

    In unused entries `slot` is the number of slots, and writes there are dropped.
    """

    count: Int[Array, ""]
    row: Int[Array, " B"]
    slot: Int[Array, " B"]
    token: Int[Array, " B"]  # the prompt's last token
    position: Int[Array, " B"]  # its index
    last: Int[Array, " B"]
    seed: UInt32[Array, "B 2"]  # high and low word
    sample: Int[Array, " B"]
    temperature: Float[Array, " B"]
    top_k: Int[Array, " B"]
    top_p: Float[Array, " B"]


class Block(NamedTuple):
    """What one dispatch of `decode` gave: the first `count` entries of each row."""

    tokens: Int[Array, "B steps"]
    logprobs: Float[Array, "B steps"]
    count: Int[Array, " B"]
    failed: Bool[Array, " B"]  # the last of them came from non-finite logits and means nothing


class Programs(NamedTuple):
    """The compiled functions of one engine. State and staging are donated."""

    make_state: Callable[[], SlotState]
    make_staging: Callable[[], Cache]
    prefill: Callable[..., Cache]
    admit: Callable[..., SlotState]
    decode: Callable[..., tuple[SlotState, Block]]


@functools.lru_cache(maxsize=8)  # the models of a study share their programs
def make_programs(
    model: Model,
    mesh: Mesh,
    slots: int,
    rows: int,
    length: int,
    steps: int,
    stop_ids: tuple[int, ...],
) -> Programs:
    """Jits everything for `slots` slots and `rows` staging rows of `length` positions; nothing is compiled yet."""
    init = functools.partial(_init_state, model, slots, length)
    state_shardings = _state_shardings(model, mesh, init, slots, length)
    staging_shardings = kv_cache.cache_shardings(model, mesh, rows, length)
    whole = kv_cache.replicated(mesh)
    run = functools.partial(decode, model, steps, stop_ids)
    return Programs(
        make_state=jax.jit(init, out_shardings=state_shardings),
        make_staging=kv_cache.make_maker(model, mesh, rows, length),
        prefill=jax.jit(
            functools.partial(prefill, model), donate_argnums=1, out_shardings=staging_shardings
        ),
        admit=jax.jit(lambda *args: admit(*args), donate_argnums=0, out_shardings=state_shardings),
        decode=jax.jit(run, donate_argnums=1, out_shardings=(state_shardings, whole)),
    )


def abstract_state(model: Model, mesh: Mesh, slots: int, length: int) -> SlotState:
    """Shapes, dtypes and shardings of what `Programs.make_state` makes."""
    init = functools.partial(_init_state, model, slots, length)
    return jax.tree.map(
        lambda x, sharding: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding),
        jax.eval_shape(init),
        _state_shardings(model, mesh, init, slots, length),
    )


def _init_state(model: Model, slots: int, length: int) -> SlotState:
    zeros = jnp.zeros(slots, jnp.int32)
    rule = decoding.Rule(
        jnp.zeros((slots, 2), jnp.uint32), jnp.zeros(slots), zeros, jnp.ones(slots)
    )
    return SlotState(kv_cache.init_cache(model, slots, length), zeros, zeros, zeros, rule)


def _state_shardings(model: Model, mesh: Mesh, init: Callable, slots: int, length: int) -> Any:
    def by_slot(x: jax.ShapeDtypeStruct) -> NamedSharding:
        return NamedSharding(
            mesh, fitting_spec(mesh, ("act_batch", *[None] * (x.ndim - 1)), x.shape)
        )

    shardings = jax.tree.map(by_slot, jax.eval_shape(init))
    return shardings._replace(cache=kv_cache.cache_shardings(model, mesh, slots, length))


def prefill(
    model: Model,
    params: Any,
    staging: Cache,
    tokens: Int[Array, "R C"],
    start: Int[Array, " R"],
    count: Int[Array, " R"],
) -> Cache:
    """Writes the next chunk of each row's prompt.

    Args:
      tokens: the chunk; only the first `count` tokens of a row are written.
      start: the position of the chunk's first token; what a row holds from there on is cleared.
    """
    offset = jnp.arange(tokens.shape[1])
    outside = staging.length
    positions = jnp.where(offset < count[:, None], start[:, None] + offset, outside)
    staging = kv_cache.clear_from(staging, start)
    return forward(model, params, tokens, positions, cache=staging).cache


def admit(state: SlotState, staging: Cache, new: Admission) -> SlotState:
    """Starts sequences in slots; a group's samples differ in `sample` only and share a row."""
    cache = kv_cache.copy_rows(state.cache, staging, new.count, new.row, new.slot, new.position)
    rule = decoding.Rule(
        decoding.sequence_keys(new.seed, new.sample), new.temperature, new.top_k, new.top_p
    )
    fresh = (new.token, new.position, new.last, rule)
    old = (state.token, state.position, state.last, state.rule)
    return SlotState(
        cache, *jax.tree.map(lambda a, b: a.at[new.slot].set(b, mode="drop"), old, fresh)
    )


def decode(
    model: Model,
    steps: int,
    stop_ids: tuple[int, ...],
    params: Any,
    state: SlotState,
    running: Bool[Array, " B"],
    enough: Int[Array, ""],
) -> tuple[SlotState, Block]:
    """At most `steps` steps for the running slots; ends early when at most `enough` of them still run."""
    slots = running.shape[0]
    empty = Block(
        tokens=jnp.zeros((slots, steps), jnp.int32),
        logprobs=jnp.zeros((slots, steps), jnp.float32),
        count=jnp.zeros(slots, jnp.int32),
        failed=jnp.zeros(slots, bool),
    )

    def goes_on(carry: tuple) -> Array:
        index, _, running, _ = carry
        return (index < steps) & (jnp.sum(running) > enough)

    def body(carry: tuple) -> tuple:
        index, state, running, block = carry
        state, choice = step(model, params, state, running)
        block = Block(
            tokens=jax.lax.dynamic_update_index_in_dim(block.tokens, choice.token, index, 1),
            logprobs=jax.lax.dynamic_update_index_in_dim(block.logprobs, choice.logprob, index, 1),
            count=block.count + running,
            failed=block.failed | (running & ~choice.finite),
        )
        ended = jnp.isin(choice.token, jnp.array(stop_ids, jnp.int32)) | (
            state.position >= state.last
        )
        return index + 1, state, running & choice.finite & ~ended, block

    _, state, _, block = jax.lax.while_loop(goes_on, body, (jnp.int32(0), state, running, empty))
    return state, block


def step(
    model: Model, params: Any, state: SlotState, running: Bool[Array, " B"]
) -> tuple[SlotState, decoding.Choice]:
    """One token for every running slot; the others write nothing and stay as they are."""
    outside = state.cache.length
    positions = jnp.where(running, state.position, outside)
    out = forward(model, params, state.token[:, None], positions[:, None], cache=state.cache)
    rule = state.rule._replace(  # an idle slot's options must not cost anything
        temperature=jnp.where(running, state.rule.temperature, 0.0),
        top_k=jnp.where(running, state.rule.top_k, 0),
        top_p=jnp.where(running, state.rule.top_p, 1.0),
    )
    choice = decoding.choose(out.logits[:, 0], rule, state.position + 1)
    return (
        state._replace(
            cache=out.cache,
            token=jnp.where(running, choice.token, state.token),
            position=state.position + running,
        ),
        choice,
    )
