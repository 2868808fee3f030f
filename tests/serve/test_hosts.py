"""A model that several processes serve together: process 0 listens, the others make the same dispatches."""

import re
import signal

import httpx
import jax
import pytest
from processes import run_processes, run_programs
from serving import KEY, LONG, make_state, model_config, serve_config, served, wait_until
from weight_folders import noisy, write

from jaxreason.serve import server as stage
from jaxreason.serve.multihost import ControlChannel
from jaxreason.sharding import MeshConfig, make_mesh
from jaxreason.verbs.answering import begin_loading_tokenizer

TEXT = "/v1/completions"
PROMPTS = ["<user>13+24=<assistant>", "<user>1+1=<assistant>", "1" * 90]
SCORED = {"prompt": PROMPTS[0], "max_tokens": 0, "echo": True, "logprobs": 1}


def serve_here(root, sizes):
    """What process 0's clients get; the other processes follow."""
    mesh = make_mesh(MeshConfig(**sizes), jax.devices()[:2])
    config, model = serve_config(api_key=KEY, weights_root=root, name="base"), model_config()
    with jax.set_mesh(mesh):
        if jax.process_index() > 0:
            loaded = stage.load(config, model, mesh, begin_loading_tokenizer(model))
            stage._follow(config, loaded)
            return loaded.weights.fingerprint
        with served(make_state(config, model, mesh)) as server:
            return ask(server)


def ask(server):
    """Replies with the first weights and the second ones; a client hangs up and a folder is refused on the way."""
    found = [texts(server)]
    body = {"prompt": PROMPTS[1], **LONG, "stream": True}
    with httpx.stream("POST", f"{server.url}{TEXT}", json=body, headers=server.headers) as stream:
        next(stream.iter_lines())
    wait_until(lambda: server.metrics()["running_sequences"] == 0)
    assert server.post("/v1/weights", {"path": "nowhere"}).status_code == 400
    assert server.post("/v1/weights", {"path": "other"}).status_code == 200
    return [*found, texts(server), server.state.weights.fingerprint]


def texts(server):
    body = {"prompt": PROMPTS, "n": 2, "temperature": 1.5, "seed": 5, "max_tokens": 12}
    replies = server.post(TEXT, body).json()
    scores = server.post(TEXT, SCORED).json()["choices"][0]["logprobs"]["token_logprobs"][1:]
    return {"texts": [choice["text"] for choice in replies["choices"]], "scores": scores}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("root")
    write(root / "other", noisy)
    return root


@pytest.fixture(scope="module")
def of_one_process(root):
    config = serve_config(api_key=KEY, weights_root=str(root), name="base")
    with served(make_state(config)) as server:
        return ask(server)


MESSAGES = [None, "end", {"request": "7" * 5000}, ["a", "b"]]


def hear(messages):
    """What this process hears, and when process 0 learns that process 1 has asked for the end."""
    heard, asked_at = [], []
    channel = ControlChannel(on_end_requested=lambda: asked_at.append(len(heard)))
    for index, message in enumerate(messages):
        if (jax.process_index(), index) == (1, 2):
            channel.request_end()
        heard.append(channel.broadcast(message if jax.process_index() == 0 else None))
    return heard, asked_at


def test_every_process_hears_process_0_and_process_0_that_another_asks_for_the_end():
    assert run_processes(hear, 2, MESSAGES) == [[MESSAGES, [2]], [MESSAGES, []]]


@pytest.mark.slow
@pytest.mark.parametrize("axis", ["tensor", "data"])
def test_two_processes_serve_what_one_does(root, of_one_process, axis):
    sizes = {"data": 1, "fsdp": 1, "tensor": 1, "context": 1} | {axis: 2}
    found, followed = run_processes(serve_here, 2, str(root), sizes)
    for replies, expected in zip(found[:2], of_one_process[:2], strict=True):
        assert replies["texts"] == expected["texts"]
        assert replies["scores"] == pytest.approx(expected["scores"], abs=1e-4)
    assert found[0] != found[1]
    assert found[2] == followed


ARGUMENTS = ["serve", "--config", "configs/study_tiny.py", "--config.serve.port=0"]
ARGUMENTS += ["--config.mesh.tensor=2", "--config.mesh.fsdp=1"]
# The engine of this process does something else in place of a dispatch, soon after the warm-up.
BREAKS = """
from jaxreason.sampling.engine import Engine
dispatch, calls = Engine._dispatch_decode, []
def breaking(engine, *args):
    calls.append(args)
    if len(calls) > 3:
        {ENDS}
    return dispatch(engine, *args)
Engine._dispatch_decode = breaking
"""


def asked(folder, then):
    """Sends a request as soon as the server listens; `then` is given the processes."""

    def act(processes):
        log = folder / "0.log"
        wait_until(lambda: re.search(r"is served at http://\S+/v1", log.read_text()))
        url = re.search(r"(http://\S+/v1)", log.read_text()).group(1)
        body = {"prompt": PROMPTS[0], **LONG, "stream": True}
        lines = []
        try:
            with httpx.stream("POST", f"{url}/completions", json=body, timeout=100) as stream:
                for line in stream.iter_lines():
                    if not lines:
                        then(processes)
                    lines.append(line)
        except httpx.TransportError:
            lines.append("cut off")
        (folder / "reply").write_text("\n".join(filter(None, lines)))

    return act


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broken", "how", "reason"),
    [
        (0, "raise RuntimeError('the device is gone')", "the device is gone"),
        (1, "raise RuntimeError('the device is gone')", "the device is gone"),
        (1, "import os; os._exit(9)", ""),
    ],
)
def test_an_engine_that_breaks_on_one_process_ends_all_with_the_reason(
    tmp_path, broken, how, reason
):
    before = {broken: BREAKS.replace("{ENDS}", how)}
    ask = asked(tmp_path, lambda _: None)
    ends = run_programs([ARGUMENTS] * 2, tmp_path, before, at_start=ask)
    assert all(end.code not in (0, -9) for end in ends), ends
    assert all(reason in end.output for end in ends)
    assert abs(ends[0].at - ends[1].at) < 90  # a process that is gone is noticed within a minute
    assert "data: [DONE]" not in (tmp_path / "reply").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_signal_to_any_process_lets_begun_replies_be_finished_and_ends_all(tmp_path, told):
    stop = asked(tmp_path, lambda processes: processes[told].send_signal(signal.SIGTERM))
    ends = run_programs([ARGUMENTS] * 2, tmp_path, at_start=stop)
    assert [end.code for end in ends] == [0, 0], ends
    lines = (tmp_path / "reply").read_text().splitlines()
    assert lines[-1] == "data: [DONE]" and len(lines) > 3
