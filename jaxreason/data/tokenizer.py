"""A checkpoint's tokenizer: stop ids and chat template from one place; conversations to tokens.

The loss mask covers the last assistant message: what follows the text that the generation prompt
with the same `enable_thinking` emits, through the token that ends the turn. Earlier replies are
context; `examples.each_reply` makes a conversation of each where all of them are to be learned.
"""

import json
import tempfile
from collections.abc import Sequence
from typing import Any

import huggingface_hub
import transformers
from etils import epath

from jaxreason.errors import UserError

Messages = Sequence[dict[str, str]]

# Put before templates that print today's date (Llama 3, Mistral): prompts must not change by day.
_FIXED_DATE = """\
{%- macro strftime_now(format) -%}
{{ format | replace('%d', '26') | replace('%m', '07') | replace('%b', 'Jul') | replace('%B', 'July')
   | replace('%Y', '2024') | replace('%y', '24') | replace('%A', 'Friday') | replace('%a', 'Fri') }}
{%- endmacro %}
"""
_FILES = ("*.json", "*.jinja", "*.model", "*.txt")
_CLOSE_THINK = "</think>"
_PROBE = "probe0reply"


def load_tokenizer(path: epath.PathLike) -> "Tokenizer":
    """The tokenizer of a model folder (local or on a bucket) or of a name on the Hugging Face Hub.

    Raises:
      ValueError: when the folder or the hub cannot be reached, holds no tokenizer, or names no
        end-of-sequence token anywhere.
    """
    with tempfile.TemporaryDirectory() as scratch:
        folder = _local_folder(str(path), epath.Path(scratch))
        if not any(
            (folder / name).exists() for name in ("tokenizer.json", "tokenizer_config.json")
        ):
            there = ", ".join(sorted(item.name for item in folder.iterdir())) or "nothing"
            raise UserError(
                f"{path}: no tokenizer.json or tokenizer_config.json there; found {there}."
            )
        try:
            loaded = transformers.AutoTokenizer.from_pretrained(folder)
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"{path}: transformers cannot load the tokenizer: {error}") from error
        return Tokenizer(loaded, str(path), _declared_stop_ids(folder))


def _local_folder(path: str, scratch: epath.Path) -> epath.Path:
    folder = epath.Path(path).expanduser()
    if "://" in path:
        for pattern in _FILES:
            for file in folder.glob(pattern):
                file.copy(scratch / file.name)
        return scratch
    if folder.is_dir():
        return folder
    if path.startswith(("/", ".", "~")) or path.count("/") > 1:
        raise UserError(f"{path}: no such folder.")
    try:
        return epath.Path(huggingface_hub.snapshot_download(path, allow_patterns=list(_FILES)))
    except (OSError, ValueError, huggingface_hub.errors.HfHubHTTPError) as error:
        raise UserError(
            f"{path}: no such folder here, and not to be had from the Hugging Face Hub ({error}). "
            "Give the path of a downloaded model folder instead."
        ) from error


def _declared_stop_ids(folder: epath.Path) -> set[int]:
    """End-of-sequence ids in config.json and generation_config.json; either may be absent."""
    ids: set[int] = set()
    for name in ("config.json", "generation_config.json"):
        if (folder / name).exists():
            value = json.loads((folder / name).read_text()).get("eos_token_id")
            ids.update(value if isinstance(value, list) else [] if value is None else [value])
    return ids


def _template_of(loaded: Any) -> str | None:
    if loaded.chat_template is None:
        return None
    template = loaded.get_chat_template()
    return _FIXED_DATE + template if "strftime_now" in template else template


