"""Makes a model folder from two: interpolates, swaps layers or kinds of matrices, restores singular values or vectors.

It streams from disk to disk, one tensor at a time; no model is built. docs/weights.md says what each change is for.
"""

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Literal

import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Shaped

from jaxreason.analysis.spectra import factorise
from jaxreason.analysis.weight_stream import paired_blocks
from jaxreason.config import ConfigError, nearest
from jaxreason.data.tokenizer import load_tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import abstract_params
from jaxreason.models.hf_export import (
    StoredWeight,
    plan_files,
    read_copied,
    settings_files,
    write_folder,
)
from jaxreason.models.model_card import mixed_card
from jaxreason.models.stored_tensors import (
    KINDS,
    Place,
    StoredModel,
    StoredTensor,
    kind_of,
    layer_of,
    open_stored,
    shared_places,
)
from jaxreason.results.atomic_files import is_taken
from jaxreason.results.card_scores import CARD_FILE
from jaxreason.results.code_version import code_version

INTERPOLATE, VALUES, VECTORS = "interpolate", "singular_values", "singular_vectors"
CHANGES = (INTERPOLATE, VALUES, VECTORS)
OUTSIDE = "outside"  # Embeddings, final norm and head.
SHARD_BYTES = 2**30
_LAYERS = re.compile("([0-9]{1,4})(?:-([0-9]{1,4}))?")
# Fields in which two models of one network may differ, since they do not affect how weights are used.
_FREE = ("tie_word_embeddings", "max_position_embeddings", "initializer_range")
_DTYPES = {"F32": "float32", "BF16": "bfloat16", "F16": "float16"}


@dataclasses.dataclass(frozen=True)
class Surgery:
    """The change that is made to a base and a tuned model.

    Attributes:
      change: `interpolate`: base + amount (tuned - base); `singular_values`: the tuned model's matrices with the base's
        singular values, U_t S_b V_t'; `singular_vectors`: with the base's singular vectors, U_b S_t V_b'.
      amount: for `interpolate`; 1 takes the tuned model's tensors unchanged.
      layers: the layers to change; None for all, and `outside` too.
      outside: whether tensors outside of layers are changed, if `layers` are given.
      kinds: kinds of parameters to change; None for all.
      rest: the model that all other tensors are taken from.
    """

    change: Literal["interpolate", "singular_values", "singular_vectors"]
    amount: float = 1.0
    layers: tuple[int, ...] | None = None
    outside: bool = False
    kinds: tuple[str, ...] | None = None
    rest: Literal["base", "tuned"] = "base"

    def changes(self, tensor: StoredTensor) -> bool:
        """Returns whether a tensor is changed; singular values only apply to matrices within layers."""
        layer = layer_of(tensor.place)
        inside = self.layers is None or (self.outside if layer is None else layer in self.layers)
        kind = self.kinds is None or kind_of(tensor.place) in self.kinds
        return inside and kind and (self.change == INTERPOLATE or tensor.is_matrix)


def parse_surgery(
    change: str, amount: str | None, layers: str | None, kinds: str | None, rest: str | None
) -> Surgery:
    """Returns the surgery that the words of a command line describe; None leaves a word at its default.

    Raises:
      ConfigError: the message has the word and what was expected.
    """
    if change not in CHANGES:
        raise ConfigError(
            f"--change={change}: expected one of {', '.join(CHANGES)}{nearest(change, CHANGES)}."
        )
    if amount is not None and change != INTERPOLATE:
        raise ConfigError(f"--amount={amount}: is for --change {INTERPOLATE}.")
    rest = rest or ("base" if change == INTERPOLATE else "tuned")
    if rest not in ("base", "tuned"):
        raise ConfigError(f"--rest={rest}: expected base or tuned.")
    chosen, outside = _layers(layers)
    return Surgery(change, _amount(amount), chosen, outside, _kinds(kinds), rest)


def _amount(word: str | None) -> float:
    try:
        value = 1.0 if word is None else float(word)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise ConfigError(f"--amount={word}: expected a number, 0 for the base, 1 for the tuned.")
    return value


def _layers(words: str | None) -> tuple[tuple[int, ...] | None, bool]:
    if words is None:
        return None, False
    found, outside = set(), False
    for word in words.split(","):
        ends = _LAYERS.fullmatch(word.strip())
        first, last = (int(ends[1]), int(ends[2] or ends[1])) if ends else (1, 0)
        if word.strip() == OUTSIDE:
            outside = True
        elif first <= last:
            found |= set(range(first, last + 1))
        else:
            raise ConfigError(f"--layers={words}: expected layers as 0-3,7 or `{OUTSIDE}`.")
    return tuple(sorted(found)), outside


def _kinds(words: str | None) -> tuple[str, ...] | None:
    if words is None:
        return None
    found = tuple(word.strip() for word in words.split(","))
    for kind in found:
        if kind not in KINDS:
            raise ConfigError(
                f"--kinds={words}: no kind {kind!r}{nearest(kind, KINDS) or '.'} Valid: {', '.join(KINDS)}."
            )
    return found


