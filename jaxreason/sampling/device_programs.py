"""The device side of sampling: the state of all slots, and the three programs that map this state to a new one.

`prefill` writes prompt tokens into pages of the cache. `admit` starts sequences in slots on such pages; all samples of
a group start on the pages of one prompt. `decode` runs many steps in one dispatch. Prefill stops before the last token
of a prompt. The first decode step reads that token, so every token of a reply is chosen in one place, by one program.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Array, Bool, Float, Int, UInt32

from jaxreason.models.architecture import Model
from jaxreason.models.blockwise import cut_blocks
from jaxreason.models.decoder import abstract_params, forward
from jaxreason.models.paged_cache import PagedCache
from jaxreason.sampling import cache_engine, sampler
from jaxreason.sampling.engine_config import EngineSizes
from jaxreason.sampling.sequences import NEVER, Admission
from jaxreason.sharding import (
    abstract_arrays,
    axis_size,
    constrain,
    fitting_spec,
    platform,
    replicated,
)

ROWS = ("act_batch", None)  # Logical axes of a page table's dims.
CPU_TOKENS = 256  # Prompt tokens that a CPU reads at a time.


class SlotState(NamedTuple):
    """The state of all slots, one sequence per slot. `admit` overwrites all values of an idle slot."""

    cache: PagedCache  # Holds keys and values of the positions before `position`.
    token: Int[Array, " B"]  # The newest token, which is the input of the next step.
    position: Int[Array, " B"]  # The index of `token` in the sequence (prompt and reply).
    last: Int[Array, " B"]  # Index of the last token that the sequence may have.
    # Index from which an open think block is closed; negative while none is open; NEVER if none will be closed.
    close_at: Int[Array, " B"]
    seen: UInt32[Array, "B W"]  # Tokens that the penalty applies to, see `sampler.add_token_bit`.
    rule: sampler.SamplingTensors


class ThinkTokens(NamedTuple):
    """The tokens of a think block.

    Attributes:
      close: the token that closes it and the tokens that must follow; empty if there is no such token.
      open: the token that opens it; None = every reply begins within one.
    """

    close: tuple[int, ...] = ()
    open: int | None = None


NO_THINKING = ThinkTokens()


class DecodedBlock(NamedTuple):
    """The tokens of one dispatch of `decode`: the first `count` entries of each row."""

    tokens: Int[Array, "B steps"]
    logprobs: Float[Array, "B steps"]
    count: Int[Array, " B"]
    failed: Bool[Array, " B"]  # The last token came from non-finite logits and has no meaning.
    top_tokens: Int[Array, "B steps K"]
    top_logprobs: Float[Array, "B steps K"]


class DevicePrograms(NamedTuple):
    """The compiled functions of one engine. Each of them donates the buffers of the state that it is given."""

    make_state: Callable[[Any], SlotState]  # Takes the parameters.
    prefill: Callable[..., SlotState]
    admit: Callable[..., SlotState]
    decode: Callable[..., tuple[SlotState, DecodedBlock]]


@functools.lru_cache(maxsize=8)  # All models of a study share their programs.
def make_device_programs(
    model: Model,
    mesh: Mesh,
    sizes: EngineSizes,
    stop_ids: tuple[int, ...],
    close_think: tuple[int, ...] = (),
    open_think: int | None = None,
) -> DevicePrograms:
    """Wraps the programs in `jax.jit`; nothing is compiled yet."""
    init = functools.partial(_init_state, model, sizes)
    shardings = _state_shardings(model, mesh, init)
    whole = replicated(mesh)
    run = functools.partial(decode, model, sizes, stop_ids, ThinkTokens(close_think, open_think))
    return DevicePrograms(
        make_state=jax.jit(init, out_shardings=shardings),
        prefill=jax.jit(
            functools.partial(prefill, model), donate_argnums=1, out_shardings=shardings
        ),
        admit=jax.jit(lambda *args: admit(*args), donate_argnums=0, out_shardings=shardings),
        decode=jax.jit(run, donate_argnums=1, out_shardings=(shardings, whole)),
    )


def abstract_slots(model: Model, mesh: Mesh, sizes: EngineSizes) -> SlotState:
    """Returns the shapes, dtypes and shardings of the state that `DevicePrograms.make_state` makes."""
    init = functools.partial(_init_state, model, sizes)
    shardings = _state_shardings(model, mesh, init)
    return abstract_arrays(_shapes(model, mesh, init), shardings)


def _init_state(model: Model, sizes: EngineSizes, params: Any) -> SlotState:
    slots = sizes.slots
    zeros = jnp.zeros(slots, jnp.int32)
    rule = sampler.SamplingTensors(
        key=jnp.zeros((slots, 2), jnp.uint32),
        temperature=jnp.zeros(slots),
        top_k=zeros,
        top_p=jnp.ones(slots),
        min_p=jnp.zeros(slots),
        penalty=jnp.ones(slots),
    )
    seen = jnp.zeros((slots, -(-model.architecture.vocab_size // 32)), jnp.uint32)
    cache = cache_engine.init_paged_cache(
        model,
        params,
        rows=slots,
        columns=sizes.columns,
        number=sizes.pages,
        size=sizes.page_size,
        dtype=sizes.cache_dtype,
    )
    return SlotState(cache, zeros, zeros, zeros, zeros, seen, rule)


def _state_shardings(model: Model, mesh: Mesh, init: Callable) -> Any:
    def by_slot(x: jax.ShapeDtypeStruct) -> NamedSharding:
        return NamedSharding(
            mesh, fitting_spec(mesh, ("act_batch", *[None] * (x.ndim - 1)), x.shape)
        )

    shapes = _shapes(model, mesh, init)
    shardings = jax.tree.map(by_slot, shapes)
    return shardings._replace(cache=cache_engine.cache_sharding(mesh, shapes.cache))


def _shapes(model: Model, mesh: Mesh, init: Callable) -> SlotState:
    # The class of the cache depends on the platform.
    with jax.sharding.use_abstract_mesh(mesh.abstract_mesh):
        return jax.eval_shape(init, abstract_params(model))


def prefill(
    model: Model,
    params: Any,
    state: SlotState,
    tables: Int[Array, "R M"],
    tokens: Int[Array, "R C"],
    start: Int[Array, " R"],
    count: Int[Array, " R"],
) -> SlotState:
    """Writes prompt tokens, cut into blocks, into the pages of their sequences.

    All tokens of a block belong to one sequence. A sequence may have several blocks in one dispatch: every layer writes
    the keys and values of all blocks before it attends, so a later block sees the earlier ones. A block must come after
    those that it sees.

    Args:
      tables: the pages of each block's sequence.
      tokens: the blocks.
      start: the position of each block's first token.
      count: the number of tokens to write of each block; the rest is padding.
    """
    # Prompts of any length become blocks of one length. One compiled program thus serves all of them, and only the last
    # block of a prompt has padding.
    blocks, write = (tables, tokens, start, count), functools.partial(_write_blocks, model, params)
    if platform() != "cpu" or axis_size("act_batch") > 1:
        return state._replace(cache=write(state.cache, *blocks))
    # A CPU gains nothing by many rows at a time, and loses much where most blocks are empty. A block comes after those
    # that it sees, so blocks can be written run by run, up to the last one in use.
    number, size = tokens.shape
    run = min(max(CPU_TOKENS // size, 1), number)
    # The last run may be longer than what is left: it is filled with zeros, which are blocks without use.
    runs = [cut_blocks(run, x[None])[:, 0] for x in blocks]
    used = jnp.max(jnp.where(jnp.any(runs[-1] > 0, axis=1), 1 + jnp.arange(len(runs[-1])), 0))
    body = lambda index, cache: write(cache, *(x[index] for x in runs))  # noqa: E731
    return state._replace(cache=jax.lax.fori_loop(0, used, body, state.cache))


def _write_blocks(
    model: Model,
    params: Any,
    cache: PagedCache,
    tables: Array,
    tokens: Array,
    start: Array,
    count: Array,
) -> PagedCache:
    # A padded position is set to `cache.length`, which the cache drops.
    offset = jnp.arange(tokens.shape[1])
    own = cache._replace(tables=constrain(tables, ROWS))
    positions = jnp.where(offset < count[:, None], start[:, None] + offset, cache.length)
    return cache._replace(pages=forward(model, params, tokens, positions, cache=own).cache.pages)


def admit(state: SlotState, new: Admission) -> SlotState:
    """Starts sequences in slots. The samples of a group differ only in `sample`; they share their prompt's pages."""
    pages = cache_engine.clear_pages(state.cache.pages, new.dirty)
    pages = cache_engine.copy_pages(pages, new.copy_from, new.copy_to)
    rule = sampler.SamplingTensors(
        key=sampler.sequence_keys(new.seed, new.sample),
        temperature=new.temperature,
        top_k=new.top_k,
        top_p=new.top_p,
        min_p=new.min_p,
        penalty=new.penalty,
    )
    fresh = (new.token, new.position, new.last, new.close_at, new.seen, rule)

    def pick(fresh: Array, old: Array) -> Array:
        return jnp.where(new.starts.reshape(-1, *[1] * (old.ndim - 1)), fresh, old)

    started = jax.tree.map(pick, fresh, tuple(state[1:]))
    return SlotState(state.cache._replace(pages=pages), *started)


