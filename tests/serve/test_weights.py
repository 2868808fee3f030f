"""New weights while a model is served: who gets which, what is refused, and that the old ones go on."""

import dataclasses
import functools
import os
import shutil
import signal
import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import jax
import pytest
from serving import (
    GENERATE,
    KEY,
    LONG,
    make_state,
    model_config,
    one_device,
    serve_config,
    served,
    wait_until,
)
from weight_folders import noisy, write, write_refused

from jaxreason.models import safetensors_reader
from jaxreason.models.huggingface import open_model
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.serve import server as stage
from jaxreason.serve.api_errors import ApiError
from jaxreason.serve.engine_thread import QueuedWeights
from jaxreason.serve.weight_updates import resolve_inside

TEXT = "/v1/completions"
PROMPT = "<user>13+24=<assistant>"
ASKED = {"prompt": PROMPT, **LONG, "max_tokens": 20}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders that a server may load, and beside them one that it may not."""
    outer = tmp_path_factory.mktemp("weights")
    root = outer / "root"
    root.mkdir()
    write(root / "base")
    write(root / "other", noisy)
    write(outer / "outside")
    write_refused(root, outer / "canary")
    (root / "link").symlink_to(outer / "outside")
    (root / "linked").mkdir()
    for file in (outer / "outside").iterdir():
        (root / "linked" / file.name).symlink_to(file)
    return root


def make(folders, **changes):
    model = dataclasses.replace(model_config(), path=str(folders / "base"))
    config = serve_config(api_key=KEY, weights_root=str(folders), **changes)
    return make_state(config, model)


@pytest.fixture(scope="module")
def running(folders, gate):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Engine, "generate", lambda *args, **kw: gate.generate(*args, **kw))
        with served(make(folders)) as running:
            yield running


@pytest.fixture
def server(running):
    """With the weights of `base`."""
    change(running, "base")
    return running


def change(server, path):
    response = server.post("/v1/weights", {"path": path})
    assert response.status_code == 200, response.text
    return response.json()


def reply(server, body=ASKED):
    return server.post(TEXT, body).json()["choices"][0]["text"]


def fingerprint(server):
    (model,) = httpx.get(f"{server.url}/v1/models", headers=server.headers).json()["data"]
    return model["fingerprint"]


def test_new_weights_give_the_replies_of_an_engine_made_with_them(server, folders, tokenizer):
    before = reply(server)
    change(server, "other")
    model = dataclasses.replace(model_config(), path=str(folders / "other"))
    with jax.set_mesh(one_device()):
        engine = Engine(
            *open_model(model, one_device()),
            serve_config().sampler,
            one_device(),
            tokenizer.stop_ids,
            tokenizer.pad_id,
            tokenizer.decode,
        )
        decoding = SamplingParams(LONG["temperature"], 0, 1.0, 20, ())
        request = Request("direct", tuple(tokenizer.encode(PROMPT)), LONG["seed"], 1)
        (expected,) = GENERATE(engine, [request], decoding)
    assert reply(server) == tokenizer.decode(expected.tokens) != before
    change(server, str(folders / "base"))  # a whole path will do
    assert reply(server) == before


def test_the_prompts_of_a_scored_text_are_scored_with_the_new_weights(server):
    body = {"prompt": PROMPT, "max_tokens": 0, "echo": True, "logprobs": 1}

    def scores():
        choice = server.post(TEXT, body).json()["choices"][0]
        return choice["logprobs"]["token_logprobs"][1:]

    old = scores()
    change(server, "other")
    assert scores() != pytest.approx(old, abs=0.1)
    change(server, "base")
    assert scores() == old


def test_the_prefix_cache_is_emptied_with_the_weights(server):
    body = {"prompt": "1" * 140, "max_tokens": 2, "seed": 1}

    def shared():
        before = server.metrics()["engine_shared_tokens_total"]
        server.post(TEXT, body)
        return server.metrics()["engine_shared_tokens_total"] - before

    assert shared() == 0 < shared()
    change(server, "other")
    assert shared() == 0 < shared()


def test_the_models_fingerprint_tells_which_weights_are_there(server):
    before, card = fingerprint(server), change(server, "other")
    assert fingerprint(server) == card["fingerprint"] != before
    assert card["id"] == "base" and server.post(TEXT, ASKED | {"model": "base"}).status_code == 200
    assert change(server, "base")["fingerprint"] == before


def test_what_came_before_a_change_gets_the_old_weights_and_what_comes_after_the_new(server, gate):
    old = reply(server), fingerprint(server)
    change(server, "other")
    new = reply(server), fingerprint(server)
    change(server, "base")
    with ThreadPoolExecutor(8) as pool:
        with gate.shut():
            before = [pool.submit(server.post, TEXT, ASKED) for _ in range(6)]
            wait_until(lambda: sum(server.state.engine_thread.load()) == 6)
            changed = pool.submit(change, server, "other")
            waiting = server.state.engine_thread._waiting
            wait_until(lambda: any(isinstance(x, QueuedWeights) for x in tuple(waiting)))
            after = pool.submit(server.post, TEXT, ASKED)
            wait_until(lambda: sum(server.state.engine_thread.load()) == 7)
            refused = server.post("/v1/weights", {"path": "base"})
            assert refused.status_code == 409 and not changed.done()
        assert changed.result()["fingerprint"] == new[1]
        for expected, responses in ((old, before), (new, [after])):
            for response in responses:
                found = response.result().json()
                assert (found["choices"][0]["text"], found["system_fingerprint"]) == expected


def test_chunks_of_a_stream_name_the_weights_too(server):
    stream = server.client.completions.create(model="base", **ASKED, stream=True)
    assert {chunk.system_fingerprint for chunk in stream} == {fingerprint(server)}


@pytest.mark.parametrize(
    ("path", "status", "message"),
    [
        ("shape", 400, "up_proj.weight: shape (512, 128), expected (256, 128)"),
        ("nan", 400, "model.norm.weight holds 128 values that are NaN"),
        ("missing", 400, "1 weight(s) missing: model.layers.0.mlp.up_proj.weight"),
        ("family", 400, "model_type is 'llama', the served model has"),
        ("heads", 400, "num_attention_heads is 1, the served model has"),
        ("short", 400, "max_position_embeddings=32; expected at least sampler.max_length=160"),
        ("cut", 400, "not a whole safetensors file"),
        ("changed", 400, "not the bytes that were exported. Put back a copy"),
        ("pickle", 400, "neither model.safetensors.index.json nor model.safetensors is there"),
        ("code", 400, "'evil'"),
        ("tokens", 400, "another tokenizer: '1' is"),
        ("empty", 400, "empty: no config.json"),
        ("file", 400, "file: no such folder; expected a Hugging Face model folder"),
        ("nowhere", 400, "nowhere: no such folder"),
        ("", 400, "path: expected a folder's, inside serve.weights_root"),
        ("a\0b", 400, "path: expected a folder's"),
        ("a\nb", 400, "path: expected a folder's"),
        ("\ud800", 400, "path: expected a folder's"),  # half of a surrogate pair
        ("../outside", 403, "is not inside serve.weights_root"),
        ("base/../../outside", 403, "is not inside serve.weights_root"),
        ("/etc", 403, "is not inside serve.weights_root"),
        ("link", 403, "is not inside serve.weights_root"),
        ("linked", 403, "is not inside serve.weights_root"),
        ("gs://bucket/model", 400, "no such folder"),
    ],
)
def test_weights_that_cannot_be_served_are_refused_and_the_old_ones_go_on(
    server, folders, path, status, message
):
    before = fingerprint(server)
    response = server.post("/v1/weights", {"path": path})
    error = response.json()["error"]
    assert response.status_code == status, error
    assert message in error["message"] and "\n" not in error["message"]
    assert str(folders) not in error["message"]
    assert fingerprint(server) == before and server.post(TEXT, ASKED).status_code == 200
    assert not (folders.parent / "canary").exists()


def test_a_body_that_says_more_than_a_path_is_refused(server):
    for body in ({"path": 5}, {"path": "base", "force": True}, []):
        assert server.post("/v1/weights", body).status_code == 400


def test_without_the_key_no_weights_are_taken(server):
    response = httpx.post(f"{server.url}/v1/weights", json={"path": "other"})
    assert response.status_code == 401


@pytest.mark.parametrize(("key", "root"), [("", "there"), (KEY, "")])
def test_the_endpoint_is_off_without_a_key_or_a_root(server, folders, monkeypatch, key, root):
    monkeypatch.setattr(server.state, "api_key", key)
    monkeypatch.setattr(server.state.updater, "root", root)
    response = server.post("/v1/weights", {"path": "other"})
    assert response.status_code == 403
    assert "serve.api_key (or JAXREASON_API_KEY)" in response.json()["error"]["message"]


class Disk:
    """Reads of files that fail from the `first` on, `times` of them."""

    def __init__(self, first, times):
        self._read, self._fails = safetensors_reader.LocalFile.read, range(first, first + times)
        self.reads = 0

    def read(self, file, *args):
        self.reads += 1
        if self.reads in self._fails:
            raise OSError(5, "Input/output error")
        return self._read(file, *args)


def failing_after_the_check(server, monkeypatch, times):
    """The disk fails in the middle of loading, which follows the check of all bytes."""
    check = server.state.weights.check
    disk = Disk(10, times)

    def checked(folder):
        check(folder)
        monkeypatch.setattr(
            safetensors_reader.LocalFile, "read", lambda file, *args: disk.read(file, *args)
        )

    monkeypatch.setattr(server.state.weights, "check", checked)
    return disk


def test_a_read_that_fails_midway_brings_the_old_weights_back(server, monkeypatch):
    before = reply(server), fingerprint(server)
    disk = failing_after_the_check(server, monkeypatch, 1)
    response = server.post("/v1/weights", {"path": "other"})
    assert response.status_code == 400 and disk.reads > 10
    message = response.json()["error"]["message"]
    assert "other: reading failed" in message and "from before were read again" in message
    assert (reply(server), fingerprint(server)) == before


def test_weights_read_again_from_a_folder_that_has_others_by_now_are_called_so(
    server, folders, monkeypatch
):
    write(folders / "rewritten", noisy)
    change(server, "rewritten")
    before = fingerprint(server)
    shutil.rmtree(folders / "rewritten")
    write(folders / "rewritten", functools.partial(noisy, seed=2))
    failing_after_the_check(server, monkeypatch, 1)
    message = server.post("/v1/weights", {"path": "other"}).json()["error"]["message"]
    assert "was read again, and holds others by now" in message
    assert fingerprint(server) != before


def test_a_folder_that_cannot_be_looked_into_does_not_tell_where_it_is(
    server, folders, monkeypatch
):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)

    monkeypatch.setattr(os, "listdir", refuse)
    error = server.post("/v1/weights", {"path": "other"})
    assert error.status_code == 400 and str(folders) not in error.text
    assert "'other' cannot be looked into: Permission denied" in error.text


def test_a_client_that_goes_away_does_not_end_a_change(server):
    changing = server.state.updater.update("other")
    assert not changing.cancel()
    changing.result(60)
    assert server.state.weights._folder.name == "other"


def test_a_change_that_breaks_after_sighup_is_in_the_log(server, monkeypatch, caplog):
    def broken(folder):
        raise KeyError("lost")

    monkeypatch.setattr(server.state.weights, "check", broken)
    server.state.updater.reload().result()
    assert "SIGHUP: the change of weights failed" in caplog.text and "'lost'" in caplog.text


def test_when_the_old_weights_cannot_be_read_either_the_server_ends(folders, monkeypatch, capfd):
    ended = threading.Event()
    with served(make(folders)) as server:
        server.state.engine_thread.on_error = ended.set
        failing_after_the_check(server, monkeypatch, 10**6)
        response = server.post("/v1/weights", {"path": "other"})
        assert response.status_code == 500
        assert "and so did reading the weights from before" in response.json()["error"]["message"]
        assert ended.wait(60) and "could not be read" in str(server.state.engine_thread.error)
        assert server.post(TEXT, ASKED).status_code == 503
        assert httpx.get(f"{server.url}/health").status_code == 503
    capfd.readouterr()


def test_a_server_that_stops_drops_a_change_that_has_not_begun(folders, gate, monkeypatch):
    monkeypatch.setattr(Engine, "generate", lambda *args, **kw: gate.generate(*args, **kw))
    with served(make(folders)) as server, ThreadPoolExecutor(2) as pool:
        engine_thread = server.state.engine_thread
        with gate.shut():
            asked = pool.submit(server.post, TEXT, ASKED)
            wait_until(lambda: engine_thread.load()[0] == 1)
            changed = pool.submit(server.post, "/v1/weights", {"path": "other"})
            wait_until(lambda: len(engine_thread._waiting) == 1)
            stopping = threading.Thread(target=engine_thread.stop, kwargs={"cancel": False})
            stopping.start()
            assert changed.result().status_code == 503
        stopping.join()
        assert asked.result().status_code == 200


@pytest.fixture
def usual_hangup():
    """SIGHUP as a shell leaves it. Under nohup it is ignored, and a test could not see when the verb handles it."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


