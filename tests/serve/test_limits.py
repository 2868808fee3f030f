"""What is refused, how, and that the others go on."""

import dataclasses
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import jax
import jax.numpy as jnp
import openai
import pytest
from prometheus_client import CollectorRegistry
from serving import (
    KEY,
    LONG,
    make_state,
    model_config,
    one_device,
    serve_config,
    served,
    wait_until,
)

from jaxreason.config import ConfigError
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.models.huggingface import open_model, static_model
from jaxreason.sampling import open_engine
from jaxreason.sampling.engine_config import EngineStats
from jaxreason.sampling.sampling_params import Completion, Request
from jaxreason.serve import server as stage
from jaxreason.serve.api import ServerState
from jaxreason.serve.api_errors import ERROR_TYPES, ApiError
from jaxreason.serve.engine_thread import EngineThread, QueuedPrompt
from jaxreason.serve.preprocess import Preprocessor
from jaxreason.serve.prompt_logprobs import PromptLogprobs

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
PROMPT = "<user>13+24=<assistant>"
MESSAGES = [{"role": "user", "content": "1+1="}]


@pytest.mark.parametrize(
    ("path", "body", "message"),
    [
        (TEXT, {}, "prompt: expected text, token ids, or a list of either"),
        (TEXT, {"prompt": ""}, "the prompt is empty"),
        (TEXT, {"prompt": []}, "prompt: expected text"),
        (TEXT, {"prompt": [88]}, "a token id is outside the vocabulary of 88"),
        (TEXT, {"prompt": [-1]}, "a token id is outside the vocabulary of 88"),
        (TEXT, {"prompt": [True]}, "prompt: expected text"),
        (TEXT, {"prompt": "ж"}, "characters that are no tokens: 'ж'"),
        (TEXT, {"prompt": "\ud800"}, "prompt:"),
        (
            TEXT,
            {"prompt": "1" * 160},
            "a prompt of 160 tokens and a reply of at least 1 exceed the limit of 160 tokens",
        ),
        (
            TEXT,
            {"prompt": "1", "echo": True, "max_tokens": 0, "top_p": 1.5},
            "top_p: expected from",
        ),
        (TEXT, {"prompt": "1" * 100, "max_tokens": 61}, "a prompt of 100 tokens and max_tokens=61"),
        (TEXT, {"prompt": "1", "max_tokens": 0}, "max_tokens: expected 1 to 159, got 0"),
        (TEXT, {"prompt": "1", "max_tokens": 10**6}, "max_tokens: expected 1 to 159"),
        (TEXT, {"prompt": "1", "max_tokens": "5"}, "max_tokens: expected a whole number, got '5'"),
        (TEXT, {"prompt": "1", "stop": ""}, "stop: expected a string or a list"),
        (TEXT, {"prompt": "1", "stop": [1]}, "stop: expected a string or a list"),
        (TEXT, {"prompt": "1", "stop": ["a"] * 17}, "stop: expected at most 16 strings"),
        (TEXT, {"prompt": "1", "stop": "a" * 257}, "at most 256 bytes"),
        (TEXT, {"prompt": "1", "stop": "\udc00"}, "half of a surrogate pair"),
        (TEXT, {"prompt": "1", "temperature": -1}, "temperature: expected from 0 to 1e+06, got -1"),
        (TEXT, {"prompt": "1", "top_p": 1.5}, "top_p: expected from 0 to 1"),
        (TEXT, {"prompt": "1", "top_k": -2}, "top_k: expected at least 0, got -2"),
        (TEXT, {"prompt": "1", "min_p": 2}, "min_p: expected from 0 to 1"),
        (TEXT, {"prompt": "1", "repetition_penalty": 0}, "repetition_penalty: expected from 1e-06"),
        (TEXT, {"prompt": "1", "n": 0}, "n: expected at least 1"),
        (TEXT, {"prompt": "1", "n": 13}, "1 prompts with n=13 exceed the limit of 12 replies"),
        (TEXT, {"prompt": "1", "logprobs": 6}, "logprobs: expected 0 to 5, got 6"),
        (TEXT, {"prompt": "1", "logit_bias": {"5": 1}}, "logit_bias: this server does not"),
        (TEXT, {"prompt": "1", "presence_penalty": 0.5}, "presence_penalty: this server does not"),
        (TEXT, {"prompt": "1", "best_of": 3}, "best_of: this server does not support it"),
        (TEXT, {"prompt": "1", "suffix": "x"}, "suffix: this server does not support it"),
        (TEXT, {"prompt": "1", "temprature": 1}, "no such field; did you mean 'temperature'?"),
        (TEXT, [], "the body: expected an object, got a list"),
        (TEXT, {"promt": "1"}, "promt: no such field; did you mean 'prompt'?"),
        (
            TEXT,
            {"prompt": "1", "max_tokens": True},
            "max_tokens: expected a whole number, got True",
        ),
        (TEXT, {"prompt": "1", "max_tokens": 5.0}, "max_tokens: expected a whole number, got 5.0"),
        (TEXT, {"prompt": "1", "temperature": "1"}, "temperature: expected a number, got '1'"),
        (TEXT, {"prompt": "1", "temperature": 10**400}, "temperature: expected a number, got 1"),
        (TEXT, {"prompt": "1", "top_p": float("nan")}, "top_p: expected a finite number, got nan"),
        (
            TEXT,
            {"prompt": "1", "repetition_penalty": 1e39},
            "repetition_penalty: expected from 1e-06",
        ),
        (
            TEXT,
            {"prompt": "1", "repetition_penalty": 1e-50},
            "repetition_penalty: expected from 1e-06",
        ),
        (TEXT, {"prompt": "1", "temperature": 1e39}, "temperature: expected from 0 to 1e+06, got"),
        (TEXT, {"prompt": "1", "echo": 1}, "echo: expected true or false, got 1"),
        (TEXT, {"prompt": "1", "presence_penalty": False}, "presence_penalty: this server does"),
        (TEXT, {"prompt": "1", "\ud800": 1}, "half of a surrogate pair is no character"),
        (TEXT, {str(i): 1 for i in range(500)}, "expected at most 200 fields, got 501"),
        (TEXT, {"prompt": [[1]] * 9 + [[1, True]]}, "prompt: expected text, token ids, or"),
        (CHAT, {"messages": []}, "messages: expected at least one"),
        (
            CHAT,
            {"messages": [{**MESSAGES[0], "nme": "x"}]},
            "messages[0].nme: no such field; did you",
        ),
        (
            CHAT,
            {"messages": MESSAGES, "stream_options": {"include_usage": 1}},
            "stream_options.include_usage: expected true or false, got 1",
        ),
        (CHAT, {}, "messages: expected a list of messages, got nothing"),
        (CHAT, {"messages": ["hello"]}, "messages[0]: expected an object, got 'hello'"),
        (CHAT, {"messages": [{"role": "user"}]}, "messages[0].content: expected text"),
        (
            CHAT,
            {"messages": [{"content": "1"}]},
            "messages[0].role: expected a string, got nothing",
        ),
        (CHAT, {"messages": [{"role": "system", "content": "1"}]}, "only user and assistant"),
        (
            CHAT,
            {"messages": [{"role": "assistant", "content": "1"}]},
            "that is not the assistant's",
        ),
        (
            CHAT,
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
            "this model reads text only",
        ),
        (
            CHAT,
            {"messages": MESSAGES, "top_logprobs": 2},
            "top_logprobs: needs logprobs to be true",
        ),
        (CHAT, {"messages": MESSAGES, "tools": [{}]}, "tools: this server does not support it"),
        (
            CHAT,
            {"messages": MESSAGES, "response_format": {"type": "json_object"}},
            "response_format",
        ),
        (CHAT, {"messages": MESSAGES, "think_budget": 5}, "think_budget"),
        (CHAT, {"messages": MESSAGES, "chat_template_kwargs": {"x": 1}}, "x: no such field"),
    ],
)
def test_what_cannot_be_honoured_is_refused_with_its_reason(server, path, body, message):
    for stream in [False, True] if isinstance(body, dict) else [False]:
        asked = body | {"stream": stream} if isinstance(body, dict) else body
        response = server.post(path, asked)
        assert response.status_code == 400
        error = response.json()["error"]
        assert message in error["message"] and error["type"] == "invalid_request_error"


