import pytest
import tokenizers
import transformers

from jaxreason.data.token_text import TokenBytes

TEXT = "Wait, a line\nand a tab\t."


def byte_level(decoder):
    """A vocabulary without the symbols of bytes that are in no UTF-8 text, as SmolLM2's."""
    symbols = [s for s in sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()) if s not in "Àøÿ"]
    vocabulary = {symbol: index for index, symbol in enumerate(symbols)}
    library = tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, merges=[]))
    library.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    library.decoder = decoder
    return transformers.PreTrainedTokenizerFast(tokenizer_object=library)


@pytest.mark.parametrize(
    "decoder",
    [
        tokenizers.decoders.ByteLevel(),
        tokenizers.decoders.Sequence([tokenizers.decoders.ByteLevel()]),
    ],
)
def test_symbols_are_bytes_though_the_vocabulary_lacks_some_of_them(decoder):
    loaded = byte_level(decoder)
    ids = loaded.encode(TEXT, add_special_tokens=False)
    assert b"".join(map(TokenBytes(loaded), ids)) == TEXT.encode()