def test_sighup_reads_the_first_folder_again_and_says_so(folders, usual_hangup, tmp_path, caplog):
    """In this process: the handlers are those of the verb."""
    (tmp_path / "root").mkdir()
    first = write(tmp_path / "root" / "base")
    state, found = make(tmp_path / "root"), {}
    config = serve_config(api_key=KEY)

    def user():
        try:
            found["before"] = state.weights.fingerprint
            wait_until(lambda: signal.getsignal(signal.SIGHUP) not in (signal.SIG_DFL, None))
            os.kill(os.getpid(), signal.SIGHUP)
            wait_until(lambda: "read again" in caplog.text)
            write_cut_in_place(first)
            os.kill(os.getpid(), signal.SIGHUP)
            wait_until(lambda: "the weights stay as they are" in caplog.text)
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            state.engine_thread.on_error()  # ends the server, or a wait in vain would leave the test hanging

    first.rename(tmp_path / "old")
    write(first, noisy)
    with caplog.at_level("INFO", "jaxreason"), socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=user)
        thread.start()
        stage._serve(state, listener, config)
        thread.join()
    assert f"was {found['before']}" in caplog.text
    assert state.weights.fingerprint != found["before"]
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_DFL


def write_cut_in_place(folder):
    file = folder / "model.safetensors"
    data = file.read_bytes()
    file.unlink()  # what is mapped stays as it is
    file.write_bytes(data[:-100])


@pytest.mark.parametrize(
    "path", ["gs://other/a", "gs://bucket/models2", "../x", "a/../../x", "gs://bucket/models/../x"]
)
def test_in_a_bucket_too_nothing_outside_of_the_root_is_read(path):
    with pytest.raises(ApiError, match=r"is not inside serve\.weights_root"):
        resolve_inside("gs://bucket/models", path)
    assert str(resolve_inside("gs://bucket/models", "a/b")) == "gs://bucket/models/a/b"
    assert (
        str(resolve_inside("gs://bucket/models/", "gs://bucket/models/a")) == "gs://bucket/models/a"
    )