def test_fields_that_ask_for_nothing_are_let_be(server):
    nothing = {"logit_bias": {}, "presence_penalty": 0, "best_of": 1, "user": "x", "suffix": None}
    assert server.post(TEXT, {"prompt": "1", "max_tokens": 1, **nothing}).status_code == 200


def test_numbers_beyond_the_engines_bits_do_not_harm_it(server):
    huge = {"seed": -(10**30), "top_k": 10**30, "top_p": 1e-300, "temperature": 1e-300}
    for name, value in huge.items():
        body = {"prompt": PROMPT, "max_tokens": 3, "temperature": 1, name: value}
        assert server.post(TEXT, body).status_code == 200


@pytest.mark.parametrize(
    "body", [b"{", b"\xff", b"[" * 5000, b"", b"1" * 5000, b'{"prompt": "1", "prompt": "2"}']
)
def test_a_body_that_is_no_json_is_refused(server, body):
    response = httpx.post(f"{server.url}{TEXT}", content=body)
    assert response.status_code == 400
    assert "the body is not valid JSON" in response.json()["error"]["message"]


def test_a_body_that_is_too_long_is_refused(server):
    response = server.post(TEXT, {"prompt": "1" * 10_000})
    assert response.status_code == 413
    assert response.json()["error"]["message"] == "the body is longer than 8192 bytes"
    parts = (b"1" * 1000 for _ in range(10))  # without a length in the header
    assert httpx.post(f"{server.url}{TEXT}", content=parts).status_code == 413


