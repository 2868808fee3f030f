"""The questions of a run, encoded, with the replies that their rows give; and what was left out, and why."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from etils import epath

from jaxreason.data.encoding import encode_prompts
from jaxreason.data.examples import Example, load_examples, prompt_messages
from jaxreason.data.rows import DatasetConfig, DropLog
from jaxreason.data.thoughts import CLOSE, has_thoughts, without_thoughts
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.results.files import write_json
from jaxreason.rl.prompts import Given, Prompt
from jaxreason.rl.rl_config import RLConfig
from jaxreason.runtime.distributed import on_process_zero

_LOG = logging.getLogger(__name__)
REPLIES = "replies"  # the column, and the metadata it is in
TEXTS = ("content", "reasoning_content")  # of a reply


@dataclass(frozen=True)
class Prompts:
    """The questions whose prompts leave room for a reply.

    Attributes:
      prompts: all of them.
      contents: of each dataset, by the recipe's name, their number and a hash.
      rows: what was kept and what was dropped, and why, by dataset.
      replies: of each dataset how many given replies are used (and of these, lost their thoughts by thinking=False),
        and how many are not, by why: docs/rl.md names the reasons; empty where replies are sampled alone.
    """

    prompts: list[Prompt]
    contents: dict[str, dict]
    rows: dict[str, dict]
    replies: dict[str, dict[str, int]]


def load_prompts(config: RLConfig, tokenizer: Tokenizer) -> Prompts:
    """The questions of the recipe's datasets, encoded.

    Raises:
      UserError: none is left.
    """
    drops, replies, of_dataset = DropLog(), {}, {}
    for name, dataset in config.datasets.items():
        counts = Counter()
        of_dataset[name] = _of_dataset(dataset, config, tokenizer, drops, counts)
        if config.samples.given:
            replies[name] = dict(counts)
            _LOG.info("%s: given replies: %s", name, _shown(counts))
    contents = {name: _contents(members) for name, members in of_dataset.items()}
    prompts = [prompt for members in of_dataset.values() for prompt in members]
    return Prompts(prompts, contents, drops.to_json(), replies)


def _shown(counts: Counter) -> str:
    return ", ".join(f"{count} {what}" for what, count in counts.items())


def _of_dataset(
    dataset: DatasetConfig,
    config: RLConfig,
    tokenizer: Tokenizer,
    drops: DropLog,
    counts: Counter,
) -> list[Prompt]:
    longest = config.sampler.max_length
    room = longest - (config.decoding.max_tokens if config.sampled else 1)
    examples = load_examples(dataset, drops)
    kept, encoded = encode_prompts(examples, tokenizer, config.thinking, room, drops)
    prompts = [Prompt(e, tuple(tokens)) for e, tokens in zip(kept, encoded, strict=True)]
    if not config.samples.given:
        return prompts
    found = [_with_replies(p, tokenizer, config.thinking, longest, counts) for p in prompts]
    for prompt in found:
        if not prompt.replies:
            where = prompt.example.metadata.get("where", prompt.example.id)
            drops.drop(dataset.label, where, "no given reply", f"none of {longest} tokens at most")
    drops.report(dataset.label)
    found = [prompt for prompt in found if prompt.replies]
    if not found:
        raise UserError(
            f"{dataset.label}: no question has a reply that can be used ({_shown(counts) or 'none is there'}). "
            f"rl.samples.given={config.samples.given} expects a column {REPLIES!r}, named in the dataset's metadata, "
            "or fields.response."
        )
    return found


def _with_replies(
    prompt: Prompt, tokenizer: Tokenizer, thinking: bool | None, longest: int, counts: Counter
) -> Prompt:
    """The prompt with the replies of its row that can be used; all are counted."""
    found = []
    for reply in _given(prompt.example):
        why = _why_unused(reply)
        if why:
            counts[why] += 1
            continue
        message = {"role": "assistant"} | {name: reply[name] for name in TEXTS if reply.get(name)}
        try:
            given = _encode(prompt, message, tokenizer, thinking)
        except UserError as error:
            _LOG.debug("%s: a given reply: %s", prompt.example.id, error)
            counts["not encodable"] += 1
            continue
        fits = len(prompt.tokens) + len(given.tokens) <= longest
        counts["used" if fits else "too long"] += 1
        counts.update(
            {"thoughts left out": 1} if fits and _cuts_thoughts(message, thinking) else {}
        )
        found += [given] if fits else []
    return replace(prompt, replies=tuple(found))


def _cuts_thoughts(message: dict[str, str], thinking: bool | None) -> bool:
    """Whether the reply has thoughts that are not learned."""
    return thinking is False and has_thoughts(message)


def _given(example: Example) -> Iterator[dict[str, Any]]:
    """The replies that the row gives, each with the fields that it has."""
    replies = example.metadata.get(REPLIES)
    if replies is None:
        last = example.messages[-1]
        yield from [last] if last["role"] == "assistant" else []
        return
    for reply in replies if isinstance(replies, list | tuple) else [replies]:
        yield reply if isinstance(reply, dict) else {"content": reply}


def _why_unused(reply: dict[str, Any]) -> str | None:
    """Why a reply must not be learned, whatever the model; None where it may be.

    Of a field that other replies have and this one lacks, some formats make a null: it says nothing.
    """
    if reply.get("finish_reason") not in (None, "stop"):
        return "cut off"  # it would be learned to stop there
    content, thoughts = (reply.get(name) for name in TEXTS)
    if not isinstance(content, str) or not isinstance(thoughts, str | None):
        return "not a text"
    if not content.rpartition(CLOSE)[2].strip():
        return "empty"  # it would be learned to say nothing
    return None


def _encode(
    prompt: Prompt, message: dict[str, str], tokenizer: Tokenizer, thinking: bool | None
) -> Given:
    if thinking is False:
        message = without_thoughts(message)
    conversation = (*prompt_messages(prompt.example), message)
    tokens, mask = tokenizer.encode_conversation(conversation, thinking)
    reply = np.asarray([t for t, learned in zip(tokens, mask, strict=True) if learned], np.int32)
    return Given(reply, tokenizer.decode(reply.tolist()))


def _contents(prompts: list[Prompt]) -> dict:
    """What a run is claimed by: all that a reply is asked by and graded by, but for where it was read from."""
    digest = hashlib.sha256()
    for prompt in prompts:
        example = prompt.example
        metadata = {name: x for name, x in example.metadata.items() if name != "where"}
        read: list[Any] = [example.id, example.task, example.answer, metadata, prompt.tokens]
        digest.update(json.dumps(read, sort_keys=True, default=str).encode())
        for reply in prompt.replies:
            digest.update(reply.tokens.tobytes())
    given = sum(len(prompt.replies) for prompt in prompts)
    counts = {"prompts": len(prompts), "sha256": digest.hexdigest()}
    return counts | ({"replies": given} if given else {})


def write_data(workdir: epath.Path, data: Prompts) -> None:
    """Writes `<workdir>/data.json`: what was kept of the datasets and what was dropped, and why."""
    longest = max(len(prompt.tokens) for prompt in data.prompts)
    counts = {"prompts": len(data.prompts), "longest_prompt": longest}
    _LOG.info("data: %d questions, the longest prompt has %d tokens", len(data.prompts), longest)
    value = counts | {"datasets": data.rows}
    if data.replies:
        value["given_replies"] = data.replies
    on_process_zero(lambda: write_json(workdir / "data.json", value))
