"""The programs of an RL update: the loss for the training step, the trainer's log-probs, and their arguments.

A batch has one shape, large enough for the longest replies. All programs skip micro-batches that hold nothing, so a
batch costs only what it holds, and nothing is compiled twice.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh
from jaxtyping import Array, Float

from jaxreason.compiling import Compiling, ProgramCall
from jaxreason.data.packing import Layout, make_layout
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params, forward, head, param_shardings
from jaxreason.models.logprobs import full_kl, logprobs
from jaxreason.rl.policy_losses import (
    MAX_LOG_RATIO,
    POLICY_LOSSES,
    PolicyLossConfig,
    kl_to_reference,
    policy_loss,
)
from jaxreason.rl.rl_config import RLConfig
from jaxreason.rl.rollouts import Rollouts
from jaxreason.sampling.engine_calls import copy_calls, engine_calls
from jaxreason.sharding import abstract_arrays, abstract_rows, constrain
from jaxreason.training.state import TrainState, state_shardings
from jaxreason.training.token_weights import weights_of
from jaxreason.training.train_step import (
    ROW_AXES,
    LossFn,
    holds_anything,
    make_train_step,
    row_arrays,
    skip_empty,
    split,
    zeros_like,
)

# Upper ends, in nats, of the intervals in which differences of log-probs are counted.
GAP_EDGES = np.append(np.geomspace(1e-8, 1e2, 286), np.inf).astype(np.float32)


class _States(NamedTuple):
    """The final hidden states of a batch, and the model's output embedding."""

    final: Float[Array, "R T D"]
    head: Float[Array, "D V"]


def _states(model: Model, params: Any, batch: Rollouts) -> _States:
    out = forward(model, params, batch.tokens, batch.positions, batch.segment_ids)
    return _States(out.final, head(model, params))


def make_policy_loss(
    model: Model,
    config: PolicyLossConfig,
    num_micro_batches: int,
    *,
    chunk: int,
    temperature: float,
    reference: Model | None = None,
) -> LossFn:
    """Makes the loss on Rollouts: sums over the reply tokens of the given rows.

    Args:
      model: static description.
      config: the algorithm.
      num_micro_batches: number in a batch; the given rows are one of them.
      chunk: number of positions whose logits are in memory at the same time.
      temperature: temperature of the sampling; log-probs are those of the distribution that was sampled from.
      reference: static description of the reference, whose parameters follow the batch; None if the loss does not run
        it, because there is none or its log-probs are in the batch.
    """
    surrogate = POLICY_LOSSES[config.name]

    def loss(params, batch: Rollouts, *frozen):
        how = {"chunk": chunk, "temperature": temperature, "segment_ids": batch.segment_ids}
        own = _states(model, params, batch)
        found = logprobs(*own, batch.tokens, **how)
        old = batch.old_logprobs
        # On-policy with one update per batch, the policy in this pass is the old one. The ratio is 1 but its gradient
        # is not 0, and a separate pass over the batch is saved.
        old = jax.lax.stop_gradient(found.logprobs) if old is None else old
        exact = None
        if reference is not None:
            other = _states(reference, frozen[0], batch)
            exact = full_kl(*own, *other, batch.tokens, **how)
        advantages = batch.advantages
        if config.kl_coefficient > 0.0 and config.kl_place == "advantage":
            kl = kl_to_reference(config, old, batch.ref_logprobs, batch.loss_mask)
            advantages -= config.kl_coefficient * kl
        loss_sum, weight, measurements = policy_loss(
            surrogate,
            found.logprobs,
            old,
            advantages,
            batch.loss_mask,
            config,
            # A given reply has no sampler. With the old log-probs in its place, its importance weight is 1.
            sampler_logprobs=jnp.where(batch.sampled > 0, batch.sampler_logprobs, old),
            ref_logprobs=batch.ref_logprobs,
            entropy=found.entropy,
            segment_ids=batch.segment_ids,
            full_kl=exact,
            token_weights=weights_of(
                config.token_weight,
                found.logprobs,
                *own,
                batch.tokens,
                **how,
            ),
        )
        return loss_sum, weight, measurements | sampler_gap(old, batch, num_micro_batches)

    return loss


