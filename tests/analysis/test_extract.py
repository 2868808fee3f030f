"""`extract` gives Hugging Face's hidden states, pooled in every way and token by token, and on many devices alike."""

import functools

import jax
import numpy as np
import pytest
import transformers
from tiny_pair import make_unit, mesh_of, params_of, tiny_model

from jaxreason.analysis.hidden_states import extract_states
from jaxreason.analysis.texts import Batching, batches
from jaxreason.errors import UserError
from jaxreason.models.decoder import param_shardings
from jaxreason.models.hf_export import save_model
from jaxreason.sharding import place_rows

LENGTHS = ((5, 7), (3, 25), (9, 1), (11, 20))


@pytest.fixture(scope="module")
def states(tmp_path_factory):
    """Hugging Face's hidden states [L + 1, T, D] of every text."""
    torch = pytest.importorskip("torch")
    folder = tmp_path_factory.mktemp("model")
    save_model(folder, tiny_model(), params_of(0), tokenizer_from=None, max_shard_bytes=10**9)
    network = transformers.AutoModelForCausalLM.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager"
    )
    with torch.no_grad():
        found = [network(torch.tensor([t.tokens]), output_hidden_states=True) for t in texts()]
    return [np.stack([layer[0].numpy() for layer in out.hidden_states]) for out in found]


def texts():
    return make_unit(LENGTHS).texts


def batch_of():
    return next(batches(make_unit(LENGTHS), Batching(4, 10**6, 32)))


def extracted(pool, num_devices=1, **how):
    run = jax.jit(functools.partial(extract_states, pool=pool, model=tiny_model(), **how))
    mesh = mesh_of(num_devices)
    with jax.set_mesh(mesh):
        params = jax.device_put(params_of(0), param_shardings(tiny_model(), mesh))
        return np.asarray(run(params, place_rows(mesh, batch_of())))


POOLED = {
    "reply": lambda states, text: states[:, text.reply_start :].mean(1),
    "all": lambda states, text: states.mean(1),
    "last": lambda states, text: states[:, -1],
}


@pytest.mark.parametrize("num_devices", [1, 8])
@pytest.mark.parametrize("pool", POOLED)
def test_pooled_states_are_those_of_hugging_face(states, pool, num_devices):
    found = extracted(pool, num_devices)
    for row, text in enumerate(texts()):
        np.testing.assert_allclose(found[row], POOLED[pool](states[row], text), atol=1e-4)


def test_states_of_tokens_are_those_of_hugging_face_at_the_layers_asked_for(states):
    found = extracted("none", layers=(2, 0))
    assert found.shape == (4, 2, 32, 16)
    for row, text in enumerate(texts()):
        own = found[row][:, : len(text.tokens)]
        np.testing.assert_allclose(own, states[row][[2, 0]], atol=1e-4)


def test_layers_that_are_asked_for_are_those_of_all():
    np.testing.assert_array_equal(extracted("last", layers=(1,)), extracted("last")[:, [1]])


@pytest.mark.parametrize("pool", ["last", "none"])
def test_a_layer_that_is_asked_for_twice_is_there_twice(pool):
    found = extracted(pool, layers=(2, 0, 2))
    np.testing.assert_array_equal(found[:, [0, 1]], extracted(pool, layers=(2, 0)))
    np.testing.assert_array_equal(found[:, 2], found[:, 0])


def test_pools_and_layers_that_there_are_not_are_refused():
    with pytest.raises(UserError, match="pool='mean': expected one of reply, all, last, none"):
        extract_states(params_of(0), batch_of(), "mean", model=tiny_model())
    with pytest.raises(UserError, match=r"layers=\(3,\): expected numbers from 0 to 2"):
        extract_states(params_of(0), batch_of(), "last", model=tiny_model(), layers=(3,))
