"""A conversation with a model in the terminal, tokens shown as they come."""

import sys
from collections.abc import Callable
from dataclasses import dataclass

import jax
from etils import epath

from jaxreason.data.tokenizer import Tokenizer, load_tokenizer
from jaxreason.models.huggingface import ModelConfig, open_model, resolve
from jaxreason.sampling.decoding import Decoding
from jaxreason.sampling.engine import Engine, Request, SamplerConfig


@dataclass(frozen=True)
class ChatConfig:
    """How the model answers.

    Attributes:
      decoding: how tokens are chosen.
      sampler: sizes of the engine; `decode_block` is how many tokens are shown at a time.
      thinking: the chat template's thinking switch; None for templates without one.
      system: system message; "" for none.
      remember: whether earlier turns stay in the prompt.
    """

    decoding: Decoding
    sampler: SamplerConfig
    thinking: bool | None
    system: str
    remember: bool


def run_chat(
    config: ChatConfig, model_config: ModelConfig, mesh: jax.sharding.Mesh, seed: int
) -> None:
    """Reads questions from the terminal until its end (Ctrl-D), `/quit`, or `/clear` to forget what was said."""
    tokenizer = load_tokenizer(str(resolve(model_config.path)))
    model, params = open_model(model_config, mesh)
    engine = Engine(
        *(model, params, config.sampler, mesh),
        *(tokenizer.stop_ids, tokenizer.pad_id, tokenizer.decode, tokenizer.close_think),
    )
    del params  # the engine may have copies
    print(f"{epath.Path(model_config.path).name}: /clear forgets, /quit or Ctrl-D ends.")
    start = ({"role": "system", "content": config.system},) if config.system else ()
    messages, turn = start, 0
    while (question := _ask()) is not None:
        if question == "/clear":
            messages = start
        elif question:
            messages = (*messages, {"role": "user", "content": question})
            reply = _reply(engine, tokenizer, config, messages, seed + turn)
            messages = (
                (*messages, {"role": "assistant", "content": reply}) if config.remember else start
            )
            turn += 1


def _ask() -> str | None:
    try:
        question = input("> ").strip()
    except EOFError:
        return None
    return None if question == "/quit" else question


def _reply(
    engine: Engine, tokenizer: Tokenizer, config: ChatConfig, messages: tuple, seed: int
) -> str:
    prompt = tuple(tokenizer.encode_prompt(messages, config.thinking))
    show = _printer(tokenizer.decode)
    requests = [Request("chat", prompt, seed, 1)]
    (completion,) = engine.generate(
        requests, config.decoding, on_tokens=lambda reply: show(reply.tokens)
    )
    show(completion.tokens)
    note = "" if completion.finish_reason == "stop" else f" [{completion.finish_reason}]"
    print(note, flush=True)
    return tokenizer.decode(list(completion.tokens))


def _printer(decode: Callable[[list[int]], str]) -> Callable:
    """A function of the tokens so far that prints what is new; a character still in pieces waits."""
    shown = ""

    def show(tokens) -> None:
        nonlocal shown
        text = decode(list(tokens)).rstrip("\N{REPLACEMENT CHARACTER}")
        if text.startswith(shown):
            sys.stdout.write(text[len(shown) :])
            sys.stdout.flush()
            shown = text

    return show
