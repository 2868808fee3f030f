"""Decides before any weights are loaded which parts of two models can be compared, and why others cannot."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath

from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.huggingface import ModelSource, make_model, resolve
from jaxreason.models.stored_tensors import open_stored, shared_places
from jaxreason.models.weight_files import read_settings
from jaxreason.runtime.distributed import on_process_zero
from jaxreason.sharding import leaves_by_path, to_host

_MOST_NAMED = 3  # Weights that a message names.
# Fields of an architecture that must agree so that the states of one layer can be compared position by position.
SHAPE = ("num_hidden_layers", "hidden_size")


def why_not(base: ModelSource, tuned: ModelSource) -> dict[str, str]:
    """Returns the parts of two models that cannot be compared, each with the reason.

    It is empty if architecture and vocabulary are equal.

    Returns:
      by missing part: `texts` (one model cannot read what the other one wrote), `layers` (the states of one have no
      counterpart in the other), `weights` (the parameters are not the same).
    """
    models = [make_model(source.config, source.architecture()) for source in (base, tuned)]
    folders = [base.folder, tuned.folder]
    found = {
        "texts": why_other_vocabulary(base, tuned),
        "layers": _why_other_shape(*models),
        "weights": _why_other_weights(*models)
        if None in folders
        else on_process_zero(lambda: _why_other_tensors(*folders)),
    }
    return {what: reason for what, reason in found.items() if reason}


def same_shape(base: Model, tuned: Model) -> bool:
    """Returns whether both models have the same number of layers and the same width."""
    return not _why_other_shape(base, tuned)


def _why_other_shape(base: Model, tuned: Model) -> str:
    said = [_shape_of(model) for model in (base, tuned)]
    return "" if said[0] == said[1] else f"the base has {said[0]}, the tuned model {said[1]}"


def _shape_of(model: Model) -> str:
    depth, width = (getattr(model.architecture, field) for field in SHAPE)
    return f"{depth} layers of width {width}"


def _why_other_weights(base: Model, tuned: Model) -> str:
    shapes = [_shapes(abstract_params(model)) for model in (base, tuned)]
    if shapes[0] == shapes[1]:
        return ""
    names = sorted(set(shapes[0]) | set(shapes[1]))
    path = next(name for name in names if shapes[0].get(name) != shapes[1].get(name))
    sizes = [shapes[i].get(path, "none") for i in (0, 1)]
    return f"{path} is {sizes[0]} in the base and {sizes[1]} in the tuned model"


def _why_other_tensors(base: str, tuned: str) -> str:
    """Returns why two stored folders cannot be compared. Vocabularies may be padded, and one may have a tied head."""
    models = [open_stored(name) for name in (base, tuned)]
    try:
        shared_places(models)
    except UserError as error:
        return str(error).rstrip(".")
    return ""


def _shapes(params: Mapping) -> dict[str, str]:
    leaves = leaves_by_path(params)
    return {path: " x ".join(map(str, leaf.shape)) for path, leaf in leaves.items()}


TOKENIZER_FILE = "tokenizer.json"


def why_other_vocabulary(base: ModelSource, tuned: ModelSource) -> str:
    """Returns why one model cannot read what the other one wrote; "" if it can. Every process must call it.

    Sizes are compared, and the tokens of both tokenizer.json files if both folders have one. Added tokens may differ:
    twins that were tuned with another chat template rename marks such as `<|im_start|>`, and agree on all other tokens.

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
    """Returns text -> id of the tokens without added tokens."""
    vocab = tokenizer.get("model", {}).get("vocab", {})
    # A Unigram model has a list of pieces with their scores, in order of id.
    if isinstance(vocab, list):
        vocab = {piece: number for number, (piece, _) in enumerate(vocab)}
    added = {entry["content"] for entry in tokenizer.get("added_tokens", [])}
    return {token: number for token, number in vocab.items() if token not in added}


def why_not_finite(params: dict[str, Any]) -> str:
    """Returns the names of weights that hold NaN or infinity; "" if there are none. Every process must call it.

    Args:
      params: the parameters of a model, with layers stacked.
    """
    named = []
    for name, leaf in leaves_by_path(params).items():
        stacked = name.startswith("layers.")
        counts = to_host(_count(leaf, stacked))
        for layer, number in enumerate(np.atleast_1d(counts)):
            if number:
                named.append(f"{name}{f' of layer {layer}' if stacked else ''} ({number} values)")
    more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
    return f"not finite: {', '.join(named[:_MOST_NAMED])}{more}" if named else ""


@functools.partial(jax.jit, static_argnums=1)
def _count(x: jax.Array, by_layer: bool) -> jax.Array:
    dims = tuple(range(1, x.ndim)) if by_layer else None
    return jnp.sum(~jnp.isfinite(x), axis=dims, dtype=jnp.int32)
