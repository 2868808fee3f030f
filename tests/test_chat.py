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
from sentence_pieces import TEMPLATE, write_pieces

from jaxreason.chat import ChatConfig, Session, run_chat
from jaxreason.cli import main
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.sampling_params import Completion, SamplingParams

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


class Written:
    """An engine that writes given tokens, one at a time, and remembers the prompts."""

    def __init__(self, *replies):
        self.replies, self.prompts = list(replies), []

    def generate(self, requests, decoding, on_tokens, cancelled):
        self.prompts.append(requests[0].tokens)
        tokens, reason = self.replies.pop(0)
        for end in range(1, len(tokens)):
            on_tokens(Completion("chat", 0, tokens[:end], (), ""))
        yield Completion("chat", 0, tokens, (), reason)


@pytest.fixture(scope="module")
def pieces(tmp_path_factory):
    return load_tokenizer(write_pieces(tmp_path_factory.mktemp("pieces"), "first"))


@pytest.fixture(scope="module")
def opening(tmp_path_factory):
    """As DeepSeek-R1's: its prompt opens a thought, and of an earlier reply it shows what follows the thought."""
    folder = write_pieces(tmp_path_factory.mktemp("opening"), "first")
    shown = TEMPLATE.replace("m.content + eos", "m.content.split('</think>')[-1] + eos")
    shown += "{% if add_generation_prompt %}{{ '<think>\n' }}{% endif %}"
    (folder / "chat_template.jinja").write_text(shown)
    return load_tokenizer(folder)


def asked(tokenizer, engine, *questions, **decoding):
    session = Session(
        ChatConfig(SamplingParams(0.0, max_tokens=20, **decoding), SamplerConfig(1, 64)),
        tokenizer,
        engine,
        0,
    )
    for question in questions:
        session.answer(question)


def test_a_thought_that_the_template_opened_and_the_limit_cut_is_not_what_was_said(opening):
    cut = tuple(opening.encode_part("Perhaps it is 5"))
    ended = tuple(opening.encode_part("Perhaps</think>It is 5</s>"))
    engine = Written((cut, "length"), (ended, "stop"), (ended, "stop"))
    asked(opening, engine, "2+3", "2+4", "2+5")
    told = opening.show(engine.prompts[-1]).replace(" ", "")
    assert told == "<s>[INST]2+3[/INST]</s>[INST]2+4[/INST]Itis5</s>[INST]2+5[/INST]<think>\n"


def test_a_stop_string_is_no_part_of_what_was_said(pieces):
    reply = tuple(pieces.encode_part("It is 5:"))
    engine = Written((reply, "stop"), (reply, "stop"))
    asked(pieces, engine, "2+3", "2+4", stop=(":",))
    assert "5</s>" in pieces.show(engine.prompts[-1]).replace(" ", "")


def test_bytes_that_break_a_character_do_not_hide_the_rest_of_a_reply(pieces, capsys):
    known = pieces._hf.get_vocab()
    tokens = [*(known[f"<0x{byte:02X}>"] for byte in "😀".encode()), known["<0xFF>"], known["a"]]
    asked(pieces, Written((tuple(tokens), "stop")), "2+3")
    assert capsys.readouterr().out == "\N{REPLACEMENT CHARACTER}" * 5 + "a\n"


def test_a_chat_of_several_processes_is_refused(monkeypatch):
    monkeypatch.setattr(jax, "process_count", lambda: 2)
    with pytest.raises(UserError, match=r"expected one process, got 2.*jaxreason serve"):
        run_chat(None, None, None, None, 0)