def test_an_unknown_route_is_answered_in_the_same_shape(server):
    response = server.post("/v1/embeddings", {})
    assert response.status_code == 404 and "/v1/embeddings" in response.json()["error"]["message"]
    assert httpx.get(f"{server.url}{TEXT}").status_code == 405


def test_an_overloaded_server_answers_429_and_serves_those_before(server, gate):
    def ask():
        return server.client.completions.create(model="tiny_base", prompt=PROMPT, n=4, **LONG)

    with ThreadPoolExecutor(3) as pool:
        with gate.shut():
            replies = [pool.submit(ask) for _ in range(3)]
            wait_until(lambda: sum(server.state.engine_thread.load()) == 12)
            with pytest.raises(openai.RateLimitError, match="12 replies run or wait already"):
                ask()
            assert server.post(TEXT, {"prompt": "1"}).headers["retry-after"] == "1"
            found = server.metrics()  # One answer: between two of them replies may begin to run.
            assert found["running_sequences"] + found["waiting_sequences"] == 12
        texts = [[choice.text for choice in reply.result().choices] for reply in replies]
    assert texts[0] == texts[1] == texts[2]
    assert len(ask().choices) == 4


def started_stream(server):
    stream = server.client.completions.create(
        model="tiny_base", prompt=PROMPT, **LONG, n=4, stream=True
    )
    next(iter(stream))
    return stream


def prompts(server):
    return [*server.state.engine_thread._running.values(), *server.state.engine_thread._waiting]


@pytest.mark.parametrize("waiting", [False, True])
def test_a_dropped_client_frees_its_slots(server, gate, waiting):
    before = server.metrics().get('sequences_total{finish_reason="cancelled"}', 0)
    with gate.shut():
        first = started_stream(server)
        if waiting:  # all slots are taken: this one waits, and must not wait for them
            body = {"prompt": "1+1=", **LONG, "n": 4}
            with pytest.raises(httpx.ReadTimeout):
                httpx.post(f"{server.url}{TEXT}", json=body, timeout=httpx.Timeout(60, read=1))
            wait_until(lambda: sum(server.state.engine_thread.load()) == 4)
            assert server.metrics()["waiting_sequences"] == 0
        first.close()
        wait_until(lambda: all(prompt.cancelled for prompt in prompts(server)))
        assert server.metrics()["running_sequences"] == 4
    wait_until(lambda: server.metrics()["running_sequences"] == 0)
    after = server.metrics()['sequences_total{finish_reason="cancelled"}']
    assert after == before + (8 if waiting else 4)


def test_a_dropped_client_that_does_not_stream_frees_its_slot_too(server, gate):
    with gate.shut():
        body = {"prompt": PROMPT, **LONG}
        with pytest.raises(httpx.ReadTimeout):
            httpx.post(f"{server.url}{TEXT}", json=body, timeout=httpx.Timeout(60, read=1))
        wait_until(lambda: all(prompt.cancelled for prompt in prompts(server)))
    wait_until(lambda: server.metrics()["running_sequences"] == 0)


class ScriptedEngine:
    """Fails as it is told to by the first token of a prompt."""

    NAN, BROKEN = 50, 51

    def __init__(self):
        self.released = 0

    def release(self):
        self.released += 1

    def generate(self, requests, decoding, on_tokens, cancelled):
        for request in filter(None, requests):
            if request.tokens[0] == self.BROKEN:
                raise RuntimeError("out of memory")
            failed = request.tokens[0] == self.NAN
            if failed and len(request.tokens) > 1:  # under way
                on_tokens(Completion(request.id, 0, (7,), (-0.5,), ""))
            reason = "error: non-finite logits" if failed else "length"
            yield Completion(request.id, 0, (7, 8), (-0.5, -0.5), reason)