class Tokenizer:
    """Text and conversations to token ids and back.

    Attributes:
      vocab_size: one more than the largest id (a model's embedding may be padded beyond it).
      pad_id: the padding id, or a stop id where the tokenizer has none; padding is always masked.
      close_think: the token `</think>` and an empty line after it; () where that is not one token.
      stop_ids: every id that ends a reply: the end-of-sequence ids of the tokenizer, of config.json
        and of generation_config.json (which disagree in Qwen3's base models), and the token with
        which the chat template ends an assistant turn.
      stop_tokens: the text of each of them by id, the one that ends an assistant turn first.
    """

    def __init__(self, loaded: Any, name: str, declared_stop_ids: set[int]):
        self._hf, self._name = loaded, name
        self._template = _template_of(loaded)
        loaded.model_max_length = int(1e30)  # rows have their own limit; no warning about this one
        turn_end = self._turn_end()
        stop = declared_stop_ids | {loaded.eos_token_id, turn_end}
        self.stop_ids: tuple[int, ...] = tuple(sorted(stop - {None}))
        first = [i for i in (turn_end, loaded.eos_token_id) if i is not None]
        self.stop_tokens: dict[int, str] = {
            i: loaded.convert_ids_to_tokens(i) for i in dict.fromkeys([*first, *self.stop_ids])
        }
        if not self.stop_ids:
            raise UserError(f"{name}: no end-of-sequence token in the tokenizer or configs.")
        close = self._single(_CLOSE_THINK)
        self.close_think: tuple[int, ...] = close and (*close, *self.encode("\n\n"))
        known = loaded.added_tokens_decoder
        self._stop_texts = [known[i].content for i in self.stop_ids if i in known]
        self.vocab_size: int = max(loaded.get_vocab().values()) + 1
        self.pad_id: int = self.stop_ids[0] if loaded.pad_token_id is None else loaded.pad_token_id

    def _single(self, text: str) -> tuple[int, ...]:
        """The token that is this text, or nothing."""
        token = self._hf.get_vocab().get(text)
        return () if token is None else (token,)

    def encode(self, text: str) -> list[int]:
        """Token ids of the text; nothing is added.

        Raises:
          ValueError: for a character outside the vocabulary, where there is no unknown token.
        """
        try:
            return list(self._hf.encode(text, add_special_tokens=False))
        except Exception as error:
            # The Rust library raises bare Exceptions; unknown characters are the usual cause.
            known = self._hf.get_vocab()
            unknown = "".join(c for c in dict.fromkeys(text) if c not in known)
            raise UserError(
                f"{self._name}: cannot encode {text[:80]!r}: {error}; "
                f"characters that are no tokens: {unknown!r}."
            ) from error

    def decode(self, ids: Sequence[int]) -> str:
        """The text of the ids, special tokens left out."""
        return self._hf.decode(
            list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False
        )

    def show(self, ids: Sequence[int]) -> str:
        """The text of the ids with the special tokens' own; bytes that are no whole character look as in `decode`."""
        return self._hf.decode(
            list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False
        )

    def encode_prompt(self, messages: Messages, thinking: bool | None) -> list[int]:
        """The tokens after which a model writes its reply.

        Args:
          messages: ends with a message that is not the assistant's.
          thinking: `enable_thinking` of the template; None leaves it to the template.

        Raises:
          ValueError: when there is no chat template, or it refuses the messages.
        """
        if not messages or messages[-1]["role"] == "assistant":
            raise UserError("a prompt must end with a message that is not the assistant's.")
        return self.encode(self.render(messages, thinking, prompt=True))

    def encode_conversation(
        self, messages: Messages, thinking: bool | None
    ) -> tuple[list[int], list[int]]:
        """Tokens and loss mask of a conversation that ends with a reply, the one that is learned.

        The tokens are those of `encode_prompt(messages[:-1], thinking)`, then the reply (with its
        thinking where the template shows `reasoning_content`, which `thinking=False` leaves out)
        and the token that ends the turn; the mask is 1 on the latter two.

        Raises:
          ValueError: when the last message is not the assistant's or contains a stop token, or the
            template does not continue its own generation prompt, drops the reasoning, or does not
            end the reply.
        """
        if not messages or messages[-1]["role"] != "assistant":
            raise UserError("a conversation to learn from must end with an assistant message.")
        prompt = self.render(messages[:-1], thinking, prompt=True)
        full = self.render(messages, thinking, prompt=False)
        if not full.startswith(prompt):
            raise UserError(self._broken_prefix(prompt, full, thinking))
        self._check_reply(messages[-1], full[len(prompt) :], thinking)
        prompt_ids = self.encode(prompt)
        reply_ids = self._to_turn_end(self._encode_reply(prompt_ids, full, len(prompt)))
        return prompt_ids + reply_ids, [0] * len(prompt_ids) + [1] * len(reply_ids)

    def _encode_reply(self, prompt_ids: list[int], full: str, start: int) -> list[int]:
        """Tokens of `full[start:]`, in their context unless a token would straddle the boundary.

        A sampled reply starts on a token boundary, so a straddling token cannot occur in one.
        """
        whole = self.encode(full)
        if whole[: len(prompt_ids)] == prompt_ids:
            return whole[len(prompt_ids) :]
        return self.encode(full[start:])

    def _to_turn_end(self, ids: list[int]) -> list[int]:
        for index, token in enumerate(ids):
            if token in self.stop_ids:
                return ids[: index + 1]
        raise UserError(f"{self._name}: the chat template ends a reply with no stop token.")

    def _check_reply(self, reply: dict[str, str], rendered: str, thinking: bool | None) -> None:
        reasoning = (reply.get("reasoning_content") or "").strip()
        if thinking is not False and reasoning and reasoning not in rendered:
            raise UserError(
                f"{self._name}: the chat template does not show reasoning_content, so the thinking "
                "would be lost; put it into the content, or set thinking to False."
            )
        for token in self._stop_texts:
            if token in reply["content"] or token in reasoning:
                raise UserError(f"the reply contains {token!r}, which would end it early.")

    def _broken_prefix(self, prompt: str, full: str, thinking: bool | None) -> str:
        pairs = enumerate(zip(prompt, full))
        at = next((i for i, (a, b) in pairs if a != b), min(len(prompt), len(full)))
        return (
            f"{self._name}: with thinking={thinking} the conversation does not start with its own "
            f"generation prompt, which has {prompt[at : at + 60]!r} where the conversation has "
            f"{full[at : at + 60]!r}. (A think block in the content and thinking=False?)"
        )

    def render(self, messages: Messages, thinking: bool | None, prompt: bool) -> str:
        """The conversation as the chat template writes it, with `prompt` opening the assistant's next turn.

        Raises:
          ValueError: there is no template, or it refuses the conversation.
        """
        if self._template is None:
            raise UserError(
                f"{self._name}: the tokenizer has no chat template (chat_template.jinja, or "
                "chat_template in tokenizer_config.json); copy one from the model's chat version."
            )
        hidden = {"reasoning_content"} if thinking is False else set()
        shown = [{k: v for k, v in message.items() if k not in hidden} for message in messages]
        switch = {} if thinking is None else {"enable_thinking": thinking}
        try:
            return self._hf.apply_chat_template(
                shown,
                chat_template=self._template,
                tokenize=False,
                add_generation_prompt=prompt,
                **switch,
            )
        except Exception as error:
            # A template is foreign code and may raise anything (Mistral's: roles must alternate).
            roles = ", ".join(message["role"] for message in messages)
            raise UserError(f"{self._name}: chat template: {error} (roles: {roles})") from error

    def _turn_end(self) -> int | None:
        """The special token that the chat template puts after an assistant's text, if any."""
        if self._template is None:
            return None
        probe = [{"role": "user", "content": _PROBE}, {"role": "assistant", "content": _PROBE}]
        tail = self.render(probe, None, prompt=False).rpartition(_PROBE)[2].lstrip()
        ids = self.encode(tail)
        return ids[0] if ids and ids[0] in self._hf.added_tokens_decoder else None