def sampler_gap(
    trainer_logprobs: Float[Array, "R T"], batch: Rollouts, num_micro_batches: int
) -> dict[str, Array]:
    """Measures how the trainer's log-probs of the sampled tokens differ from the sampler's.

    Returns:
      Sums over the tokens that were sampled: their number, |Δ|, the weights w = p_trainer / p_sampler and w²: that
      (Σw)² / (n Σw²) is the effective share of the n tokens. How many |Δ| lie between GAP_EDGES. And the largest, which
      has a place of its own for each micro-batch, since the training step adds up what it is given.
    """
    delta = (trainer_logprobs - batch.sampler_logprobs) * batch.sampled
    weights = jnp.exp(jnp.clip(delta, -MAX_LOG_RATIO, MAX_LOG_RATIO)) * batch.sampled
    return {
        "sampled": jnp.sum(batch.sampled),
        "sampler_gap": jnp.sum(jnp.abs(delta)),
        "sampler_weight": jnp.sum(weights),
        "sampler_weight_squared": jnp.sum(jnp.square(weights)),
        "sampler_gap_counts": _counts(jnp.abs(delta), batch.sampled),
        "max_sampler_gap": jnp.max(jnp.abs(delta))
        * jax.nn.one_hot(batch.micro_batch[0], num_micro_batches),
    }


def gap_quantile(counts: Float[np.ndarray, " G"], share: float) -> float:
    """Returns the |Δ| that `share` of the tokens do not exceed, rounded up to the next of
    GAP_EDGES (at most 9 % more).
    """
    reached = np.cumsum(counts) >= share * counts.sum() * (1 - 1e-6)
    return float(GAP_EDGES[np.argmax(reached)])


def _counts(values: Float[Array, "R T"], mask: Float[Array, "R T"]) -> Float[Array, " G"]:
    places = jnp.searchsorted(jnp.asarray(GAP_EDGES), values.reshape(-1))
    return jax.ops.segment_sum(mask.reshape(-1), places, num_segments=len(GAP_EDGES))


def make_logprob_pass(
    model: Model, num_micro_batches: int, *, chunk: int, temperature: float
) -> Callable[[Any, Rollouts], Float[Array, "R T"]]:
    """Makes the jitted `(params, batch) -> log-probs`, in the training step's micro-batches."""

    @functools.partial(jax.jit, inline=True)  # traced once for both branches
    def micro(params, rows: Rollouts):
        states = _states(model, params, rows)
        where = {"chunk": chunk, "segment_ids": rows.segment_ids}
        return logprobs(*states, rows.tokens, temperature=temperature, **where).logprobs

    def micro_or_nothing(params, rows: Rollouts):
        return jax.lax.cond(holds_anything(rows), micro, zeros_like(micro), params, rows)

    @jax.jit
    def logprob_pass(params, batch: Rollouts):
        parts = jax.tree.map(lambda x: split(x, num_micro_batches), batch)
        found = jax.lax.map(lambda rows: micro_or_nothing(params, rows), parts)
        return constrain(jnp.moveaxis(found, 0, 1).reshape(batch.tokens.shape), ROW_AXES)

    return logprob_pass


def needs_old(config: RLConfig) -> bool:
    """Whether log-probs are computed before the first update, so that later updates do not use
    their own as the old ones.

    This depends on the recipe only and not on a step's groups: batches without them would need another program.
    """
    several = config.updates_per_step > 1
    return several or config.kl_as_reward or config.old_logprobs == "always"


def needs_reference(config: RLConfig) -> bool:
    """Whether the reference's log-probs of the replies are computed beforehand; `full` computes all in the update."""
    return config.has_kl and not config.exact_kl


