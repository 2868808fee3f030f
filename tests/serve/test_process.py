"""The verb in a process of its own: started, asked, told to end."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import openai
import pytest

ROOT = Path(__file__).parent.parent.parent
# The program with an engine that takes its time, so that replies are still being written when the signal comes.
SLOW = """
import time
from jaxreason.sampling.engine import Engine
generate = Engine.generate
def slowly(engine, requests, decoding, on_tokens=None, cancelled=None):
    def show(partial):
        on_tokens(partial)
        time.sleep(0.02)
    return generate(engine, requests, decoding, on_tokens and show, cancelled)
Engine.generate = slowly
from jaxreason.__main__ import main
main()
"""
PROMPT = "<user>13+24=<assistant>"
LONG = {"temperature": 5.0, "seed": 2, "max_tokens": 50}


def start(*overrides):
    arguments = ["serve", "--config", "configs/study_tiny.py", "--config.serve.port=0"]
    arguments += ["--config.serve.sampler.decode_block=1", *overrides]
    return subprocess.Popen(
        [sys.executable, "-c", SLOW, *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT), "XLA_FLAGS": ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def client_of(process):
    line = process.stdout.readline()
    url = re.fullmatch(r"tiny_base is served at (http://127\.0\.0\.1:\d+/v1)\n", line).group(1)
    return openai.OpenAI(base_url=url, api_key="none", max_retries=0)


def stream(client):
    return client.completions.create(model="tiny_base", prompt=PROMPT, **LONG, stream=True)


def text_of(chunks):
    return "".join(chunk.choices[0].text for chunk in chunks)


@pytest.mark.slow
def test_sigterm_ends_the_server_when_the_replies_that_have_begun_are_written():
    process = start()
    try:
        client = client_of(process)
        whole = text_of(stream(client))
        running = [stream(client), stream(client)]
        begun = [[next(iter(one))] for one in running]
        process.send_signal(signal.SIGTERM)
        texts = [text_of([*first, *rest]) for first, rest in zip(begun, running, strict=True)]
        assert texts == [whole, whole] and len(whole) > 30
        assert process.wait(60) == 0
        with pytest.raises(openai.APIConnectionError):
            stream(client)
    finally:
        process.kill()
        output = process.communicate()
    assert "Traceback" not in output[1]


@pytest.mark.slow
def test_sigterm_does_not_wait_longer_than_it_is_told_to():
    process = start("--config.serve.drain_s=0.0")
    try:
        running = iter(stream(client_of(process)))
        next(running)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.communicate()


def test_without_the_web_framework_the_verb_names_the_extra(tmp_path):
    (tmp_path / "fastapi.py").write_text("raise ModuleNotFoundError('gone', name='fastapi')")
    code = "from jaxreason.__main__ import main; main()"
    result = subprocess.run(
        [sys.executable, "-c", code, "serve", "--config", "configs/study_tiny.py"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": f"{tmp_path}:{ROOT}", "XLA_FLAGS": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 2 and "Traceback" not in result.stderr
    assert "fastapi is not installed: pip install 'jaxreason[serve]'" in result.stderr
