"""A checkpoint's tokenizer: stop ids and chat template from one place; conversations to tokens.

The loss mask covers the last assistant message: the tokens after the generation prompt with the same `enable_thinking`,
up to and including the token that ends the turn. Earlier replies are context; `examples.each_reply` makes a
conversation of each reply if all of them are to be learned.
"""

import copy
import functools
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import tokenizers
from etils import epath

from jaxreason.data.chat_template import BREAK, ChatTemplate, Messages
from jaxreason.data.reply_checks import check_history, check_reply, cuts_reply
from jaxreason.data.text_parts import TextParts
from jaxreason.data.thoughts import CLOSE, OPEN, check_thoughts
from jaxreason.data.token_text import TokenBytes, TokenDecoder
from jaxreason.data.tokenizer_files import (
    check_files,
    declared_stop_ids,
    digest_files,
    local_folder,
)
from jaxreason.data.tokenizer_library import tokenizer_library
from jaxreason.errors import UserError

_LOG = logging.getLogger(__name__)
# Folders and their ordinary stop tokens, of which a warning has been given.
_WARNED: set[tuple[str, int]] = set()


def load_tokenizer(path: epath.PathLike) -> "Tokenizer":
    """Returns the tokenizer of a model folder (local or on a bucket) or of a name on the Hugging Face Hub.

    Nothing of the folder is run except its chat template, which runs in a process of its own. The two tokenizers that
    were loaded last are kept, and models with the same one share it, as the twins of a study do.

    Raises:
      UserError: the folder or the hub cannot be reached, contains no tokenizer or one that needs a program of its own,
        names no end-of-sequence token anywhere, or its chat template fails.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = local_folder(str(path), epath.Path(scratch))
        check_files(folder, str(path))
        return _load(_Files(digest_files(folder, str(path)), folder, str(path))).called(str(path))


@dataclass(frozen=True)
class _Files:
    """The files of a tokenizer, which are the same as others with their digest."""

    digest: str
    folder: epath.Path = field(compare=False)
    name: str = field(compare=False)


@functools.lru_cache(maxsize=2)  # Qwen3's takes a second and 100 MB.
def _load(files: _Files) -> "Tokenizer":
    folder, name = files.folder, files.name
    library = tokenizer_library().AutoTokenizer
    try:
        loaded = library.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # The library may raise any error for a damaged file.
        raise UserError(f"{name}: transformers cannot load the tokenizer: {error}") from error
    return Tokenizer(loaded, name, declared_stop_ids(folder, name), files.digest)


class Tokenizer:
    """Converts text and conversations to token ids and back.

    Attributes:
      name: as it was requested; used in messages.
      digest: a hash of its files.
      decode: ids to their text, without special tokens.
      vocab_size: one more than the largest id (a model's embedding may be padded beyond it).
      pad_id: the padding id; if the tokenizer has none, a stop id, that of a turn's end only if there is no other one
        that is an added token. Padding is always masked.
      named_pad_id: the padding id that the tokenizer itself names, or None.
      pad_token: id and text of it; None if it ends a turn and the tokenizer does not name it.
      bos_id, eos_id: the ids that the tokenizer itself names, or None.
      begin: the tokens that the tokenizer puts before a text (BOS), usually none.
      close_think: the token `</think>` and an empty line after it; () if that is not one token.
      open_think: the token `<think>`; None if that is not one token.
      stop_ids: every id that ends a reply: the end-of-sequence ids of the tokenizer, of config.json and of
        generation_config.json (which disagree in Qwen3's base models), and the token with which the chat template ends
        an assistant turn.
      stop_tokens: the text of each of them by id, the one that ends an assistant turn first.
    """

    def __init__(self, loaded: Any, name: str, declared_stop_ids: set[int], digest: str):
        self._hf, self.name, self.digest = loaded, name, digest
        # Rows have their own limit; this avoids a warning about the tokenizer's.
        loaded.model_max_length = int(1e30)
        self.decode, self._bytes = TokenDecoder(loaded), TokenBytes(loaded)
        self._template = ChatTemplate(loaded, name)
        turn_end = self._turn_end()
        stop = declared_stop_ids | {loaded.eos_token_id, turn_end}
        self.stop_ids: tuple[int, ...] = tuple(sorted(stop - {None}))
        first = [i for i in (turn_end, loaded.eos_token_id) if i is not None]
        self.stop_tokens: dict[int, str] = {
            i: loaded.convert_ids_to_tokens(i) for i in dict.fromkeys([*first, *self.stop_ids])
        }
        if not self.stop_ids:
            raise UserError(f"{name}: no end-of-sequence token in the tokenizer or configs.")
        self.bos_id: int | None = loaded.bos_token_id
        self.eos_id: int | None = loaded.eos_token_id
        self.begin: tuple[int, ...] = self._begin()
        self._parts = TextParts(self.encode_part, self.show, self.token_bytes, self.begin)
        close = self._single(CLOSE)
        self.close_think: tuple[int, ...] = close and (
            *close,
            *self.encode_after(close, "\n\n")[1],
        )
        self.open_think: int | None = next(iter(self._single(OPEN)), None)
        known = loaded.added_tokens_decoder
        self._stop_texts = [known[i].content for i in self.stop_ids if i in known]
        self._ordinary_stops = {i for i in self.stop_ids if i not in known}
        self.vocab_size: int = max(loaded.get_vocab().values()) + 1
        self.named_pad_id: int | None = loaded.pad_token_id
        self.pad_id, self.pad_token = self._pad()

    def called(self, name: str) -> "Tokenizer":
        """Returns this tokenizer under another name. Both share what was loaded."""
        other = copy.copy(self)
        other.name, other._template = name, self._template.called(name)
        other._parts = TextParts(other.encode_part, other.show, other.token_bytes, other.begin)
        other._warn_of_ordinary_stops()
        return other

    def _pad(self) -> tuple[int, tuple[int, str] | None]:
        named, stops = self._hf.pad_token_id, list(self.stop_tokens)
        # A text has ordinary tokens, and transformers leaves padding out of a text.
        others = [stop for stop in stops[1:] if stop not in self._ordinary_stops]
        pad = [*others, *stops][0] if named is None else named
        own = named is not None or pad != stops[0]
        return pad, (pad, self._hf.convert_ids_to_tokens(pad)) if own else None

    def _single(self, text: str) -> tuple[int, ...]:
        """Returns the token that is this text, or nothing."""
        token = self._hf.get_vocab().get(text)
        return () if token is None else (token,)

    def _begin(self) -> tuple[int, ...]:
        bos = self.bos_id
        return (bos,) if bos is not None and self._hf.encode("")[:1] == [bos] else ()

    def encode(self, text: str) -> list[int]:
        """Returns token ids of a whole text, after the token that the tokenizer puts before a text, if it does.

        Special tokens written in it are special.

        Raises:
          UserError: for a character outside the vocabulary, if there is no unknown token.
        """
        ids = self.encode_part(text)
        return ids if tuple(ids[:1]) == self.begin else [*self.begin, *ids]

    def encode_part(self, text: str) -> list[int]:
        """Encodes without the special tokens that the tokenizer puts around a text.

        Llama 2's and similar tokenizers still put a space before it. See `encode_after`.
        """
        return self._ids(self._hf, text)

    def encode_after(self, context: Sequence[int], text: str) -> tuple[list[int], list[int]]:
        """Encodes a text that continues another one; returns the tokens before it, and its own.

        If the tokenizer puts a space before a text, the tokens are those of the whole, and white space at the end of
        the context moves to the text (as in lm-evaluation-harness). Other tokenizers encode the text by itself.
        """
        return self._parts.after(context, text)

    @property
    def adds_space(self) -> bool:
        """Whether the tokenizer puts a space before a text (Llama 2, Mistral)."""
        return self._parts.adds_space

    def encode_framed(self, text: str) -> list[int]:
        """Encodes with everything that the tokenizer's settings add before and after a text, even a second BOS.

        Raises:
          UserError: for a character outside the vocabulary, if there is no unknown token.
        """
        return self._ids(self._hf, text, framed=True)

    def _ids(self, tokenizer: Any, text: str, framed: bool = False) -> list[int]:
        try:
            return list(tokenizer.encode(text, add_special_tokens=framed))
        except Exception as error:
            # The Rust library raises bare Exceptions; unknown characters are the usual cause.
            known = self._hf.get_vocab()
            unknown = "".join(c for c in dict.fromkeys(text.replace(BREAK, "")) if c not in known)
            raise UserError(
                f"{self.name}: cannot encode {text[:80]!r}: {error}; "
                f"characters that are no tokens: {unknown[:40]!r}."
            ) from error

    def show(self, ids: Sequence[int]) -> str:
        """Returns the ids' text with special tokens; bytes that are no whole character look as in `decode`."""
        return self.decode.with_special(ids)

    def other_token(self, other: "Tokenizer") -> str | None:
        """Describes the first difference from another tokenizer's tokens; None if all ids mean the same."""
        if other._hf is self._hf:
            return None
        own, others = self._hf.get_vocab(), other._hf.get_vocab()
        for token, number in sorted(own.items(), key=lambda item: item[1]):
            if others.get(token) != number:
                return f"{token!r} is {number} here and {others.get(token, 'no token')} there"
        extra = next((token for token in others if token not in own), None)
        return None if extra is None else f"{extra!r} is a token there alone"

    def token_bytes(self, token: int) -> bytes:
        """Returns the bytes of one token, which may be a part of a character."""
        return self._bytes(token)

    def encode_prompt(self, messages: Messages, thinking: bool | None) -> list[int]:
        """Returns the tokens after which a model writes its reply.

        They are those of transformers' `apply_chat_template`, except that marks (`<|im_start|>`) in the messages' own
        text are spelled out with ordinary tokens.

        Args:
          messages: ends with a message that is not the assistant's.
          thinking: `enable_thinking` of the template; None leaves it to the template.

        Raises:
          UserError: there is no chat template, or it refuses the messages or leaves one out.
        """
        if not messages or messages[-1]["role"] == "assistant":
            raise UserError("a prompt must end with a message that is not the assistant's.")
        (text,) = self._template.render_broken([(messages, thinking, True)])
        check_history(messages, text)
        return self._encode_rendered(text)

    def opens_thought(self, prompt: Sequence[int]) -> bool:
        """Returns whether a reply to the prompt begins within a thought, since the template has written `<think>`."""
        return self.show(prompt[-8:]).rstrip().endswith(OPEN)

    def encode_conversation(
        self, messages: Messages, thinking: bool | None
    ) -> tuple[list[int], list[int]]:
        """Returns tokens and loss mask of a conversation that ends with a reply, which is the part that is learned.

        The tokens are those of `encode_prompt(messages[:-1], thinking)`, then the reply (with its thinking if the
        template shows `reasoning_content`, which `thinking=False` leaves out) and the token that ends the turn; the
        mask is 1 on the latter two.

        Raises:
          UserError: the last message is not the assistant's or contains a stop token, special or ordinary; it is not
            clear which part of it is thought; the template does not continue its own generation prompt, drops the
            reasoning or a part of the reply, takes the reply for a thought, or does not end it; or thinking is True
            and the reply has none, so that an empty think block would be learned.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise UserError("a conversation to learn from must end with an assistant message.")
        check_thoughts(messages[-1])
        calls = [(messages[:-1], thinking, True), (messages, thinking, False)]
        prompt, full = self._template.render_broken(calls)
        if not full.startswith(prompt):
            raise UserError(self._broken_prefix(prompt, full, thinking))
        self._check_stops(messages[-1])
        check_history(messages[:-1], prompt)
        check_reply(messages[-1], prompt, full[len(prompt) :], thinking, self.name)
        prompt_ids = self._encode_rendered(prompt)
        reply_ids = self._encode_reply(prompt_ids, full, len(prompt))
        reply_ids = self._to_turn_end(reply_ids, messages[-1], full[len(prompt) :])
        return prompt_ids + reply_ids, [0] * len(prompt_ids) + [1] * len(reply_ids)

    def _encode_reply(self, prompt_ids: list[int], full: str, start: int) -> list[int]:
        """Returns tokens of `full[start:]`, encoded in context unless a token would straddle the boundary.

        A sampled reply starts on a token boundary, so it cannot contain a straddling token.
        """
        whole = self._encode_rendered(full)
        if whole[: len(prompt_ids)] == prompt_ids:
            return whole[len(prompt_ids) :]
        return self._encode_rendered(full[start:], follows=True)

    def _encode_rendered(self, text: str, follows: bool = False) -> list[int]:
        """Returns tokens of a rendered text: a mark with `BREAK` inside is ordinary text, and `BREAK` is no token.

        With `follows` the text continues another one.
        """
        if self.adds_space:  # What follows `BREAK` must not get a space.
            first, *rest = text.split(BREAK)
            begun = self._parts.alone(first) if follows else self.encode_part(first)
            return [*begun, *(token for part in rest for token in self._parts.alone(part))]
        if BREAK not in text:
            return self.encode_part(text)
        tokenizer, mark = self._breaking
        return [token for token in self._ids(tokenizer, text) if token != mark]

    @functools.cached_property
    def _breaking(self) -> tuple[Any, int]:
        """The tokenizer with `BREAK` as a token, for the few texts that need it."""
        tokenizer = copy.deepcopy(self._hf)
        mark = tokenizers.AddedToken(BREAK, special=True, normalized=False)
        tokenizer.add_tokens([mark], special_tokens=True)
        return tokenizer, tokenizer.convert_tokens_to_ids(BREAK)

    def _to_turn_end(self, ids: list[int], reply: dict[str, str], rendered: str) -> list[int]:
        end = next((i for i, token in enumerate(ids) if token in self.stop_ids), None)
        if end is None:
            raise UserError(f"{self.name}: the chat template ends a reply with no stop token.")
        stop = ids[end]
        # `_check_stops` has looked for the others.
        if stop in self._ordinary_stops and cuts_reply(reply, rendered, self.show(ids[end:])):
            raise UserError(
                f"the reply contains {self.show([stop])!r} ({stop}), an ordinary token that would end it early; "
                "correct eos_token_id in the model's config.json and generation_config.json if it ends no reply."
            )
        return ids[: end + 1]

    def _warn_of_ordinary_stops(self) -> None:
        """Warns of stop ids that are often a mistake: a LlamaConfig writes 2 if nobody says otherwise."""
        for token in self._ordinary_stops:
            if self.stop_tokens[token] is not None and (self.name, token) not in _WARNED:
                _WARNED.add((self.name, token))
                _LOG.warning(
                    "%s: every reply ends at %r (%d), an ordinary token: eos_token_id in config.json or "
                    "generation_config.json names it",
                    self.name,
                    self.show([token]),
                    token,
                )

    def _check_stops(self, reply: dict[str, str]) -> None:
        for token in self._stop_texts:
            if token in reply["content"] or token in (reply.get("reasoning_content") or ""):
                raise UserError(f"the reply contains {token!r}, which would end it early.")

    def _broken_prefix(self, prompt: str, full: str, thinking: bool | None) -> str:
        pairs = enumerate(zip(prompt, full))
        at = next((i for i, (a, b) in pairs if a != b), min(len(prompt), len(full)))
        if prompt[at:].strip() == OPEN:
            return (
                f"{self.name}: the chat template opens a thought ({OPEN}) where the model is to reply, and shows a "
                "written reply without it, so no reply can be learned. Change the template, for example so that its "
                f"generation prompt does not end with {OPEN} and a reply is shown whole."
            )
        hint = " (A think block in the content?)" if thinking is False else ""
        return (
            f"{self.name}: with thinking={thinking} the conversation does not start with its own "
            f"generation prompt, which has {prompt[at : at + 60]!r} where the conversation has "
            f"{full[at : at + 60]!r}.{hint}"
        )

    def render(self, messages: Messages, thinking: bool | None, prompt: bool) -> str:
        """Returns the conversation as the chat template writes it; with `prompt` it opens the assistant's next turn.

        Raises:
          UserError: there is no template, or it refuses the conversation or leaves a message out.
        """
        return self._template.render(messages, thinking, prompt)

    def _turn_end(self) -> int | None:
        """Returns the special token that the chat template puts after an assistant's text, if any."""
        ids = self.encode_part(self._template.turn_end)
        return ids[0] if ids and ids[0] in self._hf.added_tokens_decoder else None