def decode(
    model: Model,
    sizes: EngineSizes,
    stop_ids: tuple[int, ...],
    think: ThinkTokens,
    params: Any,
    state: SlotState,
    tables: Int[Array, "B M"],
    until: Int[Array, " B"],
    enough: Int[Array, ""],
) -> tuple[SlotState, DecodedBlock]:
    """Decodes at most `sizes.steps` steps for each slot; ends earlier when at most `enough` of the slots still run.

    Args:
      tables: the pages of each slot.
      until: the position up to which the slot has pages, where it stops; 0 if the slot does not run.
      enough: the number of running slots at which the dispatch ends early.
    """
    slots, steps, num_top = sizes.slots, sizes.steps, sizes.top_logprobs
    empty = DecodedBlock(
        tokens=jnp.zeros((slots, steps), jnp.int32),
        logprobs=jnp.zeros((slots, steps), jnp.float32),
        count=jnp.zeros(slots, jnp.int32),
        failed=jnp.zeros(slots, bool),
        top_tokens=jnp.zeros((slots, steps, num_top), jnp.int32),
        top_logprobs=jnp.zeros((slots, steps, num_top), jnp.float32),
    )
    put = functools.partial(jax.lax.dynamic_update_index_in_dim, axis=1)

    def goes_on(carry: tuple) -> Array:
        index, _, running, _ = carry
        return (index < steps) & (jnp.sum(running) > enough)

    def body(carry: tuple) -> tuple:
        index, state, running, block = carry
        state, choice = step(model, params, state, running, think, num_top)
        block = DecodedBlock(
            tokens=put(block.tokens, choice.token, index),
            logprobs=put(block.logprobs, choice.logprob, index),
            count=block.count + running,
            failed=block.failed | (running & ~choice.finite),
            top_tokens=put(block.top_tokens, choice.top_tokens, index),
            top_logprobs=put(block.top_logprobs, choice.top_logprobs, index),
        )
        ended = jnp.isin(choice.token, jnp.array(stop_ids, jnp.int32)) | (
            state.position >= jnp.minimum(state.last, until)
        )
        return index + 1, state, running & choice.finite & ~ended, block

    state = state._replace(cache=state.cache._replace(tables=constrain(tables, ROWS)))
    # One dispatch runs many steps, so the host is consulted once per block and not once per token. A slot that ends
    # inside the block is idle until the block's end, which is why the block may end early (`enough`).
    carry = jnp.int32(0), state, state.position < until, empty
    _, state, _, block = jax.lax.while_loop(goes_on, body, carry)
    return state, block