def run_surgery(
    base: str,
    tuned: str,
    target: str,
    how: Surgery,
    dtype: str | None = None,
    between: Callable[[], None] = lambda: None,
) -> None:
    """Writes `target`, a Hugging Face folder that transformers can load; it appears only when it is complete.

    Args:
      base, tuned: folders or hub names; tokenizer, template and generation config are the tuned model's.
      target: must not exist.
      how: the change to make.
      dtype: of the weights; None for the tuned model's (float32 if it has several).
      between: called before each tensor; if it raises an error, there is no folder.

    Raises:
      ConfigError: `target` exists, or nothing is changed.
      UserError: the two models do not fit together, or a tensor is damaged; the message names it.
    """
    folder = epath.Path(target)
    if is_taken(folder):
        raise ConfigError(f"--target {target}: exists already; choose another folder or remove it.")
    one, other = open_stored(base), open_stored(tuned)
    places = shared_places([one, other])
    architecture = _architecture(one, other)
    _check(places, one, other, how)
    model = Model(architecture, "float32", "float32", remat="none", attention="plain", unroll=1)
    dtype = dtype or _dtype(other)
    files = plan_files(model, abstract_params(model), SHARD_BYTES, dtype)
    stops = load_tokenizer(other.folder).stop_tokens
    done = {"base": base, "tuned": tuned, "dtype": dtype, **dataclasses.asdict(how)}

    def made(weight: StoredWeight) -> Shaped[np.ndarray, "..."]:
        between()
        place = (weight.path, weight.layer or 0)
        return tensor_of(one.tensor(place), other.tensor(place), how, dtype)

    rest = settings_files(model, read_copied(other.folder), files, dtype)
    rest[CARD_FILE] = mixed_card(base, tuned, done, stops, code_version()).encode()
    write_folder(folder, files, made, lambda: rest, new=True)


def _architecture(one: StoredModel, other: StoredModel) -> Architecture:
    """Returns the tuned model's architecture, with an untied head if one of the models has one."""
    for field in dataclasses.fields(Architecture):
        values = [getattr(model.architecture, field.name) for model in (one, other)]
        if values[0] != values[1] and field.name not in _FREE:
            raise UserError(
                f"{field.name} is {values[0]} in {one.name}, {values[1]} in {other.name}: their weights belong to two "
                "networks and cannot be mixed."
            )
    tied = one.architecture.tie_word_embeddings and other.architecture.tie_word_embeddings
    return dataclasses.replace(other.architecture, tie_word_embeddings=tied)


def _check(places: list[Place], one: StoredModel, other: StoredModel, how: Surgery) -> None:
    depth = one.architecture.num_hidden_layers
    if how.layers and how.layers[-1] >= depth:
        raise ConfigError(
            f"--layers: layer {how.layers[-1]}, and the models have {depth} (0 to {depth - 1})."
        )
    if not any(how.changes(other.tensor(place)) for place in places):
        raise ConfigError("--layers, --kinds: no tensor is of these, so nothing would be changed.")


def _dtype(model: StoredModel) -> str:
    found = {tensor.file.tensors()[tensor.key][1] for tensor in model.tensors.values()}
    return _DTYPES.get(found.pop(), "float32") if len(found) == 1 else "float32"


def tensor_of(
    base: StoredTensor, tuned: StoredTensor, how: Surgery, dtype: str
) -> Shaped[np.ndarray, "..."]:
    """Returns a tensor of the new model, in the layout of its file.

    Raises:
      UserError: a value is not finite, or `dtype` cannot hold it; the message names the tensor.
    """
    if how.change != INTERPOLATE and how.changes(tuned):
        return _cast(_restored(base.read(), tuned.read(), how.change), dtype, tuned)
    amount = how.amount if how.changes(tuned) else float(how.rest == "tuned")
    out, start = np.empty(tuned.shape, jnp.dtype(dtype)), 0
    for first, second in paired_blocks(base, tuned):
        out[start : start + len(first)] = _cast(_between(first, second, amount), dtype, tuned)
        start += len(first)
    return out


def _between(first: np.ndarray, second: np.ndarray, amount: float) -> np.ndarray:
    """Interpolates; at 0 and at 1 the result equals one of them bit for bit."""
    if amount in (0.0, 1.0):
        return second if amount else first
    with np.errstate(over="ignore", invalid="ignore"):  # `_cast` refuses what comes out
        return np.float32(1 - amount) * first + np.float32(amount) * second


def _restored(base: np.ndarray, tuned: np.ndarray, change: str) -> np.ndarray:
    if np.array_equal(base, tuned):
        return tuned
    of_base, of_tuned = (factorise(x, side=min(x.shape)) for x in (base, tuned))
    values, vectors = (of_base, of_tuned) if change == VALUES else (of_tuned, of_base)
    return (vectors.left * values.values) @ vectors.right.T


def _cast(values: np.ndarray, dtype: str, tensor: StoredTensor) -> np.ndarray:
    with np.errstate(over="ignore"):
        made = values.astype(jnp.dtype(dtype))
    if not np.isfinite(made).all():
        raise UserError(f"{tensor.key}: has values that {dtype} cannot hold.")
    return made
