"""Clients that are slow, many, gone, or send too much; and what OpenAI's clients send beside a question."""

import socket
import time
import types

import httpx
import pytest
from serving import serve_config, wait_until

from jaxreason.data.tokenizer import Tokenizer
from jaxreason.serve.preprocess import Preprocessor
from jaxreason.serve.serve_config import ServeConfig
from jaxreason.serve.server import model_name

TEXT, CHAT = "/v1/completions", "/v1/chat/completions"
USER = {"role": "user", "content": "1+1="}


def address(server):
    host, port = server.url.removeprefix("http://").split(":")
    return host, int(port)


def raw(server, head, body=b""):
    """The status line of a request written by hand."""
    with socket.create_connection(address(server), timeout=60) as connection:
        connection.sendall(head.encode() + body)
        return connection.makefile("rb").readline().decode()


@pytest.mark.parametrize(
    "fields",
    [
        {"messages": [USER, {"role": "assistant", "content": None}, USER]},
        {"messages": [USER, {"role": "assistant"}, USER]},
        {"messages": [{**USER, "name": "bob"}]},
        {
            "messages": [
                USER,
                {"role": "assistant", "content": "2", "refusal": None, "tool_calls": []},
                USER,
            ]
        },
        {"top_p": 0},
        {"temperature": 1e-20},
        {"reasoning_effort": "low"},
        {"reasoning_effort": "none"},
        {"logprobs": False, "top_logprobs": 0, "echo": False, "priority": 0, "request_id": "a"},
        {"stop_token_ids": [], "skip_special_tokens": True, "include_stop_str_in_output": False},
        {"add_generation_prompt": True, "continue_final_message": False, "top_k": -1},
        {"messages": [{**USER, "id": "msg_1"}, {"role": "assistant", "content": "2"}, USER]},
        {"user": "x", "metadata": {"a": "b"}, "store": False, "service_tier": "auto"},
        {"parallel_tool_calls": False, "logit_bias": {}, "n": 1, "seed": 3},
        {"verbosity": "low", "logit_bias": {"5": 0, "6": 0.0}},
        {"verbosity": "high", "prediction": {"type": "content", "content": "37"}},
        {"response_format": {"type": "text"}, "stream_options": None, "presence_penalty": 0.0},
    ],
)
def test_fields_of_openais_clients_that_change_nothing_are_taken(server, fields):
    body = {"messages": [USER], "max_tokens": 3, **fields}
    response = server.post(CHAT, body)
    assert response.status_code == 200, response.text


def test_top_p_0_is_the_likeliest_token(server):
    body = {"messages": [USER], "max_tokens": 8, "seed": 1}
    texts = [
        server.post(CHAT, body | how).json()["choices"][0]["message"]["content"]
        for how in ({"temperature": 5, "top_p": 0}, {"temperature": 1e-20}, {"temperature": 0})
    ]
    assert len(set(texts)) == 1


