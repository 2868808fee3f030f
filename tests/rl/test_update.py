"""The RL loss on packed rows, through the real model and the real training step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny_qwen3 import model_config
from tiny_rl import HF_CONFIG, LOSS, mesh_of

from jaxreason.data.examples import Example
from jaxreason.data.packing import make_layout
from jaxreason.models.decoder import forward, init_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import make_model
from jaxreason.rl.rewards import Reward
from jaxreason.rl.rollouts import RolloutGroup, Sample, pack
from jaxreason.rl.step_metrics import combine
from jaxreason.rl.update import make_logprob_pass, make_policy_loss, sampler_gap
from jaxreason.sampling.sampling_params import Completion
from jaxreason.sharding import place_rows
from jaxreason.training.state import init_state, state_shardings
from jaxreason.training.train_step import make_train_step, skip_empty

MODEL = make_model(model_config(""), architecture_from_hf(HF_CONFIG))
OPTIONS = {"chunk": 5, "temperature": 0.7}
ADVANTAGES = np.random.default_rng(5).normal(size=(6, 3))


def make_groups() -> list[RolloutGroup]:
    """Six prompts with three replies of 1 to 9 tokens, with the log-probs of a made-up sampler."""
    rng = np.random.default_rng(4)
    example = Example("q", "last_number", ({"role": "user", "content": "?"},), "1", "made", {})
    reward = Reward(0.0, {"answer": 0.0}, {}, None, None)

    def reply(number):
        tokens = tuple(rng.integers(0, 8, rng.integers(1, 10)).tolist())
        return Completion("q", number, tokens, tuple(-rng.exponential(1.5, len(tokens))), "stop")

    return [
        RolloutGroup(
            batch=0,
            example=example,
            prompt=tuple(rng.integers(0, 8, rng.integers(2, 5)).tolist()),
            samples=tuple(Sample(reply(number), "", reward) for number in range(3)),
        )
        for _ in range(6)
    ]


GROUPS = make_groups()


def make_batch(micro_batch_rows=2, num_sequences=18):
    layout = make_layout(num_sequences, 13, row_length=26, micro_batch_rows=micro_batch_rows)
    (packed,) = pack(GROUPS, ADVANTAGES, 1, layout)
    return packed.rollouts, layout


@pytest.fixture(scope="module")
def params():
    return init_params(MODEL, jax.random.key(0))


def one_by_one(params):
    """Loss sum and tokens of REINFORCE, each reply in its own row, all logits written out."""
    replies = [(g.prompt, s.completion.tokens) for g in GROUPS for s in g.samples]
    rows = np.zeros((len(replies), 13), np.int32)
    weights = np.zeros(rows.shape)
    for row, (prompt, reply), advantage in zip(
        range(99), replies, ADVANTAGES.ravel(), strict=False
    ):
        rows[row, : len(prompt + reply)] = prompt + reply
        weights[row, len(prompt) : len(prompt + reply)] = advantage
    positions = np.broadcast_to(np.arange(13), rows.shape)
    logits = forward(MODEL, params, rows, positions).logits / OPTIONS["temperature"]
    found = jax.nn.log_softmax(logits)[:, :-1]
    chosen = jnp.take_along_axis(found, rows[:, 1:, None], axis=-1)[..., 0]
    return -(chosen * weights[:, 1:]).sum(), sum(len(reply) for _, reply in replies)


def test_a_packed_batch_has_the_loss_and_gradient_of_its_replies_one_by_one(params):
    batch, layout = make_batch()
    settings = dataclasses.replace(LOSS, name="reinforce")
    loss = make_policy_loss(MODEL, settings, layout.num_micro_batches, **OPTIONS)
    packed = lambda p: loss(p, batch)[:2]  # noqa: E731
    (value, weight), grads = jax.jit(jax.value_and_grad(packed, has_aux=True))(params)
    (expected, tokens), wanted = jax.jit(jax.value_and_grad(one_by_one, has_aux=True))(params)
    np.testing.assert_allclose(value, expected, rtol=1e-4)
    assert int(weight) == int(tokens)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), grads, wanted)


def test_the_logprob_pass_gives_what_the_loss_sees(params):
    batch, layout = make_batch()
    found = make_logprob_pass(MODEL, layout.num_micro_batches, **OPTIONS)(params, batch)
    loss = make_policy_loss(MODEL, LOSS, layout.num_micro_batches, **OPTIONS)
    old = jax.jit(loss)(params, batch._replace(old_logprobs=found))[2]
    assert abs(float(old["kl_old"])) < 1e-6 and float(old["clip_fraction"]) == 0.0
    np.testing.assert_allclose(old["ratio"], old["tokens"], rtol=1e-5)


def test_the_entropies_of_eaft_are_those_of_the_distribution_that_is_sampled_from(params):
    batch, layout = make_batch()
    settings = dataclasses.replace(LOSS, name="reinforce", token_weight="eaft")
    loss = make_policy_loss(MODEL, settings, layout.num_micro_batches, **OPTIONS)
    got = jax.jit(loss)(params, batch)[0]
    where = batch.tokens, batch.positions, batch.segment_ids
    logits = forward(MODEL, params, *where).logits / OPTIONS["temperature"]
    found = np.asarray(jax.nn.log_softmax(logits))[:, :-1]
    chosen = np.take_along_axis(found, batch.tokens[:, 1:, None], axis=-1)[..., 0]
    weights = -(np.exp(found) * found).sum(-1) / np.log(8)  # of the 8 tokens that there are
    expected = -(weights * chosen * batch.advantages[:, 1:]).sum()
    np.testing.assert_allclose(got, expected, rtol=1e-4)


def train_once(params, batch, layout, mesh, skips=True):
    with jax.set_mesh(mesh):
        optimizer = optax.sgd(0.1)
        params = jax.tree.map(lambda x: jnp.array(np.asarray(x)), params)
        state = init_state(optimizer, params, mesh)
        shardings = state_shardings(state)
        settings = dataclasses.replace(LOSS, entropy_coefficient=0.01)
        loss = make_policy_loss(MODEL, settings, layout.num_micro_batches, **OPTIONS)
        loss = skip_empty(loss, shardings.params) if skips else loss
        step = make_train_step(loss, optimizer, layout.num_micro_batches, shardings)
        state, measured = step(state, place_rows(mesh, batch))
        return jax.device_get(state.params), combine([jax.device_get(measured)])


@pytest.fixture(scope="module")
def update(params):
    """New parameters and measurements of one step, in micro-batches of four rows on one device."""
    return train_once(params, *make_batch(4), mesh_of(1))


def assert_same_update(one, other):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-6), one[0], other[0])
    assert one[1].keys() == other[1].keys()
    assert one[1]["grad_norm"] > 0.01
    for name, value in one[1].items():
        np.testing.assert_allclose(value, other[1][name], rtol=2e-4, atol=1e-7, err_msg=name)


@pytest.mark.slow
def test_the_update_does_not_depend_on_the_size_of_the_micro_batch(params, update):
    batch, layout = make_batch(9)
    assert layout.num_micro_batches == 1
    assert_same_update(update, train_once(params, batch, layout, mesh_of(1), skips=False))


def test_passing_over_empty_micro_batches_changes_nothing(params, update):
    batch, layout = make_batch(micro_batch_rows=2, num_sequences=60)
    assert (batch.segment_ids.sum(axis=1) == 0).mean() > 0.5
    assert_same_update(update, train_once(params, batch, layout, mesh_of(1)))


def test_an_update_on_eight_devices_equals_one(params, update):
    batch, layout = make_batch(4)
    assert layout.num_micro_batches > 1
    assert_same_update(update, train_once(params, batch, layout, mesh_of(8)))


def test_the_gap_to_the_sampler_has_the_numbers_of_a_plain_count(params, update):
    batch, layout = make_batch(4)
    trainer = make_logprob_pass(MODEL, layout.num_micro_batches, **OPTIONS)(params, batch)
    replied = batch.loss_mask == 1
    delta = (np.asarray(trainer) - batch.sampler_logprobs)[replied].astype(float)
    weights = np.exp(delta)
    measured = update[1]
    assert measured["sampler_gap"] == pytest.approx(np.abs(delta).mean(), rel=1e-4)
    assert measured["max_sampler_gap"] == pytest.approx(np.abs(delta).max(), rel=1e-4)
    p99 = np.quantile(np.abs(delta), 0.99, method="inverted_cdf")
    assert p99 * 0.999 < measured["p99_sampler_gap"] < p99 * 1.09
    share = weights.sum() ** 2 / (len(weights) * (weights**2).sum())
    assert measured["sampler_effective_share"] == pytest.approx(share, rel=1e-3)


def test_equal_log_probs_have_no_gap_and_every_token_counts():
    batch, layout = make_batch()
    terms = sampler_gap(batch.sampler_logprobs, batch, layout.num_micro_batches)
    assert float(terms["sampler_gap"]) == float(terms["max_sampler_gap"].max()) == 0.0
    assert float(terms["sampler_weight"]) == batch.loss_mask.sum()
