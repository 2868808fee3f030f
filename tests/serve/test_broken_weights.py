"""A model one of whose tokens is broken: whoever uses it is told, and the others are served."""

import dataclasses
from concurrent.futures import ThreadPoolExecutor

import jax.numpy as jnp
import pytest
from serving import model_config, one_device, serve_config, served

from jaxreason.models.huggingface import open_model
from jaxreason.serve import server as stage

BROKEN, GOOD = "<user>7=<assistant>", "<user>13+24=<assistant>"


def open_broken(tokenizer):
    """As `open_model`, but what follows the digit 7 is not a number; the head, which is tied, stays whole."""

    def open_(config, mesh):
        model, params = open_model(config, mesh)
        architecture = dataclasses.replace(model.architecture, tie_word_embeddings=False)
        table = params["embed_tokens"]["embedding"]
        broken = table.at[tokenizer.encode("7")[0]].set(jnp.nan)
        params |= {"embed_tokens": {"embedding": broken}, "lm_head": {"kernel": table.T}}
        return dataclasses.replace(model, architecture=architecture), params

    return open_


@pytest.fixture(scope="module")
def broken(tokenizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "open_model", open_broken(tokenizer))
        with served(stage.make_service(serve_config(), model_config(), one_device())) as running:
            yield running


@pytest.mark.parametrize("extra", [{}, {"echo": True, "logprobs": 1, "max_tokens": 1}])
def test_logits_that_are_no_numbers_fail_the_request_and_no_other(broken, server, extra):
    bodies = [{"prompt": p, "temperature": 0.0} | extra for p in (GOOD, BROKEN) * 3]
    with ThreadPoolExecutor(len(bodies)) as pool:
        found = list(pool.map(lambda body: broken.post("/v1/completions", body), bodies))
    for response in found[1::2]:
        assert response.status_code == 500
        assert response.json()["error"]["message"] == "non-finite logits"
    expected = server.post("/v1/completions", bodies[0]).json()["choices"][0]["text"]
    for response in found[::2]:
        assert response.status_code == 200
        assert response.json()["choices"][0]["text"] == expected
