"""Small tokenizers made on the spot, and configs with every field given."""

import dataclasses
import json
import pathlib

import pytest
import tokenizers
import transformers

from jaxreason.data.rows import DatasetConfig

FIXTURES = pathlib.Path(__file__).parent / "fixtures"
SHARED = pathlib.Path(__file__).parents[3] / "shared"
SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>", "[INST]", "[/INST]")


def _byte_level() -> tokenizers.Tokenizer:
    """Bytes are tokens, and so are two newlines, as in every real byte-level vocabulary."""
    symbols = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {symbol: index for index, symbol in enumerate([*symbols, "ĊĊ"])}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges=[("Ċ", "Ċ")]))
    level = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = level
    tokenizer.decoder = tokenizers.decoders.ByteLevel()
    return tokenizer


def _sentence_piece() -> tokenizers.Tokenizer:
    """Characters are tokens, a space is `▁`, and one is put before the text: Llama 2, Mistral."""
    symbols = ["▁", *map(chr, range(33, 127)), "\n"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges=[]))
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Metaspace(prepend_scheme="first")
    tokenizer.decoder = tokenizers.decoders.Metaspace(prepend_scheme="first")
    return tokenizer


@pytest.fixture(scope="session")
def make_tokenizer(tmp_path_factory):
    """Writes a tokenizer folder with a template of `fixtures/` and json files, by name."""

    def make(template, kind="bytes", eos="<|im_end|>", pad="<|endoftext|>", **files):
        folder = tmp_path_factory.mktemp("tokenizer")
        library = {"bytes": _byte_level, "pieces": _sentence_piece}[kind]()
        library.add_special_tokens(list(SPECIAL))
        library.add_tokens(["<think>", "</think>"])
        source = (FIXTURES / f"{template}.jinja").read_text() if template else None
        transformers.PreTrainedTokenizerFast(
            tokenizer_object=library,
            bos_token="<|endoftext|>",
            eos_token=eos,
            pad_token=pad,
            chat_template=source,
        ).save_pretrained(folder)
        for name, content in files.items():
            (folder / f"{name}.json").write_text(json.dumps(content))
        return folder

    return make


@pytest.fixture
def make_config():
    """A DatasetConfig of one file with columns question and answer, and the changes given."""
    plain = DatasetConfig(
        source="file",
        path="",
        split="",
        fields={"prompt": "question", "answer": "answer"},
        prompt_template="{prompt}",
        task="sums",
        metadata=(),
        limit=0,
        seed=0,
        options={},
    )

    def make(path, **changes):
        return dataclasses.replace(plain, path=str(path), **changes)

    return make


@pytest.fixture
def shared():
    """A function from a relative path to real data or tokenizers beside the checkout, or a skip."""

    def find(path):
        if not (SHARED / path).exists():
            pytest.skip(f"{path} is not on this machine")
        return SHARED / path

    return find


@pytest.fixture
def shared_qwen3():
    """The folder of Qwen3's real tokenizer, or nothing where it is not at hand."""
    folder = SHARED / "tokenizers" / "qwen3"
    return (folder,) if folder.exists() else ()