def step(
    model: Model,
    params: Any,
    state: SlotState,
    running: Bool[Array, " B"],
    think: ThinkTokens = NO_THINKING,
    num_top: int = 0,
) -> tuple[SlotState, sampler.SamplerOutput]:
    """Decodes one token for every running slot; the other slots write nothing and keep their state.

    Args:
      model: static description.
      params: its parameters.
      state: the slots.
      running: the slots that take part.
      think: the tokens that close and open a think block.
      num_top: how many of the most likely tokens are returned.
    """
    # Idle slots are computed too, since shapes are fixed. A position outside the cache makes the cache drop the write.
    # This is needed because the table of an idle slot may still name pages that now belong to another sequence.
    outside = state.cache.length
    positions = jnp.where(running, state.position, outside)
    out = forward(model, params, state.token[:, None], positions[:, None], cache=state.cache)
    rule = state.rule._replace(  # The options of an idle slot must not cost anything.
        temperature=jnp.where(running, state.rule.temperature, 0.0),
        top_k=jnp.where(running, state.rule.top_k, 0),
        top_p=jnp.where(running, state.rule.top_p, 1.0),
        min_p=jnp.where(running, state.rule.min_p, 0.0),
        penalty=jnp.where(running, state.rule.penalty, 1.0),
    )
    forced = _closing(state, think.close)
    choice = sampler.sample_tokens(
        out.logits[:, 0], rule, state.position + 1, state.seen, forced, num_top
    )
    return (
        state._replace(
            cache=out.cache,
            token=jnp.where(running, choice.token, state.token),
            position=state.position + running,
            close_at=jnp.where(running, _next_close_at(state, choice.token, think), state.close_at),
            seen=sampler.add_token_bit(state.seen, choice.token, running),
        ),
        choice,
    )


def _closing(state: SlotState, close_think: tuple[int, ...]) -> Int[Array, " B"] | None:
    """Returns the token that a slot must take next because its think budget is spent; -1 for no such token."""
    if not close_think:
        return None
    offset = state.position + 1 - state.close_at
    due = (offset >= 0) & (offset < len(close_think))
    tokens = jnp.array(close_think, jnp.int32)
    return jnp.where(due, tokens[jnp.clip(offset, 0, len(close_think) - 1)], -1)


def _next_close_at(
    state: SlotState, token: Int[Array, " B"], think: ThinkTokens
) -> Int[Array, " B"]:
    """Returns the new `close_at`: NEVER after a token that closed the think block before the budget was spent.

    A block that is opened when the budget has been spent is closed at once.
    """
    if not think.close:
        return state.close_at
    closes = (token == think.close[0]) & (state.position + 1 < state.close_at)
    close_at = jnp.where(closes, NEVER, state.close_at)
    if think.open is None:
        return close_at
    opens = (state.close_at < 0) & (token == think.open)
    return jnp.where(opens, jnp.maximum(-state.close_at, state.position + 2), close_at)
