"""The tiny base model behind a real server in a thread, with an engine that can be made to stand still."""

import contextlib
import json
import socket
import threading
import time

import httpx
import jax
import openai
import uvicorn

from jaxreason.config import parse
from jaxreason.models.huggingface import ModelConfig
from jaxreason.recipes import load_recipe
from jaxreason.sampling.engine import Engine
from jaxreason.serve.api import make_app
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.serve.server import make_server_state, uvicorn_config
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.verbs.answering import begin_loading_tokenizer

RECIPE = "configs/study_tiny.py"
LONG = {"temperature": 5.0, "seed": 2, "max_tokens": 100}  # of a reply that goes on for a while
KEY = "a key"


def serve_config(**changes):
    section = load_recipe(RECIPE).serve
    section.update(port=0, max_sequences=12, max_body_bytes=8192, **changes)
    section.sampler.update(decode_block=1, slots=4)
    return parse(ServeConfig, section, "config.serve")


def model_config():
    return parse(ModelConfig, load_recipe(RECIPE).model, "config.model")


def one_device():
    return make_mesh(MeshConfig(1, 1, 1, 1), jax.devices()[:1])


def make_state(config=None, model=None, mesh=None):
    config, model, mesh = config or serve_config(), model or model_config(), mesh or one_device()
    return make_server_state(config, model, mesh, begin_loading_tokenizer(model))


class Gate:
    """While it is shut, engines stand still after the dispatch that they are in."""

    def __init__(self):
        self._open = threading.Event()
        self._open.set()

    @contextlib.contextmanager
    def shut(self):
        self._open.clear()
        try:
            yield
        finally:
            self._open.set()

    def generate(self, engine, requests, decoding, on_tokens=None, **options):
        def show(partial):
            on_tokens(partial)
            self._open.wait()

        return GENERATE(engine, requests, decoding, on_tokens and show, **options)


GENERATE = Engine.generate


class Served:
    """A server behind a socket."""

    def __init__(self, state, port):
        self.state, self.url = state, f"http://127.0.0.1:{port}"
        self.client = openai.OpenAI(
            base_url=f"{self.url}/v1", api_key=state.api_key or "none", max_retries=0
        )
        self.headers = {"Authorization": f"Bearer {state.api_key}"} if state.api_key else {}

    def post(self, path, body):
        body = json.dumps(body)  # httpx's own does not write half of a surrogate pair
        return httpx.post(f"{self.url}{path}", content=body, headers=self.headers, timeout=120)

    def metrics(self):
        lines = httpx.get(f"{self.url}/metrics").text.splitlines()
        pairs = [line.rsplit(" ", 1) for line in lines if not line.startswith("#")]
        return {name.removeprefix("jaxreason_"): float(value) for name, value in pairs}


@contextlib.contextmanager
def served(state, most=100):
    settings = uvicorn_config(make_app(state), state.body_timeout_s, most, 10)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(settings)
        thread = threading.Thread(target=server.run, args=([listener],))
        thread.start()
        try:
            yield Served(state, listener.getsockname()[1])
        finally:
            server.should_exit = True
            thread.join()


def wait_until(true):
    for _ in range(10_000):  # a test that waits in vain is to fail, not to hang
        if true():
            return
        time.sleep(0.01)
    raise AssertionError("waited in vain")
