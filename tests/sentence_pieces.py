"""Tokenizers like those of Llama 2 and Mistral: a space is `▁`, and one is put before a text."""

from pathlib import Path

import tokenizers
import transformers

WORDS = ("▁The", "▁capital", "▁is", "▁Paris", "Paris", "▁London", "▁ab", "▁cd", "▁INST", ":")
SPECIAL = ("<s>", "</s>", "[INST]", "[/INST]", "<|im_start|>")
TEMPLATE = (
    "{{ bos_token }}{% for m in messages %}{% if m.role == 'user' %}"
    "{{ '[INST] ' + m.content + ' [/INST]' }}{% else %}{{ m.content + eos_token }}{% endif %}{% endfor %}"
)
# How the space gets before a text: for every piece between special tokens, or before the text alone.
KINDS = ("prepend", "first", "always")


def write_pieces(folder: Path, kind: str, begins: bool = True) -> Path:
    """Writes such a tokenizer; with `begins` it puts BOS before a text."""
    made = _library(kind)
    made.add_special_tokens(list(SPECIAL))
    tags = (tokenizers.AddedToken(tag, normalized=False) for tag in ("<think>", "</think>"))
    made.add_tokens(list(tags))
    if begins:
        made.post_processor = tokenizers.processors.TemplateProcessing(
            single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
        )
    names = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=made, chat_template=TEMPLATE, **names
    ).save_pretrained(folder)
    return folder


def _library(kind: str) -> tokenizers.Tokenizer:
    numbers, merges = _vocabulary()
    model = tokenizers.models.BPE(
        numbers, merges, byte_fallback=True, unk_token="<unk>", fuse_unk=True
    )
    made = tokenizers.Tokenizer(model)
    normal, decode = tokenizers.normalizers, tokenizers.decoders
    if kind == "prepend":
        made.normalizer = normal.Sequence([normal.Prepend("▁"), normal.Replace(" ", "▁")])
    else:
        made.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme=kind, split=False)
    steps = [decode.Replace("▁", " "), decode.ByteFallback(), decode.Fuse()]
    made.decoder = decode.Sequence([*steps, decode.Strip(" ", 1, 0)])
    return made


def _vocabulary() -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Returns numbers of bytes, characters and words, and the merges that make the words."""
    symbols = ["<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", *map(chr, range(33, 127))]
    numbers = {symbol: number for number, symbol in enumerate(symbols)}
    merges: list[tuple[str, str]] = []
    for word in WORDS:
        for end in range(1, len(word)):
            pair = word[:end], word[end]
            merges += [pair] if pair not in merges else []
            numbers.setdefault(word[: end + 1], len(numbers))
    return numbers, merges
