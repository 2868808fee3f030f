"""Examples to token ids; those that cannot be encoded or are too long are dropped and counted."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TypeVar

from jaxreason.data.examples import Example, prompt_messages
from jaxreason.data.rows import DropLog
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError

T = TypeVar("T")


def encode_examples(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    thinking: bool | None,
    max_length: int,
    drops: DropLog,
) -> tuple[list[Example], list[tuple[list[int], list[int]]]]:
    """The examples that fit into `max_length` tokens, and the tokens and loss mask of each.

    Raises:
      ValueError: when none is left; the message gives the first one's reason.
    """

    def encode(example: Example) -> tuple[list[int], list[int]]:
        return tokenizer.encode_conversation(example.messages, thinking)

    return _encode(examples, encode, lambda pair: len(pair[0]), max_length, drops)


def encode_prompts(
    examples: Sequence[Example],
    tokenizer: Tokenizer,
    thinking: bool | None,
    max_length: int,
    drops: DropLog,
) -> tuple[list[Example], list[list[int]]]:
    """The examples whose prompts fit into `max_length` tokens, and the tokens of each.

    A reply at the end of an example is left out.

    Raises:
      ValueError: when none is left; the message gives the first one's reason.
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
