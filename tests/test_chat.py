"""The verb `chat`, as a person types: in a process of its own, and on several devices."""

import contextlib
import os
import pty
import select
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from jaxreason.chat import run_chat
from jaxreason.cli import main
from jaxreason.errors import UserError

ROOT = Path(__file__).parent.parent
# The program with an engine that takes its time, so that Ctrl-C comes within a reply.
SLOW = """
import time
from jaxreason.sampling.engine import Engine
generate = Engine.generate
def slowly(engine, requests, decoding, on_tokens=None, **options):
    def show(partial):
        on_tokens(partial)
        time.sleep(0.3)
    return generate(engine, requests, decoding, on_tokens and show, **options)
Engine.generate = slowly
from jaxreason.__main__ import main
main()
"""
ARGUMENTS = (
    *("chat", "--config", "configs/study_tiny.py", "--config.chat.sampler.decode_block=1"),
    *("--config.chat.decoding.temperature=5.0", "--config.chat.decoding.max_tokens=40"),
)


class Terminal:
    def __init__(self):
        self.mine, theirs = pty.openpty()
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "XLA_FLAGS": "",
            "PYTHONIOENCODING": "ascii",
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", SLOW, *ARGUMENTS],
            **{"stdin": theirs, "stdout": theirs, "stderr": theirs, "cwd": ROOT},
            env=environment,
            start_new_session=True,
        )
        os.close(theirs)
        self.text = ""

    def wait_for(self, mark):
        """What has come up to the mark, which is taken away."""
        while mark not in self.text:
            ready, _, _ = select.select([self.mine], [], [], 120)
            assert ready, f"waited in vain for {mark!r}: {self.text}"
            self.text += os.read(self.mine, 4096).decode(errors="replace")
        before, _, self.text = self.text.partition(mark)
        return before

    def type(self, line):
        os.write(self.mine, f"{line}\n".encode())

    def ctrl_c(self):
        self.process.send_signal(signal.SIGINT)

    def ctrl_c_until_it_ends(self):
        """The exit code. A signal between Python's writing of a prompt and its reading waits for the next one."""
        for _ in range(5):
            self.ctrl_c()
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=40)
        raise AssertionError("the session did not end")


@pytest.fixture
def terminal():
    # As a shell starts programs in the foreground. In the background it has them ignore Ctrl-C, and tests with them.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    opened = Terminal()
    signal.signal(signal.SIGINT, before)
    yield opened
    opened.process.kill()
    opened.process.wait()


@pytest.mark.slow
def test_a_session_survives_what_is_typed_and_ends_quietly(terminal):
    loading = terminal.wait_for("\n> ")
    assert "loading and compiling" in loading and "/clear forgets" in loading
    terminal.type("/help")
    assert "/clear forgets" in terminal.wait_for("\n> ")
    terminal.type("/what is this")
    assert "no such command: /what" in terminal.wait_for("\n> ")
    terminal.type("ж")
    assert "cannot encode" in terminal.wait_for("\n> ")
    terminal.type("13+24=")
    terminal.wait_for("13+24=\r\n")
    assert select.select([terminal.mine], [], [], 60)[0]  # the reply has begun
    terminal.ctrl_c()
    assert "[cancelled]" in terminal.wait_for("\n> ")
    terminal.type("1+1=")
    assert "Traceback" not in terminal.wait_for("\n> ")
    assert terminal.ctrl_c_until_it_ends() == 0


def typed(monkeypatch, *lines):
    """Each line is typed at a prompt of the chat, and then the input ends."""
    left = list(lines)

    def read(prompt):
        print(prompt, end="")
        if not left:
            raise EOFError
        return left.pop(0)

    monkeypatch.setattr("builtins.input", read)


@pytest.mark.parametrize("prefill", ["256", "40"])
def test_a_conversation_of_one_slot_runs_on_eight_devices(monkeypatch, capsys, prefill):
    typed(monkeypatch, "13+24=")
    words = [
        "--config.chat.decoding.temperature=0.0",
        f"--config.chat.sampler.prefill_tokens={prefill}",
    ]
    main(["jaxreason", "chat", "--config", "configs/study_tiny.py", *words])
    out = capsys.readouterr().out
    assert out.split("\n> ")[1].strip() == "#5"  # as on one device


def test_a_chat_of_several_processes_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"expected one process, got 2.*jaxreason serve"):
        run_chat(None, None, None, None, 0)
