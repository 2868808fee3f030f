"""Model folders of each kind that names its stop tokens in its own way, with tokenizers of single characters."""

import json
from pathlib import Path

import tokenizers
import transformers
from tiny_models import random_params
from tiny_qwen3 import hf_config, model_config

from jaxreason.data.character_tokenizer import save_character_tokenizer
from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_config import architecture_from_hf
from jaxreason.models.hf_export import save_model
from jaxreason.models.huggingface import make_model

CHARACTERS = "0123456789+=? "
HF_CONFIG = hf_config(vocab_size=24)
DOCUMENT, START, TURN = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
BEGIN, END, HEADER, MESSAGE, EOT = (
    *("<|begin_of_text|>", "<|end_of_text|>", "<|header|>", "<|eom_id|>", "<|eot_id|>"),
)
# Of each kind the stop tokens that a twin of it has, that of its template first, and what pads.
STOPS = {
    "base": (TURN, DOCUMENT),
    "instruct": (TURN, DOCUMENT),
    "several": (EOT, END, MESSAGE),
    "untemplated": (DOCUMENT,),
    "characters": ("<end>",),
}
PADS = {
    "base": DOCUMENT,
    "instruct": DOCUMENT,
    "several": END,
    "untemplated": None,
    "characters": "<pad>",
}


def write_model(kind: str, folder: Path) -> Path:
    """A random model and what its kind says of its stop tokens, as a Hugging Face folder."""
    write_files(kind, folder.parent / f"{folder.name}_files")
    model = make_model(model_config(), architecture_from_hf(HF_CONFIG))
    params = random_params(abstract_params(model))  # nothing is compiled for them
    source = folder.parent / f"{folder.name}_files"
    save_model(folder, model, params, tokenizer_from=source, max_shard_bytes=1 << 30)
    return folder


def write_files(kind: str, folder: Path) -> None:
    """Tokenizer, template, config.json and generation_config.json as the kind has them."""
    folder.mkdir(parents=True)
    if kind == "characters":
        return save_character_tokenizer(folder, CHARACTERS)
    special = [BEGIN, END, HEADER, MESSAGE, EOT] if kind == "several" else [DOCUMENT, START, TURN]
    ids = {token: len(CHARACTERS) + i for i, token in enumerate(special)}
    eos = {"base": DOCUMENT, "instruct": TURN, "several": EOT, "untemplated": DOCUMENT}[kind]
    begin, end = (HEADER, EOT) if kind == "several" else (START, TURN)
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=_characters(special),
        eos_token=eos,
        bos_token=BEGIN if kind == "several" else None,
        pad_token=DOCUMENT if kind in ("base", "instruct") else None,
        chat_template=None if kind == "untemplated" else _template(begin, end),
    ).save_pretrained(folder)
    declared = {
        "base": (ids.get(DOCUMENT), ids.get(DOCUMENT)),
        "instruct": (ids.get(TURN), [ids.get(TURN), ids.get(DOCUMENT)]),
        "several": [[ids.get(END), ids.get(MESSAGE), ids.get(EOT)]] * 2,
        "untemplated": (ids.get(DOCUMENT), ids.get(DOCUMENT)),
    }[kind]
    (folder / "config.json").write_text(json.dumps({"eos_token_id": declared[0]}))
    settings = {"eos_token_id": declared[1], "max_new_tokens": 4}
    (folder / "generation_config.json").write_text(json.dumps(settings))


def _characters(special: list[str]) -> tokenizers.Tokenizer:
    vocabulary = {c: i for i, c in enumerate(CHARACTERS)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.WordLevel(vocabulary))
    pattern = tokenizers.Regex(r"[\s\S]")
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Split(pattern, "isolated")
    tokenizer.decoder = tokenizers.decoders.Fuse()
    tokenizer.add_special_tokens(special)
    return tokenizer


def _template(begin: str, end: str) -> str:
    return (
        f"{{%- for m in messages %}}{{{{ '{begin}' + m.content + '{end}' }}}}{{% endfor -%}}"
        f"{{%- if add_generation_prompt %}}{{{{ '{begin}' }}}}{{% endif -%}}"
    )