class UpdatePrograms(NamedTuple):
    """The programs that are compiled once for a run, and the shape of their batches."""

    layout: Layout
    train_step: Callable[..., tuple[TrainState, dict[str, jax.Array]]]  # (state, batch, *frozen)
    logprob_pass: Callable[[Any, Rollouts], jax.Array]
    reference_pass: Callable[[Any, Rollouts], jax.Array] | None


def make_update_programs(
    config: RLConfig,
    model: Model,
    optimizer: optax.GradientTransformation,
    state: TrainState,
    longest_prompt: int,
    reference: Model | None = None,
) -> UpdatePrograms:
    """Makes the functions of an update, for batches that hold the longest possible replies.

    `state` may be abstract: only its shardings are read. `reference` describes the model of the KL term.
    """
    longest = min(longest_prompt + config.decoding.max_tokens, config.sampler.max_length)
    if config.samples.given:
        longest = config.sampler.max_length
    num_sequences = config.mini_batch_prompts * config.group_size
    layout = make_layout(num_sequences, longest, config.row_length, config.micro_batch_rows)
    num, shardings = layout.num_micro_batches, state_shardings(state)
    options = {"chunk": config.logprob_chunk, "temperature": config.decoding.temperature}
    exact = reference if config.exact_kl else None
    loss = make_policy_loss(model, config.policy_loss, num, reference=exact, **options)
    loss = skip_empty(loss, shardings.params)
    own = make_logprob_pass(model, num, **options)
    same = reference in (None, model)
    other = own if same else make_logprob_pass(reference, num, **options)
    train_step = make_train_step(loss, optimizer, num, shardings)
    return UpdatePrograms(layout, train_step, own, other if needs_reference(config) else None)


LOGPROBS = ("old_logprobs", "ref_logprobs")  # Computed on the devices.


def compile_rl(
    config: RLConfig,
    programs: UpdatePrograms,
    model: Model,
    state: TrainState,
    mesh: Mesh,
    tokenizer: Tokenizer,
    reference: Model | None,
) -> Compiling:
    """Compiles what the first step needs, for example while the weights are read.

    Args:
      config: the recipe's section.
      programs: from `make_update_programs`.
      model: the policy.
      state: the abstract training state.
      mesh: mesh of the run.
      tokenizer: its stop tokens end a reply.
      reference: the model of the KL term.
    """
    calls = update_calls(config, programs, state, mesh, reference)
    if config.sampled:
        given = model, mesh, config.sampler
        calls |= engine_calls(*given, tokenizer.stop_ids) | copy_calls(*given)
    return Compiling(mesh, calls)


def abstract_rollouts(config: RLConfig, mesh: Mesh, layout: Layout) -> Rollouts:
    """Returns an abstract batch as the training step takes it."""
    shape = (layout.num_rows, layout.row_length)
    arrays: dict[str, Any] = row_arrays(mesh, shape, Rollouts._fields)
    arrays["micro_batch"] = abstract_rows(mesh, shape[:1], jnp.int32)
    for name, needed in zip(LOGPROBS, (needs_old(config), needs_reference(config)), strict=True):
        arrays[name] = abstract_rows(mesh, shape, jnp.float32, ROW_AXES) if needed else None
    return Rollouts(**arrays)


def update_calls(
    config: RLConfig,
    programs: UpdatePrograms,
    state: TrainState,
    mesh: Mesh,
    reference: Model | None,
) -> dict[str, ProgramCall]:
    """Returns the programs of an update by name, the largest first; the arguments are those of `compile_rl`."""
    batch = abstract_rollouts(config, mesh, programs.layout)
    bare = batch._replace(old_logprobs=None, ref_logprobs=None)
    other = None if reference is None else _params(reference, mesh)
    frozen = [other] * config.exact_kl
    calls = {"RL policy step": (programs.train_step, (state, batch, *frozen))}
    if needs_old(config):
        calls["log-prob pass"] = (programs.logprob_pass, (state.params, bare))
    if needs_reference(config):
        calls["reference's log-probs"] = (programs.reference_pass, (other, bare))
    return calls


def _params(model: Model, mesh: Mesh) -> Any:
    return abstract_arrays(abstract_params(model), param_shardings(model, mesh))
