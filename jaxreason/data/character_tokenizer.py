"""A tokenizer of single characters with its chat template, for small models that are trained from scratch."""

import tempfile
from collections.abc import Iterable
from typing import Any

import tokenizers
from etils import epath

from jaxreason.data.tokenizer_library import tokenizer_library
from jaxreason.errors import UserError
from jaxreason.results.atomic_files import about, atomic_write_bytes

PAD, USER, ASSISTANT, END = MARKERS = ("<pad>", "<user>", "<assistant>", "<end>")

# A whole conversation is `<user>question<assistant>reply<end>`, repeated.
CHAT_TEMPLATE = """\
{%- for message in messages -%}
  {%- if message.role == 'user' -%}
    {{ '<user>' + message.content }}
  {%- elif message.role == 'assistant' -%}
    {{ '<assistant>' + message.content + '<end>' }}
  {%- else -%}
    {{ raise_exception('only user and assistant messages are known here') }}
  {%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt -%}{{ '<assistant>' }}{%- endif -%}
"""


def save_character_tokenizer(folder: epath.PathLike, characters: Iterable[str]) -> None:
    """Writes a Hugging Face tokenizer folder in which every character is a token.

    Ids 0 to 3 are the markers pad, user, assistant and end; the characters follow in the given order. There is no
    unknown token: text with another character cannot be encoded.

    Raises:
      ValueError: an entry is not a single character, or occurs twice.
    """
    characters = list(characters)
    for character in characters:
        if len(character) != 1:
            raise UserError(f"characters: {character!r} is not a single character.")
    if len(set(characters)) < len(characters):
        twice = sorted({c for c in characters if characters.count(c) > 1})
        raise UserError(f"characters: {', '.join(map(repr, twice))} given more than once.")
    tokenizer = tokenizer_library().PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(characters),
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
    _save(tokenizer, epath.Path(folder))


def _tokenizer(characters: list[str]) -> tokenizers.Tokenizer:
    vocabulary = {token: index for index, token in enumerate([*MARKERS, *characters])}
    # Every entry is in the vocabulary, so nothing is ever mapped to the unknown token named here.
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary))
    pattern = tokenizers.Regex(r"[\s\S]")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(pattern, behavior="isolated")
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.add_special_tokens(list(MARKERS))
    return tokenizer


def _save(tokenizer: Any, folder: epath.Path) -> None:
    """Saves through a temporary place, since the folder may be on a bucket; so no file is ever incomplete."""
    with tempfile.TemporaryDirectory() as scratch:
        with about(scratch):
            tokenizer.save_pretrained(scratch)
        for file in epath.Path(scratch).iterdir():
            atomic_write_bytes(folder / file.name, file.read_bytes())