@pytest.mark.parametrize("body", [(TEXT, {"prompt": "1+"}), (CHAT, {"messages": [USER]})])
@pytest.mark.parametrize("fields", [{}, {"max_tokens": 9}, {"max_tokens": 1}])
def test_the_newer_limit_of_tokens_counts_on_both_routes(server, body, fields):
    path, question = body
    greedy = {**question, "temperature": 0}
    found = server.post(path, {**greedy, "max_completion_tokens": 4, **fields})
    assert found.status_code == 200, found.text
    expected = server.post(path, {**greedy, "max_tokens": 4})
    assert found.json()["choices"] == expected.json()["choices"]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"reasoning_effort": "a lot"}, "reasoning_effort: expected 'none', 'minimal', 'low'"),
        ({"messages": [{**USER, "tool_calls": [{}]}]}, "tool_calls: this server"),
        ({"messages": [{**USER, "reasoning": "hm"}]}, "only the assistant's messages"),
        ({"messages": [{"role": "user", "content": None}]}, "content: expected text"),
        ({"stop_token_ids": [5]}, "stop_token_ids: this server does not support it"),
        ({"skip_special_tokens": False}, "skip_special_tokens: this server"),
        ({"continue_final_message": True}, "continue_final_message: this server"),
        ({"top_logprobs": 1}, "top_logprobs: needs logprobs"),
        ({"verbosity": "loud"}, "verbosity: expected 'low', 'medium' or 'high'"),
        ({"logit_bias": {"5": 0, "6": -1}}, "logit_bias: this server does not support it"),
        ({"logit_bias": [0]}, "logit_bias: this server does not support it"),
        ({"think_budget": 5}, "think_budget: the tokenizer has no token"),
        ({"think_budget": -1}, "think_budget: expected at least 0"),
        ({"logprobs": True, "top_logprobs": 99}, "top_logprobs: expected 0 to"),
        ({"max_tokens": 0}, "max_tokens: expected 1 to"),
        ({"max_completion_tokens": 0}, "max_completion_tokens: expected 1 to"),
        ({"max_completion_tokens": 159, "max_tokens": 1}, "max_completion_tokens=159 exceed"),
    ],
)
def test_what_would_change_the_reply_is_refused_by_name(server, fields, message):
    response = server.post(CHAT, {"messages": [USER], **fields})
    error = response.json()["error"]
    assert response.status_code == 400 and message in error["message"]
    assert error["param"] in error["message"]


@pytest.mark.parametrize("path", ["/health", "/metrics", "/v1/models", "/v1/models/"])
def test_head_has_the_head_of_get(server, path):
    path += server.state.name * path.endswith("/")
    shown, head = (getattr(httpx, name)(f"{server.url}{path}") for name in ("get", "head"))
    assert head.status_code == shown.status_code == 200 and head.content == b""
    assert head.headers["content-type"] == shown.headers["content-type"]


def test_bytes_that_are_no_http_get_400_in_plain_text(server):
    with socket.create_connection(address(server), timeout=60) as connection:
        connection.sendall(b"\x16\x03\x01 no HTTP\r\n\r\n")
        answer = connection.makefile("rb").read().decode()
    assert answer.startswith("HTTP/1.1 400 ")
    assert "text/plain" in answer.partition("\r\n\r\n")[0]


def test_too_many_prompts_are_refused_before_one_is_made_tokens(server, monkeypatch):
    def never(self, prompt):
        raise AssertionError("a prompt was made tokens")

    monkeypatch.setattr(Preprocessor, "_tokenize_prompt", never)
    response = server.post(TEXT, {"prompt": [[1]] * 500})
    assert response.status_code == 400
    assert (
        response.json()["error"]["message"] == "500 prompts with n=1 exceed the limit of 12 replies"
    )


def test_more_messages_than_there_is_room_for_tokens_are_refused_unread(server):
    error = server.post(CHAT, {"messages": [{}] * 161}).json()["error"]
    assert error["message"] == "messages: 161 of them exceed the limit of 160 tokens"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TEXT, {"prompt": "1" * 7000}),
        (TEXT, {"prompt": ["1", "1+" * 3500]}),
        (CHAT, {"messages": [{"role": "user", "content": "1" * 7000}]}),
        (CHAT, {"messages": [USER] * 20 + [{"role": "user", "content": "1" * 6000}]}),
        (CHAT, {"messages": [{"role": "user", "content": [{"type": "text", "text": "1" * 7000}]}]}),
    ],
)
def test_of_a_text_that_is_far_too_long_the_beginning_alone_is_made_tokens(
    server, monkeypatch, path, body
):
    lengths, encode_part = [], Tokenizer.encode_part

    def counted(self, text):
        lengths.append(len(text))
        return encode_part(self, text)

    monkeypatch.setattr(Tokenizer, "encode_part", counted)
    error = server.post(path, body).json()["error"]
    assert error["code"] == "context_length_exceeded"
    assert "the first 1280 characters alone exceed the limit of 160 tokens" in error["message"]
    assert max(lengths) == 1280


