"""A step on so many examples: the same loss and gradient however they are packed, cut, placed and aggregated."""

import functools
import itertools

import jax
import numpy as np
import optax
import pytest
from test_crossed import ARCHITECTURE, MESHES, OPTIONS, differences, mesh_of, start_params
from tiny_models import make_model, random_params

from jaxreason.data.batches import BatchConfig, PackedBatches, TokenBatch
from jaxreason.models.decoder import abstract_params, param_shardings
from jaxreason.sharding import place_rows
from jaxreason.training.sft_loss import make_sft_loss
from jaxreason.training.state import init_state, state_shardings
from jaxreason.training.train_step import make_train_step, skip_empty

LENGTH, EXAMPLES = 24, 20
OBJECTIVES = {
    "token_mean": {},
    "sequence_mean": {"aggregation": "sequence_mean"},
    "dft": {"token_weight": "dft", "aggregation": "sequence_mean"},
    "eaft": {"token_weight": "eaft"},
    "kl": {"kl_coefficient": 0.3},
}
EIGHT = {
    "fsdp of 8": (1, 8, 1, 1),
    "data, fsdp, tensor": (2, 2, 2, 1),
    "fsdp, context": (1, 4, 1, 2),
    "fsdp, tensor, context": (1, 2, 2, 2),
}
MESHES = MESHES | EIGHT


def examples():
    """Of 2 to 20 tokens, prompts and replies of all lengths; one without a token to learn."""
    random = np.random.default_rng(0)
    found = []
    for _ in range(EXAMPLES):
        length = int(random.integers(2, 21))
        prompt = int(random.integers(1, length + 1))
        tokens = random.integers(1, ARCHITECTURE.vocab_size, length).tolist()
        found.append((tokens, [0] * prompt + [1] * (length - prompt)))
    return found


def batch_of(pack, rows, hosts=1):
    """The one batch of all examples, put together from the blocks of so many hosts; and its micro-batches."""
    config = BatchConfig(EXAMPLES, LENGTH, pack, rows, seed=0, epochs=1.0)
    parts = [PackedBatches(examples(), config, host, hosts) for host in range(hosts)]
    blocks = [part.batch(0) for part in parts]
    return TokenBatch(*map(np.concatenate, zip(*blocks, strict=True))), parts[0].layout


@functools.cache
def reference():
    return jax.device_get(random_params(abstract_params(make_model(ARCHITECTURE)), seed=5))


def take_step(mesh, backend, pack, rows, objective, hosts=1, extra=0):
    """Loss, measurements and gradient; `extra` micro-batches are empty beside those that the batch needs."""
    model, mesh = make_model(ARCHITECTURE, attention=backend), mesh_of(MESHES[mesh])
    batch, layout = batch_of(pack, rows, hosts)
    pieces = layout.num_micro_batches + extra
    batch = jax.tree.map(lambda x: with_empty(x, layout.num_micro_batches, extra), batch)
    with jax.set_mesh(mesh):
        shardings = param_shardings(model, mesh)
        state = init_state(optax.sgd(1.0), jax.device_put(start_params(), shardings), mesh)
        frozen = [jax.device_put(reference(), shardings)] * ("kl_coefficient" in objective)
        loss = make_sft_loss(model, 5, pack, **objective)
        held = state_shardings(state)
        step = make_train_step(skip_empty(loss, held.params), optax.sgd(1.0), pieces, held)
        arguments = state, place_rows(mesh, batch), *frozen
        state, measured = step.lower(*arguments).compile(compiler_options=OPTIONS)(*arguments)
    assert not measured.pop("not_finite").any()
    moved = jax.tree.map(lambda a, b: np.ravel(a - b), start_params(), jax.device_get(state.params))
    gradient = {"gradient": np.concatenate(jax.tree.leaves(moved))}
    return gradient | {name: np.asarray(value) for name, value in measured.items()}


def with_empty(x, pieces, extra):
    """Rows dealt into so many micro-batches, with empty ones after them."""
    dealt = x.reshape(-1, pieces, *x.shape[1:])
    room = np.zeros((len(dealt), extra, *x.shape[1:]), x.dtype)
    return np.concatenate([dealt, room], axis=1).reshape(-1, *x.shape[1:])


@functools.cache
def unpacked(objective):
    """Each example in a row of its own, all at once, on one device."""
    return take_step("one device", "plain", False, EXAMPLES, OBJECTIVES[objective])


def assert_equal_to_unpacked(objective, *how, **more):
    found = take_step(*how, OBJECTIVES[objective], **more)
    expected = unpacked(objective)
    assert found.keys() == expected.keys()
    wrong = differences(found, expected)
    assert max(wrong.values()) < 1e-4, (objective, how, wrong)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_packed_step_in_micro_batches_is_the_unpacked_one(objective):
    assert_equal_to_unpacked(objective, "one device", "plain", True, 4)


def test_empty_micro_batches_change_nothing():
    assert_equal_to_unpacked("sequence_mean", "one device", "plain", True, 4, extra=3)


@pytest.mark.parametrize(
    ("mesh", "objective", "hosts"),
    [("fsdp of 8", "sequence_mean", 4), ("fsdp, tensor, context", "kl", 2)],
)
def test_eight_devices_and_blocks_of_several_hosts_give_the_numbers_of_one(mesh, objective, hosts):
    assert_equal_to_unpacked(objective, mesh, "blockwise", True, 8, hosts=hosts)


PACKINGS = [(True, 8), (False, 8), (True, 16)]


def cells_of(objective):
    """(mesh, backend, packing, empty micro-batches): each mesh once, the rest shifted from objective to objective."""
    shift = list(OBJECTIVES).index(objective)
    return [
        (mesh, ("plain", "blockwise")[(shift + at // 2) % 2], PACKINGS[(shift + at) % 3], (shift + at) % 2)
        for at, mesh in enumerate(EIGHT)
    ]  # fmt: skip


def test_the_cells_hold_every_pair_of_objective_mesh_backend_packing_and_empty_micro_batches():
    cells = [(objective, *cell) for objective in OBJECTIVES for cell in cells_of(objective)]
    values = [OBJECTIVES, EIGHT, ("plain", "blockwise"), PACKINGS, (0, 1)]
    for one, other in itertools.combinations(range(5), 2):
        found = {(cell[one], cell[other]) for cell in cells}
        assert found == set(itertools.product(values[one], values[other]))


@pytest.mark.slow
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_packing_and_mesh_pairwise_is_the_unpacked_step(objective):
    for mesh, backend, (pack, rows), extra in cells_of(objective):
        assert_equal_to_unpacked(objective, mesh, backend, pack, rows, extra=extra)


def test_the_mean_over_examples_counts_each_of_them_once():
    """By hand: the mean over examples with a target of the mean over their targets."""
    one = take_step("one device", "plain", True, 4, {"aggregation": "sequence_mean"})
    loss, params = jax.jit(make_sft_loss(make_model(ARCHITECTURE), 5)), start_params()
    batch, _ = batch_of(False, EXAMPLES)
    alone = []
    for row in range(EXAMPLES):
        total, count, _ = loss(params, jax.tree.map(lambda x, row=row: x[row : row + 1], batch))
        if count:
            alone.append(float(total) / float(count))
    assert len(alone) < EXAMPLES
    assert one["loss"] == pytest.approx(np.mean(alone), rel=1e-5)
    assert one["tokens"] == sum(sum(mask) for _, mask in examples())
