"""One server for all tests of real replies."""

import pytest
from serving import Gate, make_state, model_config, one_device, serve_config, served

from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import open_model
from jaxreason.sampling.engine import Engine


@pytest.fixture(scope="session")
def gate():
    return Gate()


@pytest.fixture(scope="session")
def server(gate):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Engine, "generate", lambda engine, *args, **kw: gate.generate(engine, *args, **kw)
        )
        with served(make_state()) as running:
            yield running


@pytest.fixture(scope="session")
def tokenizer():
    return load_tokenizer(model_config().path)


@pytest.fixture(scope="session")
def engine(tokenizer):
    """One of the tests' own; call it under `jax.set_mesh`."""
    mesh = one_device()
    model, params = open_model(model_config(), mesh)
    return Engine(
        model,
        params,
        serve_config().sampler,
        mesh,
        tokenizer.stop_ids,
        tokenizer.pad_id,
        tokenizer.decode,
    )


@pytest.fixture
def client(server):
    return server.client
