"""Two models read one reply while it is written: one chooses its tokens, and at some positions the other one does.

Each model has a plain cache of its own, and both see every token. Choices are greedy: the most likely token, the first
of equal ones. Where the models choose the same token there is nothing to take from the other one.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Array, Bool, Float, Int

from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward, init_cache
from jaxreason.models.kv_cache import KVCache
from jaxreason.models.logprobs import jensen_shannon
from jaxreason.sharding import place_rows, to_host

BLOCK = 64  # Steps between two checks by the host.
NO_BUDGET = np.iinfo(np.int32).max


class PatchingPrompts(NamedTuple):
    """Rows to reply to. `tokens` are padded on the right; a row without tokens gets no reply."""

    tokens: Int[np.ndarray, "B P"]
    count: Int[np.ndarray, " B"]  # Tokens of each prompt.
    limit: Int[np.ndarray, " B"]  # The most tokens of each reply.


class Takes(NamedTuple):
    """Where the other model's choice is taken.

    It is taken at the first `budget` positions at which the choices differ and the Jensen-Shannon divergence of the two
    distributions is at least `threshold` (nats).
    """

    threshold: Float[np.ndarray, " B"]
    budget: Int[np.ndarray, " B"]


class Patched(NamedTuple):
    """Replies. `differ`: the models' choices differ; `taken`: the other model's choice was taken. 0 after the end."""

    tokens: Int[np.ndarray, "B R"]
    own: Int[np.ndarray, "B R"]
    other: Int[np.ndarray, "B R"]
    js: Float[np.ndarray, "B R"]
    taken: Bool[np.ndarray, "B R"]
    length: Int[np.ndarray, " B"]  # Includes the token that ends a reply.


class _State(NamedTuple):
    base: KVCache
    tuned: KVCache
    token: Int[Array, " B"]  # The newest token, which no model has read yet.
    position: Int[Array, " B"]  # Its position.
    length: Int[Array, " B"]  # Length of the reply so far.
    used: Int[Array, " B"]  # Used part of the budget.
    ended: Bool[Array, " B"]


class _Block(NamedTuple):
    tokens: Int[Array, "B R"]
    own: Int[Array, "B R"]
    other: Int[Array, "B R"]
    js: Float[Array, "B R"]
    taken: Bool[Array, "B R"]


class PatchingPrograms(NamedTuple):
    """`prefill` maps (params of both, tokens, count) to a state; `decode` advances it by a block of steps."""

    prefill: Callable[..., _State]
    decode: Callable[..., tuple[_State, _Block]]


@functools.lru_cache(maxsize=8)
def make_patching(
    base: Model, tuned: Model, length: int, stop_ids: tuple[int, ...]
) -> PatchingPrograms:
    """Returns the programs for caches of `length` positions; tokens of `stop_ids` end a reply."""
    models = base, tuned
    stops = jnp.asarray(stop_ids, jnp.int32)

    @jax.jit
    def prefill(base_params, tuned_params, tokens, count):
        # The last token of a prompt is read by the first step. Positions beyond it are written nowhere.
        columns = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
        positions = jnp.where(columns < count[:, None] - 1, columns, length)
        caches = [
            forward(
                model, params, tokens, positions, cache=init_cache(model, len(tokens), length)
            ).cache
            for model, params in zip(models, (base_params, tuned_params), strict=True)
        ]
        last = jnp.take_along_axis(tokens, jnp.maximum(count - 1, 0)[:, None], axis=1)[:, 0]
        zero = jnp.zeros_like(count)
        return _State(*caches, last, count - 1, zero, zero, count == 0)

    @functools.partial(jax.jit, donate_argnums=2)
    def decode(base_params, tuned_params, state, takes, limit, tuned_leads):
        params = base_params, tuned_params
        shape = (len(limit), BLOCK)
        whole, part = jnp.zeros(shape, jnp.int32), jnp.zeros(shape, jnp.float32)
        block = _Block(whole, whole, whole, part, jnp.zeros(shape, bool))

        def goes_on(carry):
            step, state, _ = carry
            return (step < BLOCK) & ~jnp.all(state.ended)

        def one(carry):
            step, state, block = carry
            state, column = _step(models, params, state, takes, limit, tuned_leads, stops, length)
            made = (old.at[:, step].set(new) for old, new in zip(block, column, strict=True))
            return step + 1, state, _Block(*made)

        _, state, block = jax.lax.while_loop(goes_on, one, (0, state, block))
        return state, block

    return PatchingPrograms(prefill, decode)


def _step(models, params, state, takes, limit, tuned_leads, stops, length):
    """Decodes one more token of every reply that still runs."""
    positions = jnp.where(state.ended, length, state.position)[:, None]
    made = [
        forward(model, of, state.token[:, None], positions, cache=cache)
        for model, of, cache in zip(models, params, (state.base, state.tuned), strict=True)
    ]
    log_p, log_q = (jax.nn.log_softmax(out.logits[:, 0]) for out in made)
    js = jensen_shannon(log_p, log_q)
    base, tuned = (jnp.argmax(x, axis=-1).astype(jnp.int32) for x in (log_p, log_q))
    own, other = jnp.where(tuned_leads, tuned, base), jnp.where(tuned_leads, base, tuned)
    on = ~state.ended
    taken = on & (own != other) & (js >= takes.threshold) & (state.used < takes.budget)
    token = jnp.where(taken, other, own)
    reply = state.length + on
    ended = state.ended | jnp.isin(token, stops) | (reply >= limit)
    caches = (out.cache for out in made)
    used, position = state.used + taken, state.position + on
    after = _State(*caches, token, position, reply, used, ended)
    kept = (jnp.where(on, x, 0) for x in (token, own, other, js))
    return after, _Block(*kept, taken)


def write_replies(
    programs: PatchingPrograms,
    base_params: Any,
    tuned_params: Any,
    mesh: Mesh,
    prompts: PatchingPrompts,
    takes: Takes,
    tuned_leads: bool,
    check: Callable[[], None],
) -> Patched:
    """Returns replies to all prompts, whole on every process.

    Args:
      programs: of `make_patching`, with caches that hold every prompt and its longest reply.
      base_params: the base's parameters.
      tuned_params: the tuned model's parameters.
      mesh: where to compute; rows are split over its batch axes.
      prompts: the rows.
      takes: where the choice of the model that does not lead is taken.
      tuned_leads: whether the tuned model chooses all other tokens, and not the base.
      check: called between blocks; if it raises an error, the call ends.

    Raises:
      ValueError: the rows do not divide over the mesh.
    """
    tokens, count, limit = place_rows(mesh, tuple(prompts))
    takes = Takes(*place_rows(mesh, tuple(takes)))
    state = programs.prefill(base_params, tuned_params, tokens, count)
    blocks = []
    while True:
        check()
        lead = np.bool_(tuned_leads)
        state, block = programs.decode(base_params, tuned_params, state, takes, limit, lead)
        blocks.append(to_host(block))
        ended, length = to_host((state.ended, state.length))
        if ended.all():
            break
    parts = (np.concatenate(of, axis=1) for of in zip(*blocks, strict=True))
    found = _Block(*parts)
    return Patched(found.tokens, found.own, found.other, found.js, found.taken, length)


def prompt_rows(
    prompts: Sequence[Sequence[int]], rows: int, width: int, most: int, length: int
) -> PatchingPrompts:
    """Returns prompts as `rows` rows of `width`; a reply has at most `most` tokens, and `length` with its prompt."""
    tokens, count = np.zeros((rows, width), np.int32), np.zeros(rows, np.int32)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
        count[row] = len(prompt)
    return PatchingPrompts(tokens, count, np.minimum(most, length - count).astype(np.int32))
