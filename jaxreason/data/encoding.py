"""Converts examples to token ids; those that cannot be encoded or are too long are dropped and counted."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from jaxreason.data.examples import Example, prompt_messages
from jaxreason.data.rows import DropLog
from jaxreason.data.thoughts import has_thoughts, without_thoughts
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError

T = TypeVar("T")


def check_vocabulary(subject: str, tokenizer: Tokenizer, vocab_size: int) -> None:
    """Refuses a tokenizer with ids that the model has no embedding for: the last one would be taken in their place.

    Raises:
      UserError: begins with `subject`.
    """
    if tokenizer.vocab_size > vocab_size:
        raise UserError(
            f"{subject} has ids up to {tokenizer.vocab_size - 1}, but the model's vocab_size is {vocab_size}; give "
            "the tokenizer that belongs to the model."
        )


def encode_examples(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    thinking: bool | None,
    max_length: int,
    drops: DropLog,
    overlong: str = "drop",
) -> tuple[list[Example], list[tuple[list[int], list[int]]]]:
    """Returns the examples that fit into `max_length` tokens, and the tokens and loss mask of each.

    `drops` counts the examples that are left out, and among the kept ones `cut to length` and `thoughts left out` (by
    thinking=False).

    Args:
      examples: conversations that end with a reply.
      tokenizer: of the model.
      thinking: the chat template's switch.
      max_length: tokens.
      drops: where to count.
      overlong: how to treat longer ones: "drop", or "cut" to `shared_lengths`.

    Raises:
      ValueError: none is left; the message has the first one's reason.
    """

    def encode(example: Example) -> tuple[list[int], list[int]]:
        messages = example.messages
        if thinking is False:
            messages = tuple(map(_as_said, messages))
        tokens, mask = tokenizer.encode_conversation(messages, thinking)
        if overlong == "cut" and len(tokens) > max_length:
            drops.change(example.source, "cut to length")
            return _cut(tokens, mask, max_length)
        return tokens, mask

    kept, encoded = _encode(examples, encode, lambda pair: len(pair[0]), max_length, drops)
    for example in kept if thinking is False else ():
        if has_thoughts(example.messages[-1]):
            drops.change(example.source, "thoughts left out")
    return kept, encoded


def _as_said(message: dict[str, str]) -> dict[str, str]:
    """Returns a message without thoughts, as the model reads its earlier replies if it writes none."""
    return without_thoughts(message) if message["role"] == "assistant" else message


def shared_lengths(prompt: int, reply: int, limit: int) -> tuple[int, int]:
    """Returns how many tokens of a prompt and of its reply are kept if both together have more than `limit`.

    A reply of less than half the limit stays whole, and so does a prompt of less than half of it. If both are longer,
    they share the limit in proportion to their lengths. The rule is that of LLaMA-Factory's `cutoff_len`.
    """
    if 2 * reply < limit:
        most = limit
    elif 2 * prompt < limit:
        most = limit - prompt
    else:
        most = limit * reply // (prompt + reply)
    reply = min(most, reply)
    return min(limit - reply, prompt), reply


def _cut(tokens: list[int], mask: list[int], limit: int) -> tuple[list[int], list[int]]:
    """Returns the beginnings of the prompt and of the reply."""
    start = len(mask) - sum(mask)
    prompt, reply = shared_lengths(start, sum(mask), limit)
    places = [*range(prompt), *range(start, start + reply)]
    return [tokens[i] for i in places], [mask[i] for i in places]


def encode_prompts(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    thinking: bool | None,
    max_length: int,
    drops: DropLog,
) -> tuple[list[Example], list[list[int]]]:
    """Returns the examples whose prompts fit into `max_length` tokens, and the tokens of each.

    A reply at the end of an example is left out.

    Raises:
      ValueError: none is left; the message has the first one's reason.
    """

    def encode(example: Example) -> list[int]:
        return tokenizer.encode_prompt(prompt_messages(example), thinking)

    return _encode(examples, encode, len, max_length, drops)


def _encode(
    examples: Sequence[Example],
    encode: Callable[[Example], T],
    length: Callable[[T], int],
    max_length: int,
    drops: DropLog,
) -> tuple[list[Example], list[T]]:
    for source, count in Counter(example.source for example in examples).items():
        drops.raise_to(source, count)
    kept, encoded = [], []
    for example in examples:
        where = example.metadata.get("where", example.id)
        try:
            item = encode(example)
        except ValueError as error:
            drops.drop(example.source, where, "not encodable", str(error))
            continue
        if length(item) > max_length:
            detail = f"{length(item)} tokens, at most {max_length}"
            drops.drop(example.source, where, "too long", detail)
            continue
        kept.append(example)
        encoded.append(item)
    _report(examples, kept, drops)
    return kept, encoded


def _report(examples: Sequence[Example], kept: list[Example], drops: DropLog) -> None:
    sources = dict.fromkeys(example.source for example in examples)
    for source in sources:
        drops.report(source)
    if not kept:
        lost = "; ".join(f"{source}: {drops.summary(source)}" for source in sources)
        raise UserError(f"no example is left to encode. {lost}")
