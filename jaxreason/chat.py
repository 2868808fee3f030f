"""A conversation with a model in the terminal; tokens are shown as they arrive."""

import contextlib
import dataclasses
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Annotated, Any

import jax
from etils import epath

from jaxreason.config import defaults, unclaimed
from jaxreason.data.thoughts import CLOSE, OPEN
from jaxreason.data.token_text import TokenDecoder
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.host_memory import no_collection
from jaxreason.models.huggingface import ModelConfig, resolve
from jaxreason.sampling.engine import Engine
from jaxreason.sampling.engine_config import SamplerConfig
from jaxreason.sampling.open_engine import open_engine
from jaxreason.sampling.sampling_params import Request, SamplingParams
from jaxreason.sampling.stopping import before_stop
from jaxreason.sharding import num_parts

HELP = (
    "/clear forgets what was said, /quit or Ctrl-D ends; Ctrl-C ends a reply. //text sends /text."
)


@unclaimed("nothing is kept")
@dataclass(frozen=True)
class ChatConfig:
    """The settings of a conversation."""

    decoding: Annotated[SamplingParams, defaults(temperature=0.7, top_p=0.95)]
    """How tokens are chosen."""
    sampler: Annotated[SamplerConfig, defaults(slots=1, decode_block=4, prefill_tokens=256)]
    """Sizes of the engine; `decode_block` tokens are shown at a time. `slots` and `prefill_tokens` are rounded up to
    what the devices can share.
    """
    thinking: bool | None = None
    """The chat template's thinking switch; None for templates without one."""
    system: str = ""
    """The system message; "" for none."""
    remember: bool = True
    """Whether earlier turns stay in the prompt."""


def run_chat(
    config: ChatConfig,
    model_config: ModelConfig,
    mesh: jax.sharding.Mesh,
    loading: Future[Tokenizer],
    seed: int,
) -> None:
    """Reads questions from the terminal until its end (Ctrl-D), `/quit`, or Ctrl-C at the prompt.

    If a question cannot be asked (a character that the tokenizer does not know, a text that is too long), a message
    says so and the session continues. Ctrl-C during a reply ends only that reply.

    Raises:
      UserError: there are several processes, of which each would read its own input.
    """
    if jax.process_count() > 1:
        raise UserError(
            f"chat reads one terminal: expected one process, got {jax.process_count()}. `jaxreason serve` "
            "answers with a model on several hosts."
        )
    for stream in (sys.stdin, sys.stdout):  # A terminal may have fewer characters than the model.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    path = resolve(model_config.path)
    print(f"{path}: loading and compiling ...", flush=True)
    with no_collection():
        sampler = _shared(config.sampler, num_parts(mesh, "act_batch"))
        engine, _ = open_engine(model_config, mesh, sampler, loading)
    print(f"{epath.Path(path).name}: {HELP}", flush=True)
    _converse(Session(config, loading.result(), engine, seed))


def _shared(sampler: SamplerConfig, parts: int) -> SamplerConfig:
    """Returns sizes that the parts of a mesh can share: a conversation needs one slot, but every part has as many."""
    block = parts * sampler.prefill_block
    return dataclasses.replace(
        sampler,
        slots=-(-sampler.slots // parts) * parts,
        prefill_tokens=-(-sampler.prefill_tokens // block) * block,
    )


def _converse(session: "Session") -> None:
    while (question := _ask()) is not None:
        command = question.startswith("/") and not question.startswith("//")
        if question == "/clear":
            session.clear()
        elif command:
            known = question in ("/help", "/?")
            print(HELP if known else f"no such command: {question.split()[0][:40]}. {HELP}")
        elif question:
            session.answer(question.removeprefix("/"))


def _ask() -> str | None:
    try:
        question = input("> ").strip()
    except (EOFError, KeyboardInterrupt):
        print()
        return None
    return None if question == "/quit" else question


class Session:
    """The messages so far, and the model that answers.

    Args:
      config: settings of the conversation.
      tokenizer: the model's tokenizer.
      engine: the engine, with its programs compiled.
      seed: seed of the first reply.
    """

    def __init__(self, config: ChatConfig, tokenizer: Tokenizer, engine: Engine, seed: int):
        self._config, self._tokenizer, self._engine = config, tokenizer, engine
        self._start = ({"role": "system", "content": config.system},) if config.system else ()
        self._messages, self._seed = self._start, seed

    def clear(self) -> None:
        """Forgets all messages."""
        self._messages = self._start

    def answer(self, question: str) -> None:
        """Prints the reply. If there is none, a message says why, and the question is forgotten."""
        messages = (*self._messages, {"role": "user", "content": question})
        try:
            prompt = self._tokenizer.encode_prompt(messages, self._config.thinking)
        except UserError as error:
            print(f"[{error}]", flush=True)
            return
        tokens = self._reply(tuple(prompt))
        self._seed += 1
        if tokens and self._config.remember:
            said = before_stop(tokens, self._config.decoding.stop, self._tokenizer.decode)
            opened = self._tokenizer.opens_thought(prompt)
            self._messages = (*messages, _message(f"{OPEN}{said}" if opened else said))

    def _reply(self, prompt: tuple[int, ...]) -> list[int]:
        """Returns the tokens of the reply as far as it went; none if it failed."""
        show = _printer(self._tokenizer.decode)
        with _interrupted() as interrupted:
            (completion,) = self._engine.generate(
                [Request("chat", prompt, self._seed, 1)],
                self._config.decoding,
                on_tokens=lambda reply: show(reply.tokens),
                cancelled=lambda _: interrupted.is_set(),
            )
        show(completion.tokens, final=True)
        reason = completion.finish_reason
        print("" if reason == "stop" else f" [{reason}]", flush=True)
        return [] if reason.startswith("error") else list(completion.tokens)


def _message(reply: str) -> dict[str, str]:
    """Returns the reply as a message. A thought at its beginning is a separate field, so
    templates need not search for it.
    """
    thought, closed, said = reply.partition(CLOSE)
    if not closed and not reply.lstrip().startswith(OPEN):
        return {"role": "assistant", "content": reply}
    thought = thought.strip().removeprefix(OPEN).strip()
    message = {"role": "assistant", "content": said.strip()}
    return message | {"reasoning_content": thought} if thought else message


@contextlib.contextmanager
def _interrupted() -> Iterator[threading.Event]:
    """Yields an event that Ctrl-C sets; a second Ctrl-C interrupts at once."""
    event = threading.Event()

    def note(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    before = signal.signal(signal.SIGINT, note)
    try:
        yield event
    finally:
        signal.signal(signal.SIGINT, before)


def _printer(decode: TokenDecoder) -> Callable:
    """Returns a function of the tokens so far that prints the new text; what later tokens may change waits."""
    shown = ""

    def show(tokens: Sequence[int], final: bool = False) -> None:
        nonlocal shown
        text = decode(tokens).rstrip("\N{REPLACEMENT CHARACTER}")
        if text.startswith(shown) and (final or not decode.is_fragile(tokens, text)):
            sys.stdout.write(text[len(shown) :])
            sys.stdout.flush()
            shown = text

    return show