class ScriptedScorer:
    def score(self, tokens):
        return PromptLogprobs((float("nan"),) * (len(tokens) - 1), ((),) * (len(tokens) - 1))


@pytest.fixture
def scripted():
    config, mesh = serve_config(), one_device()
    tokenizer, engine = load_tokenizer(model_config().path), ScriptedEngine()
    limits = (config.decoding, config.max_sequences)
    engine_thread = EngineThread(engine, ScriptedScorer(), *limits)
    engine_thread.start(mesh)
    preprocessor = Preprocessor(config, tokenizer, 88, ("scripted",))
    state = ServerState(
        "scripted", KEY, 8192, 5.0, preprocessor, engine_thread, tokenizer, EngineStats()
    )
    with served(state) as running:
        yield running, engine


def test_without_the_key_nothing_of_the_model_is_given(scripted):
    server, _ = scripted
    for headers in ({}, {"Authorization": "Bearer another"}, {"Authorization": KEY}):
        for response in (
            httpx.get(f"{server.url}/v1/models", headers=headers),
            httpx.post(f"{server.url}{TEXT}", json={"prompt": "1"}, headers=headers),
        ):
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
    assert httpx.get(f"{server.url}/health").status_code == 200
    assert server.post(TEXT, {"prompt": "1"}).status_code == 200


@pytest.mark.parametrize(
    ("header", "status"),
    [
        (f"bearer {KEY}", 200),
        (f"BEARER {KEY}", 200),
        (f"Basic {KEY}", 401),
        (f"Bearer {KEY.upper()}", 401),
    ],
)
def test_the_scheme_of_the_key_may_be_in_any_case_as_http_has_it(scripted, header, status):
    server, _ = scripted
    answer = httpx.get(f"{server.url}/v1/models", headers={"Authorization": header})
    assert answer.status_code == status


def test_a_key_may_have_any_characters(scripted):
    server, _ = scripted
    server.state.api_key = "Schlüssel 🔑"
    for key, status in (("Schlüssel 🔑", 200), ("Schlüssel", 401), ("Schl\xfcssel \xf0", 401)):
        headers = {"Authorization": b"Bearer " + key.encode()}
        assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == status


def test_a_request_with_non_finite_logits_fails_and_the_others_go_on(scripted):
    server, engine = scripted
    for stream in (False, True):
        response = server.post(TEXT, {"prompt": [engine.NAN], "stream": stream})
        assert response.status_code == 500
        assert response.json()["error"]["message"] == "non-finite logits"
        assert response.json()["error"]["type"] == "server_error"
    scored = server.post(TEXT, {"prompt": [9, 9], "echo": True, "logprobs": 1})
    assert scored.status_code == 500
    assert server.post(TEXT, {"prompt": [9]}).json()["usage"]["completion_tokens"] == 2
    assert engine.released == 0


def test_a_stream_that_fails_under_way_ends_with_its_reason(scripted):
    server, engine = scripted
    with pytest.raises(openai.APIError, match="non-finite logits"):
        list(
            server.client.completions.create(model="scripted", prompt=[engine.NAN, 9], stream=True)
        )


def test_an_engine_that_breaks_fails_its_requests_and_serves_the_next(scripted, capfd):
    server, engine = scripted
    for count in (1, 2):
        response = server.post(TEXT, {"prompt": [engine.BROKEN]})
        assert response.status_code == 500
        assert response.json()["error"]["message"] == "the engine failed: out of memory"
        assert server.post(TEXT, {"prompt": [9]}).status_code == 200
        assert engine.released == count
    assert "RuntimeError: out of memory" in capfd.readouterr().err


def test_a_waiting_prompt_is_cancelled_once_though_the_engine_fails_meanwhile():
    engine_thread = EngineThread(ScriptedEngine(), ScriptedScorer(), serve_config().decoding, 12)
    posted = []

    def post(sample, completion):
        posted.append((sample, completion.finish_reason))
        engine_thread._fail("error: the engine failed")

    waits = QueuedPrompt(Request("a", (5,), 0, 2), post, False, False, True)
    engine_thread._waiting.append(waits)
    engine_thread.cancel([waits])
    assert posted == [(0, "cancelled"), (1, "cancelled")]
    assert engine_thread.counts()["ended:cancelled"] == 2
    assert engine_thread.load() == (0, 0)


