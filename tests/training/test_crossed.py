"""Every attention backend on every mesh axis, with rows packed or padded, of a length that divides or does not, in one
micro-batch or several: the numbers of plain attention on one device, forward and backward, for SFT and RL.

The full product would have 648 cells. The cells of `sft_cells` hold every pair of values of two of these five; for
plain and blockwise attention they also hold every mesh with each packing, length and number of micro-batches.

A length is 16, two blocks, or 12, which devices can share and blocks cannot, or 11, which neither can.
"""

import dataclasses
import functools
import itertools
from concurrent.futures import ThreadPoolExecutor

import jax
import numpy as np
import optax
import pytest
from jax.experimental.compilation_cache import compilation_cache
from tiny_models import make_architecture, make_model, random_params
from tiny_rl import LOSS

from jaxreason.data.batches import TokenBatch
from jaxreason.models.decoder import abstract_params, forward, param_shardings
from jaxreason.models.flash_attention import BLOCK
from jaxreason.rl.rollouts import Rollouts
from jaxreason.rl.update import make_logprob_pass, make_policy_loss
from jaxreason.sharding import MeshConfig, make_mesh, place_rows
from jaxreason.training.sft_loss import make_sft_loss
from jaxreason.training.state import init_state, state_shardings
from jaxreason.training.train_step import make_train_step, skip_empty

ARCHITECTURE = make_architecture(
    vocab_size=16,
    hidden_size=8,
    intermediate_size=8,
    head_dim=4,
    num_attention_heads=4,
    num_hidden_layers=1,
    attention_bias=False,
    attention_output_bias=False,
    qk_norm=False,
)
ROWS = 16
MESHES = {
    "one device": (1, 1, 1, 1),
    "data": (4, 1, 1, 1),
    "fsdp": (1, 4, 1, 1),
    "tensor": (1, 1, 2, 1),
    "context": (1, 1, 1, 2),
    "context of 4": (1, 1, 1, 4),
    "data and context": (2, 1, 1, 2),
    "fsdp and tensor": (1, 2, 2, 1),
    "tensor and context": (1, 1, 2, 2),
}
# (micro-batches, packed, length). Each list has all numbers of micro-batches, both packings and all lengths.
PIECES = [
    [(1, True, 12), (2, False, 16), (4, True, 11)],
    [(1, False, 11), (2, True, 12), (4, False, 16)],
]
PIECES_OF_KERNELS = [
    (1, True, 16),
    (2, True, 11),
    (4, False, 12),
]  # interpreted, and so slow: one a mesh
# Of RL, with every axis; SFT has all meshes.
MESHES_OF_KERNELS = ["data", "context of 4", "fsdp and tensor", "tensor and context"]
BACKENDS = ["plain", "blockwise", "splash", "triton"]
OPTIONS = {"xla_backend_optimization_level": 0}  # the partitioner is what is tested, not LLVM


@pytest.fixture(scope="module", autouse=True)
def small_blocks():
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(BLOCK, "cpu", 8)
        yield


@pytest.fixture(scope="module", autouse=True)
def programs_that_no_other_test_has_are_not_kept():
    """Each is compiled once: to write it into the cache takes a sixth of the time that its compilation does."""
    before = jax.config.jax_enable_compilation_cache
    try:
        jax.config.update("jax_enable_compilation_cache", False)
        compilation_cache.reset_cache()  # or JAX goes by what it has found before
        yield
    finally:
        jax.config.update("jax_enable_compilation_cache", before)
        compilation_cache.reset_cache()