@pytest.mark.parametrize("megabytes", [1, 12])
@pytest.mark.parametrize("path", [TEXT, "/v1/unknown"])
def test_a_refused_body_of_any_length_is_answered_and_not_reset(server, path, megabytes):
    size = megabytes << 20
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {size}\r\n\r\n"
    status = "413" if path == TEXT else "404"
    assert raw(server, head, b"1" * size).split()[1] == status


def test_a_client_that_waits_to_be_asked_for_its_body_is_refused_at_once(server):
    head = (
        f"POST {TEXT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
        "Content-Length: 99999999\r\n\r\n"
    )
    assert raw(server, head).split()[1] == "413"


@pytest.mark.slow
def test_half_sent_headers_neither_keep_others_out_nor_stay(server):
    head = f"POST {TEXT} HTTP/1.1\r\nHost: x\r\n".encode()
    slow = [socket.create_connection(address(server)) for _ in range(150)]  # at most 100
    for connection in slow:
        connection.sendall(head)
    assert server.post(TEXT, {"prompt": "1", "max_tokens": 1}).status_code == 200
    closed = [connection for connection in slow[:40] if is_closed(connection)]
    assert len(closed) == 40  # those that have waited longest
    for connection in slow:
        connection.close()


def is_closed(connection):
    connection.settimeout(60)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_connection_without_headers_is_closed_in_time(scripted_quickly):
    server = scripted_quickly
    for start in (b"", b"GET /hea"):
        began = time.monotonic()
        with socket.create_connection(address(server)) as connection:
            connection.sendall(start)
            assert is_closed(connection)
        assert time.monotonic() - began > 0.3
    assert httpx.get(f"{server.url}/health").status_code == 200


@pytest.fixture
def scripted_quickly(server):
    from serving import served

    before = server.state.body_timeout_s
    server.state.body_timeout_s = 0.5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            server.state.engine_thread, "stop", lambda cancel: None
        )  # the other server's too
        with served(server.state) as running:
            yield running
    server.state.body_timeout_s = before


@pytest.mark.parametrize("path", [TEXT, CHAT, "/v1/weights"])
def test_clients_that_hang_up_leave_no_traceback(server, monkeypatch, capfd, caplog, path):
    monkeypatch.setattr(server.state, "api_key", "key")
    monkeypatch.setattr(server.state, "updater", types.SimpleNamespace(root="root"))
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\n"
    head = f"{head}Content-Length: 500\r\n\r\n".encode()
    before = server.metrics().get(f'responses_total{{route="{path}",status="499"}}', 0)
    for part in (head, head + b"{" * 100):
        for _ in range(5):
            with socket.create_connection(address(server)) as connection:
                connection.sendall(part)
                time.sleep(0.02)
    after = f'responses_total{{route="{path}",status="499"}}'
    wait_until(lambda: server.metrics().get(after, 0) == before + 10)
    assert "Traceback" not in capfd.readouterr().err and "Exception" not in caplog.text


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (TEXT, {"prompt": "ж" * 1000}),
        (TEXT, {"x" * 7000: 1, "prompt": "1"}),
        (TEXT, {"prompt": "1", "model": "m" * 7000}),
        (TEXT, {"prompt": "1", "temperature": "1" * 7000}),
        (TEXT, {"prompt": "1", "n": [1] * 2000}),
        (CHAT, {"messages": [{"role": "r" * 3000, "content": "1"}]}),
        (CHAT, {"messages": [{"role": "r", "content": "1"}] * 200}),
        (CHAT, {"messages": [USER], "reasoning_effort": "e" * 7000}),
    ],
)
def test_an_error_quotes_little_and_no_path(server, path, body):
    response = server.post(path, body)
    assert response.status_code in (400, 404) and len(response.content) < 1000
    assert server.state.tokenizer.name not in response.text


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/rl/model", "rl"),
        ("/a/study/rl/seed_1/model", "rl-seed_1"),
        ("smollm2", "smollm2"),
        ("/models/Qwen3-0.6B", "Qwen3-0.6B"),
        ("model", "model"),
    ],
)
def test_a_twin_is_called_after_its_run(path, name):
    assert model_name(path) == name
    assert isinstance(serve_config(name="mine"), ServeConfig)