class LostEngine(ScriptedEngine):
    """Fails whatever it is asked, before it takes a request."""

    def generate(self, *args, **options):
        raise RuntimeError("no room for a cache")
        yield


@pytest.fixture
def lost(capfd):
    """The thread of such an engine, which has ended."""
    config = serve_config()
    engine_thread = EngineThread(LostEngine(), ScriptedScorer(), config.decoding, 12)
    engine_thread.start(one_device())
    engine_thread._thread.join(60)
    yield engine_thread
    engine_thread.stop(cancel=True)


def test_an_engine_that_fails_without_a_prompt_ends_its_thread_instead_of_failing_again(
    lost, capfd
):
    assert not lost.alive and str(lost.error) == "no room for a cache"
    assert capfd.readouterr().err.count("RuntimeError: no room for a cache") == 1
    with pytest.raises(ApiError) as refused:
        lost.check_room(1)
    assert refused.value.status == 503


def test_a_server_whose_engine_has_failed_before_it_listens_ends_with_the_reason(server, lost):
    state = dataclasses.replace(
        server.state, engine_thread=lost, registry=CollectorRegistry(), responses=Counter()
    )
    config = serve_config()
    with stage._listen(config) as listener, pytest.raises(RuntimeError, match="no room for a cach"):
        stage._serve(state, listener, config)


def test_a_think_budget_that_no_token_can_close_is_refused_at_the_start():
    config = serve_config()
    budget = dataclasses.replace(config.decoding, think_budget=5)
    with pytest.raises(ConfigError, match=r"serve\.decoding\.think_budget=5: expected 0"):
        make_state(dataclasses.replace(config, decoding=budget))


def test_an_engine_thread_that_stops_takes_nothing_more(scripted):
    server, _ = scripted
    server.state.engine_thread.stop(cancel=False)
    assert server.post(TEXT, {"prompt": "1"}).status_code == 503
    assert httpx.get(f"{server.url}/health").status_code == 503


def test_a_body_that_does_not_come_is_not_waited_for(scripted):
    server, _ = scripted
    server.state.body_timeout_s = 0.05
    release = threading.Event()

    def slowly():
        yield b"{"
        release.wait()
        yield b"}"

    threading.Timer(1.0, release.set).start()
    response = httpx.post(f"{server.url}{TEXT}", content=slowly(), headers=server.headers)
    assert response.status_code == 408


def test_an_address_that_is_taken_is_named(server):
    port = int(server.url.rpartition(":")[2])
    with pytest.raises(ConfigError, match=f"serve.port={port}"):
        stage._listen(dataclasses.replace(serve_config(), port=port))


# One token of this model is broken: whoever uses it is told, and the others are served.
BROKEN, GOOD = "<user>7=<assistant>", "<user>13+24=<assistant>"


def untied(config):
    """As `static_model`, with a head of its own."""
    model = static_model(config)
    architecture = dataclasses.replace(model.architecture, tie_word_embeddings=False)
    return dataclasses.replace(model, architecture=architecture)


def open_broken(tokenizer):
    """As `open_reader`, but what follows the digit 7 is not a number; the head, which is tied, stays whole."""

    def open_(config, mesh):
        params = open_model(config, mesh)[1]
        table = params["embed_tokens"]["embedding"]
        broken = table.at[tokenizer.encode("7")[0]].set(jnp.nan)
        params |= {"embed_tokens": {"embedding": broken}, "lm_head": {"kernel": table.T}}
        flat = dict(jax.tree_util.tree_leaves_with_path(params))
        return untied(
            config
        ), lambda path, before=None, layer=None: flat[path] if layer is None else flat[path][layer]

    return open_


@pytest.fixture(scope="module")
def broken(tokenizer):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(open_engine, "static_model", untied)
        patch.setattr(open_engine, "open_reader", open_broken(tokenizer))
        with served(make_state()) as running:
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


def test_every_status_of_an_error_has_openais_type():
    # https://platform.openai.com/docs/guides/error-codes names the causes by status
    expected = {
        400: "invalid_request_error",
        401: "authentication_error",
        404: "not_found_error",
        413: "invalid_request_error",
        429: "rate_limit_error",
        500: "server_error",
        503: "server_error",
    }
    found = {status: ApiError(status, "x").to_json()["error"]["type"] for status in expected}
    assert found == expected
    assert set(ERROR_TYPES) <= set(expected)