def packed_rows(length):
    """Two sequences that fill the row, or two and padding, in turn."""
    ends = [(length // 3, length), (length // 2, length - 2)]
    segments, positions = np.zeros((2, ROWS, length), np.int32)
    for row in range(ROWS):
        middle, end = ends[row % 2]
        segments[row, :middle], segments[row, middle:end] = 1, 2
        positions[row, :end] = [*range(middle), *range(end - middle)]
    return segments, positions


def padded_rows(length):
    """A sequence a row, of which some reach the end."""
    ends = np.array([length, length - 1, length // 2, length])[np.arange(ROWS) % 4]
    inside = np.arange(length) < ends[:, None]
    return inside.astype(np.int32), np.where(inside, np.arange(length), 0).astype(np.int32)


def make_rows(packed, length) -> TokenBatch:
    segments, positions = packed_rows(length) if packed else padded_rows(length)
    random = np.random.default_rng(length)
    tokens = random.integers(1, ARCHITECTURE.vocab_size, segments.shape).astype(np.int32)
    mask = (segments > 0) & (positions > 0) & (random.random(segments.shape) < 0.8)
    return TokenBatch(tokens, positions, segments, mask.astype(np.float32))


def make_rollouts(num, length) -> Rollouts:
    rows, random = make_rows(True, length), np.random.default_rng(1)
    real = [x.astype(np.float32) * rows.loss_mask for x in random.normal(size=(2, ROWS, length))]
    micro_batch = np.arange(ROWS, dtype=np.int32) % num
    sampled = rows[3]  # the loss mask
    return Rollouts(*rows, real[0], -np.abs(real[1]), sampled, None, None, micro_batch)


@functools.cache
def start_params():
    return jax.device_get(random_params(abstract_params(make_model(ARCHITECTURE))))


def compiled(function, *arguments):
    return function.lower(*arguments).compile(compiler_options=OPTIONS)(*arguments)


def gradient(model, mesh, loss, num, rows):
    """Of the mean loss, and that."""
    params = jax.device_put(start_params(), param_shardings(model, mesh))
    state = init_state(optax.sgd(1.0), params, mesh)
    shardings = state_shardings(state)
    step = make_train_step(loss(shardings), optax.sgd(1.0), num, shardings)
    state, measured = compiled(step, state, rows)
    moved = jax.tree.map(lambda a, b: np.ravel(a - b), start_params(), jax.device_get(state.params))
    return {
        "gradient": np.concatenate(jax.tree.leaves(moved)),
        "loss": np.asarray(measured["loss"]),
    }


def sft(backend, sizes, num, packed, length):
    model, mesh = make_model(ARCHITECTURE, attention=backend), mesh_of(sizes)
    loss = make_sft_loss(model, 5, packed)
    with jax.set_mesh(mesh):
        return gradient(
            model, mesh, lambda _: loss, num, place_rows(mesh, make_rows(packed, length))
        )


def rl(backend, sizes, num, length):
    """The update and, of the same rows, log-probs and logits where there is a token."""
    model, mesh = make_model(ARCHITECTURE, attention=backend), mesh_of(sizes)
    settings = dataclasses.replace(LOSS, entropy_coefficient=0.1)
    options = {"chunk": 5, "temperature": 0.7}
    loss = make_policy_loss(model, settings, num, **options)
    batch = make_rollouts(num, length)
    passed = make_logprob_pass(model, num, **options)

    def read(params, rows):
        out = forward(model, params, rows.tokens, rows.positions, rows.segment_ids)
        return passed(params, rows), out.logits

    with jax.set_mesh(mesh):
        rows = place_rows(mesh, batch)
        found = gradient(model, mesh, lambda s: skip_empty(loss, s.params), num, rows)
        params = jax.device_put(start_params(), param_shardings(model, mesh))
        logprobs, logits = compiled(jax.jit(read), params, rows)
    there = batch.segment_ids > 0
    follows = there & (
        batch.positions > 0
    )  # the first token of a sequence follows nothing of its own
    return found | {
        "logprobs": np.asarray(logprobs)[follows],
        "logits": np.asarray(logits)[there],
    }


def mesh_of(sizes):
    return make_mesh(MeshConfig(*sizes), jax.devices()[: int(np.prod(sizes))])


@functools.cache
def numbers(function, backend, mesh, num, *rows):
    """Of a cell, of which some are in two tests."""
    return function(backend, MESHES[mesh], num, *rows)


def on_one_device(function, *rows):
    """With plain attention and in one piece."""
    return numbers(function, "plain", "one device", 1, *rows)


def differences(found, expected):
    """By name, relative to the largest entry."""
    return {
        name: float(np.max(np.abs(found[name] - x)) / np.max(np.abs(x)))
        for name, x in expected.items()
    }


def assert_as_on_one_device(cells):
    """Of (function, backend, mesh, micro-batches, what the rows are); two are compiled at a time."""

    def compare(cell):
        return differences(numbers(*cell), on_one_device(cell[0], *cell[4:]))

    for function, rows in dict.fromkeys((cell[0], tuple(cell[4:])) for cell in cells):
        on_one_device(function, *rows)
    with ThreadPoolExecutor(2) as pool:
        all_found = list(zip(cells, pool.map(compare, cells), strict=True))
    wrong = {(c[0].__name__, *c[1:]): x for c, x in all_found if not max(x.values()) < 1e-4}
    assert not wrong, wrong


@pytest.mark.slow
def test_blockwise_attention_with_a_split_length_trains_as_on_one_device():
    """The quick core of what the slow tests cross in full."""
    cells = [
        (sft, "blockwise", "context", 2, True, 12),
        (rl, "blockwise", "context of 4", 2, 12),
    ]
    assert_as_on_one_device(cells)


def sft_cells(backend):
    """(function, backend, mesh, micro-batches, packed, length)."""
    shift, cells = BACKENDS.index(backend), []
    for number, mesh in enumerate(MESHES):
        several = PIECES[(number + shift) % 2]
        one = PIECES_OF_KERNELS[(number + shift) % 3]
        pieces = several if backend in ("plain", "blockwise") else [one]
        cells += [(sft, backend, mesh, *piece) for piece in pieces]
    return cells


def test_the_cells_hold_every_pair_of_backend_mesh_micro_batches_packing_and_length():
    cells = [cell[1:] for backend in BACKENDS for cell in sft_cells(backend)]
    values = [BACKENDS, MESHES, (1, 2, 4), (True, False), (11, 12, 16)]
    for one, other in itertools.combinations(range(5), 2):
        found = {(cell[one], cell[other]) for cell in cells}
        assert found == set(itertools.product(values[one], values[other]))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_sft_on_any_mesh_with_any_rows_in_any_pieces_is_that_of_one_device(backend):
    assert_as_on_one_device(sft_cells(backend))


@pytest.mark.slow
@pytest.mark.parametrize("backend", BACKENDS)
def test_rl_on_any_mesh_with_any_rows_in_any_pieces_is_that_of_one_device(backend):
    pieces = itertools.cycle([(2, 12), (4, 11), (1, 12), (2, 16)])
    meshes = MESHES if backend in ("plain", "blockwise") else MESHES_OF_KERNELS
    cells = [(rl, backend, mesh, *piece) for mesh, piece in zip(meshes, pieces, strict=False)]
    assert_as_on_one_device(cells)
