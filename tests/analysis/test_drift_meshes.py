"""What both models say about texts is the same on one device and on eight, whichever axis and backend."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pair import HF_CONFIG, make_unit, params_of, tiny_model
from tiny_qwen3 import model_config

from jaxreason.analysis.hidden_states import cosine_distances, pool, pooling_masks
from jaxreason.analysis.paired_forward import make_measure, measure_unit
from jaxreason.analysis.texts import Batching, batches
from jaxreason.models.decoder import forward, param_shardings
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.huggingface import make_model
from jaxreason.sharding import ROWS, MeshConfig, make_mesh, num_parts

# Texts longer than a shard of `context`, replies of one token, and a last batch with rows of padding.
UNIT = make_unit(((5, 7), (3, 40), (9, 1), (20, 20), (2, 43)))
CASES = list(
    itertools.product(
        [{"context": 8}, {"context": 2, "tensor": 2, "fsdp": 2}, {"tensor": 4, "data": 2}],
        ["plain", "blockwise"],
        [64, 45],  # 45 positions divide over no axis
    )
)
QUICK = ({"context": 2, "tensor": 2, "fsdp": 2}, "blockwise", 45)


def measured(sizes, attention, limit):
    model = make_model(model_config(attention=attention), architecture_from_hf(HF_CONFIG))
    sizes = {"data": 1, "fsdp": 1, "tensor": 1, "context": 1} | sizes
    mesh = make_mesh(MeshConfig(**sizes), jax.devices()[: int(np.prod(list(sizes.values())))])
    parts = num_parts(mesh, *ROWS)
    with jax.set_mesh(mesh):
        params = [jax.device_put(params_of(s), param_shardings(model, mesh)) for s in (0, 1)]
        batching = Batching(-(-5 // parts) * parts, 10**6, limit, parts)
        return measure_unit(make_measure(model, model, 16), *params, mesh, UNIT, batching)


@pytest.fixture(scope="module")
def one_device():
    return {limit: measured({}, "plain", limit) for limit in (64, 45)}


@pytest.mark.parametrize(
    ("sizes", "attention", "limit"),
    [pytest.param(*case, marks=[] if case == QUICK else pytest.mark.slow) for case in CASES],
)
def test_eight_devices_give_the_numbers_of_one(one_device, sizes, attention, limit):
    many = measured(sizes, attention, limit)
    leaves = jax.tree.leaves(one_device[limit]), jax.tree.leaves(many)
    for one, eight in zip(*leaves, strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-4, atol=1e-4)


def test_reducing_layer_by_layer_gives_what_the_states_of_all_layers_gave(one_device):
    (batch, *_) = batches(UNIT, Batching(8, 10**6, 45))
    positions = jnp.broadcast_to(jnp.arange(batch.tokens.shape[1]), batch.tokens.shape)
    given = batch.tokens, positions, batch.segment_ids
    base, tuned = (forward(tiny_model(), params_of(seed), *given).hidden for seed in (0, 1))
    found, number = one_device[45], len(batch.rows)
    for name, mask in pooling_masks(batch.segment_ids, batch.reply_mask).items():
        for states, pooled in ((base, found.base), (tuned, found.tuned)):
            expected = pool(states, mask)[:number]
            np.testing.assert_allclose(pooled[name][batch.rows], expected, rtol=1e-5, atol=1e-5)
    distances = cosine_distances(base, tuned, batch.reply_mask)[:number]
    np.testing.assert_allclose(found.cosine_distance[batch.rows], distances, rtol=1e-4, atol=1e-6)
