"""Replies that come with a question: which of them are learned, as which tokens, and why others are not."""

import logging
from collections import Counter
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Int

from jaxreason.data.examples import Example, prompt_messages
from jaxreason.data.given_messages import role_of, says_more, thought_fields, thoughts_of
from jaxreason.data.rows import RowError, is_missing
from jaxreason.data.thoughts import CLOSE, has_thoughts, without_thoughts
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError

_LOG = logging.getLogger(__name__)

REPLIES = "replies"  # The column, and its name in the metadata.


class GivenReply(NamedTuple):
    """A reply that comes with a question: its tokens, including the end of the turn, and their text."""

    tokens: Int[np.ndarray, " T"]
    text: str


class _UnusedError(Exception):
    """A reply that must not be learned; the text is one of the reasons in docs/rl.md."""


def given_replies(
    example: Example,
    prompt_length: int,
    tokenizer: Tokenizer,
    thinking: bool | None,
    longest: int,
    counts: Counter,
) -> tuple[GivenReply, ...]:
    """Returns the replies of a question's row that can be used; counts all of them.

    Args:
      example: the question.
      prompt_length: tokens of its prompt.
      tokenizer: of the model.
      thinking: the chat template's switch.
      longest: tokens of prompt and reply together.
      counts: replies by use; docs/rl.md lists the reasons.
    """
    found = []
    for reply in _of_row(example):
        try:
            message = _message(reply)
            given = _encode(example, message, tokenizer, thinking)
            if prompt_length + len(given.tokens) > longest:
                raise _UnusedError("too long")
        except _UnusedError as why:
            counts[str(why)] += 1
            continue
        counts["used"] += 1
        if thinking is False and has_thoughts(message):
            counts["thoughts left out"] += 1
        found.append(given)
    return tuple(found)


def _of_row(example: Example) -> Iterator[dict[str, Any]]:
    """Yields the replies of the row, each with the fields that it has."""
    replies = example.metadata.get(REPLIES)
    if is_missing(replies):
        last = example.messages[-1]
        yield from [last] if last["role"] == "assistant" else []
        return
    for reply in replies if isinstance(replies, list | tuple) else [replies]:
        yield reply if isinstance(reply, dict) else {"content": reply}


def _message(reply: dict[str, Any]) -> dict[str, str]:
    """Returns the reply as a message.

    Some formats write null for a field that only other replies have; such a field is ignored.

    Raises:
      _UnusedError: it must not be learned by any model.
    """
    reason = reply.get("finish_reason")
    if not is_missing(reason) and reason != "stop":
        raise _UnusedError("cut off")  # The model would learn to stop there.
    content = reply.get("value") if is_missing(reply.get("content")) else reply["content"]
    if not all(isinstance(text, str) for text in (content, *thought_fields(reply).values())):
        raise _UnusedError("not a text")
    try:
        if role_of(reply) not in (None, "assistant") or says_more(reply):
            raise _UnusedError("not usable")
        thoughts = thoughts_of(reply, "assistant")
    except RowError as error:
        raise _UnusedError("not usable") from error
    if not content.rpartition(CLOSE)[2].strip():
        raise _UnusedError("empty")  # The model would learn to say nothing.
    message = {"role": "assistant", "content": content}
    return message | ({"reasoning_content": thoughts} if thoughts else {})


def _encode(
    example: Example, message: dict[str, str], tokenizer: Tokenizer, thinking: bool | None
) -> GivenReply:
    try:
        said = without_thoughts(message) if thinking is False else message
        conversation = (*prompt_messages(example), said)
        tokens, mask = tokenizer.encode_conversation(conversation, thinking)
    except UserError as error:
        _LOG.debug("%s: a given reply: %s", example.id, error)
        raise _UnusedError("not encodable") from error
    reply = np.asarray([t for t, learned in zip(tokens, mask, strict=True) if learned], np.int32)
    return GivenReply(reply, tokenizer.decode(reply.tolist()))
