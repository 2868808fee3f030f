"""Whether two models mean the same tokens by the same ids, as their folders say it."""

from typing import Any

from etils import epath

from jaxreason.models.huggingface import resolve
from jaxreason.models.model_source import ModelSource
from jaxreason.models.weight_files import read_settings
from jaxreason.runtime.distributed import on_process_zero

TOKENIZER_FILE = "tokenizer.json"


def why_other_vocabulary(base: ModelSource, tuned: ModelSource) -> str:
    """Why one model cannot read what the other wrote; "" where it can. Every process must call it.

    Sizes are compared, and the tokens of both tokenizer.json where both folders have one. Added tokens may differ:
    twins that were tuned with another chat template rename marks such as `<|im_start|>`, and mean the same by all else.

    Raises:
      UserError: a file is broken.
    """
    sizes = [source.architecture().vocab_size for source in (base, tuned)]
    if sizes[0] != sizes[1]:
        return (
            f"the base has a vocabulary of {sizes[0]} tokens, the tuned model one of {sizes[1]}; "
            "distributions over different vocabularies have no divergence"
        )
    folders = [_folder(source) for source in (base, tuned)]
    if None in folders or folders[0] == folders[1]:
        return ""
    return on_process_zero(lambda: _other_token(*folders))


def _folder(source: ModelSource) -> epath.Path | None:
    return None if source.config.init == "random" else resolve(source.config.path)


def _other_token(base: epath.Path, tuned: epath.Path) -> str:
    files = [folder / TOKENIZER_FILE for folder in (base, tuned)]
    if not all(file.exists() for file in files):
        return ""
    own, others = (_tokens(read_settings(file)) for file in files)
    for token in sorted(set(own) | set(others)):
        if own.get(token) != others.get(token):
            ids = [found.get(token, "no token") for found in (own, others)]
            return (
                f"other tokens: {token!r} is {ids[0]} in the base and {ids[1]} in the tuned model"
            )
    return ""


def _tokens(tokenizer: dict[str, Any]) -> dict[str, int]:
    """Text -> id of the tokens that are no added ones."""
    vocab = tokenizer.get("model", {}).get("vocab", {})
    if isinstance(vocab, list):  # of a Unigram model: pieces with their scores, in order
        vocab = {piece: number for number, (piece, _) in enumerate(vocab)}
    added = {entry["content"] for entry in tokenizer.get("added_tokens", [])}
    return {token: number for token, number in vocab.items() if token not in added}
