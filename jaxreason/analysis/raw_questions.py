"""Raw questions as the study's PCA script passes them to both models, and the states that it averages.

It uses the base's tokenizer without a chat template, the first 128 tokens, padding on the left up to the longest text,
bfloat16, and the plain mean over all positions, including padding.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jax.sharding import Mesh
from jaxtyping import Array, Float, Int

from jaxreason.analysis.hidden_states import pool
from jaxreason.analysis.texts import Batching, Text, TextBatch, Unit, batches, in_text_order
from jaxreason.data.tokenizer import Tokenizer
from jaxreason.errors import UserError
from jaxreason.models.architecture import Model
from jaxreason.models.decoder import forward
from jaxreason.results.sample_files import questions_folder, read_questions
from jaxreason.sharding import place_rows, to_host

LENGTH = 128  # Tokens, as in the study's script.
SOURCE = "questions"


class QuestionStates(NamedTuple):
    """The script's features of N texts: Z = L + 1 states, averaged over all positions including padding."""

    base: Float[np.ndarray, "N Z D"]
    tuned: Float[np.ndarray, "N Z D"]


def load_question_units(evaluation: epath.PathLike, tokenizer: Tokenizer) -> list[Unit]:
    """Returns the questions of every benchmark of an `evaluation` folder as tokens.

    A text with a character that the tokenizer does not know is dropped and counted.

    Raises:
      UserError: the evaluation has no questions, or a file is broken.
    """
    found = read_questions(evaluation)
    if not found:
        raise UserError(
            f"{questions_folder(evaluation)}: no questions, which paper_pca_shift reads. Evaluate again with the same "
            "command: what is there stays, and they are written."
        )
    return [_unit(value, tokenizer) for value in found]


def _unit(value: dict[str, Any], tokenizer: Tokenizer) -> Unit:
    tokens = [_encoded(tokenizer, text) for text in value["texts"]]
    texts = tuple(
        Text(str(number), ids[:LENGTH], 0, cluster=str(ids[:LENGTH]))
        for number, ids in enumerate(tokens, start=1)
        if ids
    )
    cut = sum(len(ids) > LENGTH for ids in tokens)
    dropped = len(tokens) - len(texts)
    why = "" if texts else f"none of its {dropped} questions is known to the tokenizer of the base"
    return Unit(value["benchmark"], value["group"], SOURCE, texts, cut, dropped, why)


def _encoded(tokenizer: Tokenizer, text: str) -> tuple[int, ...]:
    try:
        return tuple(tokenizer.encode_framed(text))
    except UserError:
        return ()


def padding_of(tokenizer: Tokenizer) -> int:
    """Returns the id that the script pads with: the tokenizer's padding token, or else its end of text."""
    named = (tokenizer.named_pad_id, tokenizer.eos_id, tokenizer.pad_id)
    return next(number for number in named if number is not None)


@functools.lru_cache(maxsize=8)  # All arms of a study share one compiled program.
def make_question_measure(base: Model, tuned: Model) -> Callable[..., dict[str, Any]]:
    """Returns a jitted function that computes both models' features.

    Its arguments are (base params, tuned params, tokens, segment_ids, pads, pad_id); `pads` is the number of padding
    positions that the script puts before each text.
    """
    models = [dataclasses.replace(model, dtype="bfloat16") for model in (base, tuned)]

    @jax.jit
    def measure(base_params, tuned_params, tokens, segment_ids, pads, pad_id):
        both = zip(models, (base_params, tuned_params), strict=True)
        found = [_features(*one, tokens, segment_ids, pads, pad_id) for one in both]
        return {"base": found[0], "tuned": found[1]}

    return measure


def _features(
    model: Model,
    params: Any,
    tokens: Int[Array, "B T"],
    segment_ids: Int[Array, "B T"],
    pads: Int[Array, " B"],
    pad_id: Int[Array, ""],
) -> Float[Array, "B Z D"]:
    # Rows are padded on the right here, but keep the positions that they have after the script's padding.
    positions = pads[:, None] + jnp.arange(tokens.shape[1])
    states = forward(model, params, tokens, positions, segment_ids).hidden
    real = (segment_ids > 0).astype(jnp.float32)
    mean, number = pool(states, real), real.sum(1)
    padding = _padding_states(model, params, len(tokens), pad_id)
    total = mean * number[:, None, None] + padding * pads[:, None, None]
    return total / jnp.maximum(number + pads, 1)[:, None, None]


def _padding_states(model: Model, params: Any, rows: int, pad_id) -> Float[Array, "B Z D"]:
    """Returns the states at padding if attention returns 0 there, as flash attention 2 does: no other token counts."""
    layers = params["layers"]
    attention = layers["self_attn"]
    # Setting the values to 0 achieves that. Multiplying keeps their sharding.
    silent = attention | {"v_proj": jax.tree.map(lambda x: x * 0, attention["v_proj"])}
    params = params | {"layers": layers | {"self_attn": silent}}
    tokens = jnp.full((rows, 1), pad_id, jnp.int32)
    states = forward(model, params, tokens, jnp.zeros_like(tokens), jnp.ones_like(tokens)).hidden
    return pool(states, jnp.ones(tokens.shape, jnp.float32))


def measure_questions(
    measure: Callable,
    base_params: Any,
    tuned_params: Any,
    mesh: Mesh,
    unit: Unit,
    batching: Batching,
    pad_id: int,
) -> QuestionStates:
    """Runs `measure` over the questions of a unit; returns results in their order, whole on every process.

    Raises:
      ValueError: the batch does not divide over the mesh.
    """
    longest = max(len(text.tokens) for text in unit.texts)
    parts = []
    for batch in batches(unit, batching._replace(limit=LENGTH)):
        arrays = place_rows(mesh, (batch.tokens, batch.segment_ids, _pads(batch, longest)))
        found = to_host(measure(base_params, tuned_params, *arrays, np.int32(pad_id)))
        parts.append((batch, found))
    return QuestionStates(**in_text_order(parts))


def _pads(batch: TextBatch, longest: int) -> Int[np.ndarray, " B"]:
    return (longest - (batch.segment_ids > 0).sum(1)).astype(np.int32)
