"""The training step: micro-batches, devices, dtypes, compilation, memory."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from processes import run_processes
from tiny_sft import ADAMW, ARCHITECTURE

from jaxreason.data.batches import TokenBatch
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward, init_params, param_axes, param_shardings
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.sharding import MeshConfig, make_mesh, place_rows, row_block, to_host
from jaxreason.training import train_step as training_step
from jaxreason.training.optimizer import make_optimizer
from jaxreason.training.sft_loss import make_sft_loss
from jaxreason.training.state import init_state, state_shardings
from jaxreason.training.train_step import make_train_step, skip_empty

MODEL = Model(architecture_from_hf(ARCHITECTURE), "float32", "float32", "none", "plain", 1)


def make_batch(rows=16, length=12, seed=0):
    """Two segments a row, padding after them, and rows with very different numbers of targets."""
    random = np.random.default_rng(seed)
    tokens = random.integers(4, 24, (rows, length)).astype(np.int32)
    segment_ids = np.tile([1, 1, 1, 1, 2, 2, 2, 2, 2, 0, 0, 0], (rows, 1)).astype(np.int32)
    positions = np.tile([0, 1, 2, 3, 0, 1, 2, 3, 4, 0, 0, 0], (rows, 1)).astype(np.int32)
    share = np.linspace(0, 1, rows)[:, None]
    mask = (random.random((rows, length)) < share) & (positions > 0)
    return TokenBatch(tokens, positions, segment_ids, mask.astype(np.float32))


def mesh_of(*sizes):
    return make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])


@functools.cache
def start_params(model):
    return jax.device_get(init_params(model, jax.random.key(0)))


def run(mesh, num_micro_batches=1, model=MODEL, optimizer=None, steps=1, batch=None):
    """State and measurements after some steps on one batch."""
    optimizer = optimizer or optax.sgd(1.0)
    with jax.set_mesh(mesh):
        params = jax.device_put(start_params(model), param_shardings(model, mesh))
        state = init_state(optimizer, params, mesh)
        loss = make_sft_loss(model, chunk=5)
        step = make_train_step(loss, optimizer, num_micro_batches, state_shardings(state))
        for _ in range(steps):
            state, measured = step(state, place_rows(mesh, batch or make_batch()))
        return jax.device_get(state), jax.device_get(measured)


def assert_close(a, b, **tolerance):
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, **tolerance), a, b)


def plain_loss(params, batch):
    """Mean cross-entropy over the targets, from the logits of whole sequences."""
    out = forward(MODEL, params, batch.tokens, batch.positions, batch.segment_ids)
    logprobs = jax.nn.log_softmax(out.logits[:, :-1])
    found = jnp.take_along_axis(logprobs, batch.tokens[:, 1:, None], axis=-1)[..., 0]
    return -jnp.sum(found * batch.loss_mask[:, 1:]) / jnp.sum(batch.loss_mask[:, 1:])


def test_a_step_follows_the_gradient_of_the_mean_over_all_targets():
    params = start_params(MODEL)
    loss, grads = jax.jit(jax.value_and_grad(plain_loss))(params, make_batch())
    state, measured = run(mesh_of(1, 1, 1, 1))
    expected = jax.tree.map(lambda p, g: p - g, params, grads)
    assert_close(state.params, jax.device_get(expected), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(measured["loss"], loss, rtol=1e-6)
    norm = np.sqrt(sum(np.sum(np.square(g)) for g in jax.tree.leaves(grads)))
    np.testing.assert_allclose(measured["grad_norm"], norm, rtol=1e-5)
    np.testing.assert_allclose(measured["update_norm"], norm, rtol=1e-5)
    assert measured["tokens"] == make_batch().loss_mask.sum()
    assert state.step == 1


@pytest.mark.parametrize("num", [2, 16])
def test_micro_batches_with_uneven_masks_equal_one_batch(num):
    whole, measured = run(mesh_of(1, 1, 1, 1))
    cut, cut_measured = run(mesh_of(1, 1, 1, 1), num)
    # The learning rate is 1, so parameters differ by as much as gradients do.
    assert_close(cut.params, whole.params, rtol=1e-5, atol=1e-6)
    assert_close(cut_measured, measured, rtol=2e-6)


@pytest.mark.parametrize(("sizes", "num"), [((1, 4, 2, 1), 1), ((2, 2, 2, 1), 2)])
def test_several_devices_give_the_numbers_of_one(sizes, num):
    one, measured = run(mesh_of(1, 1, 1, 1), steps=2)
    many, many_measured = run(mesh_of(*sizes), num, steps=2)
    assert_close(many_measured, measured, rtol=1e-5)
    assert_close(many.params, one.params, rtol=1e-4, atol=1e-5)


def step_across_processes(sizes):
    """Loss and new parameters of a step on rows of which each process gives the block that is its own."""
    mesh = make_mesh(MeshConfig(*sizes))
    model = dataclasses.replace(MODEL, attention="blockwise")
    index, count = row_block(mesh)
    with jax.set_mesh(mesh):
        params = init_params(model, jax.random.key(0), mesh)
        state = init_state(optax.sgd(1.0), params, mesh)
        loss = make_sft_loss(model, chunk=5)
        step = make_train_step(loss, optax.sgd(1.0), 2, state_shardings(state))
        mine = jax.tree.map(lambda x: np.split(x, count)[index], make_batch())
        state, measured = step(state, place_rows(mesh, mine, (index, count)))
        params, loss = to_host((state.params, measured["loss"]))
    return [float(loss), *(x.tolist() for x in jax.tree.leaves(params))]


@pytest.mark.parametrize("sizes", [(1, 1, 1, 4), (1, 1, 4, 1)])
@pytest.mark.slow
def test_two_processes_take_the_step_of_one_whichever_axis_joins_them(sizes):
    state, measured = run(mesh_of(1, 1, 1, 1))
    for loss, *params in run_processes(step_across_processes, 2, sizes, num_devices=2):
        np.testing.assert_allclose(loss, measured["loss"], rtol=1e-5)
        for found, expected in zip(params, jax.tree.leaves(state.params), strict=True):
            np.testing.assert_allclose(np.array(found), expected, rtol=1e-4, atol=1e-5)


def test_a_step_is_compiled_once_and_donates_its_state():
    traces = []
    mesh = mesh_of(1, 4, 2, 1)
    loss = make_sft_loss(MODEL, chunk=5)

    def counted(params, batch):
        traces.append(1)
        return loss(params, batch)

    optimizer = make_optimizer(ADAMW, 10, param_axes(MODEL))
    with jax.set_mesh(mesh):
        params = jax.device_put(start_params(MODEL), param_shardings(MODEL, mesh))
        state = init_state(optimizer, params, mesh)
        shardings = state_shardings(state)
        step = make_train_step(counted, optimizer, 1, shardings)
        for seed in range(4):
            old = state
            state, _ = step(state, place_rows(mesh, make_batch(seed=seed)))
            assert all(x.is_deleted() for x in jax.tree.leaves(old))
    assert len(traces) == 1 and step._cache_size() == 1
    assert state_shardings(state) == shardings


def test_cutting_into_micro_batches_moves_no_rows_between_devices():
    mesh = mesh_of(8, 1, 1, 1)
    weights = jnp.ones((16,))

    def loss(params, rows):
        return jnp.sum(jnp.tanh(rows @ params)), jnp.float32(1), {"tokens": jnp.float32(1)}

    with jax.set_mesh(mesh):
        state = init_state(optax.sgd(0.1), jax.device_put(weights, _whole(mesh)), mesh)
        step = make_train_step(loss, optax.sgd(0.1), 4, state_shardings(state))
        rows = place_rows(mesh, np.ones((64, 16), np.float32))
        text = step.lower(state, rows).compile().as_text()
    assert "all-reduce" in text, "the gradient is summed over devices"
    for movement in ("all-to-all", "all-gather", "collective-permute"):
        assert movement not in text


def _whole(mesh):
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())


def test_memory_does_not_grow_with_the_number_of_micro_batches():
    size = 1 << 20
    mesh = mesh_of(1, 1, 1, 1)

    def loss(params, rows):
        return jnp.sum(jnp.sin(params * jnp.sum(rows))), jnp.float32(1), {"tokens": jnp.float32(1)}

    def temporary(num):
        with jax.set_mesh(mesh):
            state = init_state(optax.sgd(0.1), jax.device_put(jnp.ones(size), _whole(mesh)), mesh)
            step = make_train_step(loss, optax.sgd(0.1), num, state_shardings(state))
            lowered = step.lower(state, place_rows(mesh, np.ones((16, 1), np.float32)))
        return lowered.compile().memory_analysis().temp_size_in_bytes

    # One float32 accumulator and one gradient beside it.
    assert temporary(16) <= 2.1 * 4 * size
    assert temporary(16) <= temporary(2) + 10_000


def test_bfloat16_activations_keep_float32_master_weights():
    mixed = dataclasses.replace(MODEL, dtype="bfloat16")
    small = optax.sgd(1e-4)
    before = start_params(mixed)
    state, measured = run(mesh_of(1, 1, 1, 1), 2, model=mixed, optimizer=small)
    exact, exact_measured = run(mesh_of(1, 1, 1, 1), 2, optimizer=small)
    assert all(x.dtype == np.float32 for x in jax.tree.leaves(state.params))
    np.testing.assert_allclose(measured["loss"], exact_measured["loss"], rtol=2e-2)
    # Updates of about 1e-4 of a weight would be lost in bfloat16; here they are those of float32.
    moved = jax.tree.map(lambda a, b: a - b, state.params, before)
    expected = jax.tree.map(lambda a, b: a - b, exact.params, before)
    flat, flat_expected = (
        np.concatenate([x.ravel() for x in jax.tree.leaves(t)]) for t in (moved, expected)
    )
    assert np.corrcoef(flat, flat_expected)[0, 1] > 0.99


def test_bfloat16_parameters_stay_bfloat16_and_gradients_are_summed_in_float32():
    narrow = dataclasses.replace(MODEL, dtype="bfloat16", param_dtype="bfloat16")
    optimizer = make_optimizer(ADAMW, 10, param_axes(narrow))
    state, _ = run(mesh_of(1, 2, 1, 1), 4, model=narrow, optimizer=optimizer, steps=2)
    assert all(x.dtype == jnp.bfloat16 for x in jax.tree.leaves(state.params))
    floats = [x for x in jax.tree.leaves(state.opt_state) if x.ndim]
    assert floats and all(x.dtype == np.float32 for x in floats)


def test_the_norm_of_the_update_is_that_of_what_bfloat16_parameters_really_gained():
    narrow = dataclasses.replace(MODEL, dtype="bfloat16", param_dtype="bfloat16")
    before = start_params(narrow)
    for rate, some_are_lost in ((1.0, False), (1e-5, True)):
        state, measured = run(mesh_of(1, 2, 1, 1), 2, model=narrow, optimizer=optax.sgd(rate))
        gained = jax.tree.map(
            lambda a, b: np.sum(np.square(a.astype(np.float32) - b.astype(np.float32))),
            state.params,
            before,
        )
        norm = np.sqrt(sum(jax.tree.leaves(gained)))
        np.testing.assert_allclose(measured["update_norm"], norm, rtol=1e-4)
        wanted = rate * measured["grad_norm"]
        assert (norm < 0.9 * wanted) == some_are_lost


def test_a_batch_without_targets_changes_nothing_and_has_loss_zero():
    batch = make_batch()
    batch = batch._replace(loss_mask=np.zeros_like(batch.loss_mask))
    before = start_params(MODEL)
    state, measured = run(mesh_of(1, 1, 1, 1), 2, batch=batch)
    jax.tree.map(np.testing.assert_array_equal, state.params, before)
    assert measured["loss"] == 0 and measured["tokens"] == 0 and measured["grad_norm"] == 0


def test_a_batch_that_micro_batches_do_not_divide_is_refused():
    with pytest.raises(ValueError, match="num_micro_batches=3 does not divide a batch of 16 rows"):
        run(mesh_of(1, 1, 1, 1), 3)


def infinite_in_b(params, rows):
    """The root has no slope at 0, where every `b` of the test is."""
    loss = jnp.sum(jnp.square(params["a"])) + jnp.sum(jnp.sqrt(params["b"])) + jnp.sum(rows)
    return loss, jnp.float32(1.0), {"tokens": jnp.float32(1.0)}


def compiled_step(loss_fn, size):
    mesh = mesh_of(1, 1, 1, 1)
    with jax.set_mesh(mesh):
        params = jax.device_put({"a": jnp.ones(size), "b": jnp.zeros(size)}, _whole(mesh))
        state = init_state(optax.adam(1.0), params, mesh)
        step = make_train_step(loss_fn, optax.adam(1.0), 1, state_shardings(state))
        return step.lower(state, jnp.ones(2)).compile(), state


def test_the_tensors_whose_gradient_and_update_are_not_finite_are_told():
    compiled, state = compiled_step(infinite_in_b, 8)
    measured = jax.device_get(compiled(state, jnp.ones(2))[1])
    assert np.isfinite(measured["loss"]) and not np.isfinite(measured["grad_norm"])
    np.testing.assert_array_equal(measured["not_finite"], [[False, True], [False, True]])


def test_to_tell_them_no_parameter_is_read_once_more(monkeypatch):
    size = 1 << 16
    told, _ = compiled_step(infinite_in_b, size)
    monkeypatch.setattr(training_step, "_not_finite", lambda *_: jnp.zeros((2, 2), bool))
    untold, _ = compiled_step(infinite_in_b, size)
    moved = [found.cost_analysis()["bytes accessed"] for found in (told, untold)]
    assert moved[0] - moved[1] < 0.1 * 4 * size  # a tenth of one pass over one of the two tensors


def loss_with_frozen(params, batch, *frozen):
    """Distance of the outputs to those of other parameters; `tokens` counts what is not padding."""
    inputs = jax.nn.one_hot(batch.tokens, 24) * batch.loss_mask[..., None]
    apart = sum(inputs @ params["w"] - inputs @ other["w"] for other in frozen)
    tokens = jnp.sum(batch.loss_mask)
    return jnp.sum(jnp.square(apart)), tokens, {"tokens": tokens}


@pytest.mark.parametrize("wrap", [lambda loss, _: loss, skip_empty])
def test_frozen_parameters_reach_the_loss_and_are_neither_trained_nor_given_away(wrap):
    random, batch = np.random.default_rng(0), make_batch()
    empty = batch._replace(
        tokens=batch.tokens * (np.arange(16) % 2)[:, None],
        segment_ids=batch.segment_ids * (np.arange(16) % 2)[:, None],
        loss_mask=batch.loss_mask * (np.arange(16) % 2)[:, None],
    )
    start, *others = (random.normal(size=(24, 3)).astype(np.float32) for _ in range(3))
    mesh = mesh_of(8, 1, 1, 1)
    with jax.set_mesh(mesh):
        place = lambda x: jax.device_put({"w": x}, _whole(mesh))  # noqa: E731
        state, frozen = init_state(optax.sgd(1.0), place(start), mesh), [place(x) for x in others]
        shardings = state_shardings(state)
        loss = wrap(loss_with_frozen, shardings.params)
        step = make_train_step(loss, optax.sgd(1.0), 2, shardings)
        state, measured = step(state, place_rows(mesh, empty), *frozen)
    used = np.eye(24)[empty.tokens] * empty.loss_mask[..., None]
    apart = used @ (2 * start - others[0] - others[1])
    gradient = 2 * 2 * np.einsum("btv,btd->vd", used, apart) / empty.loss_mask.sum()
    np.testing.assert_allclose(state.params["w"], start - gradient, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        measured["loss"], np.sum(apart**2) / empty.loss_mask.sum(), rtol=1e-5
    )
    for kept, other in zip(frozen, others, strict=True):
        np.testing.assert_array_equal(kept["w"], other)


@pytest.mark.parametrize("num", [1, 4])
@pytest.mark.parametrize("skips", [True, False])
def test_a_loss_is_traced_once_for_a_step_whether_it_skips_what_is_empty_or_not(skips, num):
    traced = []

    def loss(params, batch):
        traced.append(batch.tokens.shape)
        return loss_with_frozen(params, batch, params)

    mesh = mesh_of(1, 1, 1, 1)
    with jax.set_mesh(mesh):
        params = jax.device_put({"w": np.ones((24, 3), np.float32)}, _whole(mesh))
        state = init_state(optax.sgd(1.0), params, mesh)
        shardings = state_shardings(state)
        whole = skip_empty(loss, shardings.params) if skips else loss
        make_train_step(whole, optax.sgd(1.0), num, shardings).lower(state, make_batch())
    assert traced == [(16 // num, 12)]
