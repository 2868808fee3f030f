"""Tokens with states far longer than all others, found by their length and left out of two poolings."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pair import make_unit, measure_pair, params_of, tiny_model

from jaxreason.analysis.hidden_states import find_sinks, relative_lengths, without_sinks
from jaxreason.analysis.sinks import count_sinks, sink_change
from jaxreason.models.decoder import forward

SINK, PLACE = 39, 2  # a token's id; its place in the third text's prompt


def lengths_of(rows):
    """States of two coordinates with these lengths."""
    lengths = jnp.asarray(rows, jnp.float32)
    return jnp.stack([0.6 * lengths, -0.8 * lengths], -1)


def test_lengths_are_relative_to_the_median_of_the_texts_own_tokens():
    states = lengths_of([[4, 1, 2, 90, 7], [3, 5, 999, 999, 999]])
    segment_ids = jnp.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]])
    found = relative_lengths(states, segment_ids)
    np.testing.assert_allclose(found[0], [1, 0.25, 0.5, 22.5, 1.75], rtol=1e-6)
    np.testing.assert_allclose(found[1], [0.75, 1.25, 0, 0, 0], rtol=1e-6)


def test_a_sink_of_either_model_is_left_out_of_both():
    base, tuned = jnp.array([[10.5, 9.5, 1, 1]]), jnp.array([[1.0, 1, 11, 10]])
    assert find_sinks(base, tuned).tolist() == [[True, False, True, False]]


def test_poolings_without_sinks_leave_them_out_and_never_all_tokens():
    sinks = jnp.array([[True, False, False], [True, False, True]])
    masks = {
        "all": jnp.ones((2, 3)),
        "reply": jnp.array([[0.0, 1, 1], [0, 0, 1]]),
        "last": jnp.array([[0.0, 0, 1], [0, 0, 1]]),
    }
    found = without_sinks(masks, sinks)
    assert found["all_no_sinks"].tolist() == [[0, 1, 1], [0, 1, 0]]
    assert found["reply_no_sinks"].tolist() == [[0, 1, 1], [0, 0, 1]]  # its only token is a sink


def test_sinks_are_counted_by_range_of_positions():
    base, tuned = np.ones((2, 1, 9))
    base[0, [0, 2, 3, 8]] = 30
    reply = jnp.asarray([[0.0, 0, 0, 1, 1, 1, 1, 1, 1]])
    found = count_sinks(jnp.asarray(base), jnp.asarray(tuned), jnp.asarray(base > 10), reply)
    assert found["base"][0, :6].tolist() == [1, 0, 2, 0, 1, 0]
    assert not found["tuned"].any()
    assert found["excluded"][0, :6].tolist() == [1, 0, 2, 0, 1, 0]
    assert found["excluded_of_reply"].tolist() == [2]
    assert (found["base_ratio"].tolist(), found["tuned_ratio"].tolist()) == ([30], [1])


def with_sink(size):
    """The model with a token whose embedding is `size` times as long; the token is in one text alone."""
    params = jax.tree.map(lambda leaf: leaf, params_of(0))
    embedding = params["embed_tokens"]["embedding"]
    params["embed_tokens"] = {"embedding": embedding.at[SINK].multiply(size)}
    return params


@functools.cache
def planted():
    unit = make_unit()
    rows = [[token % SINK for token in text.tokens] for text in unit.texts]
    rows[2][PLACE] = SINK
    pairs = zip(unit.texts, rows, strict=True)
    texts = tuple(dataclasses.replace(text, tokens=tuple(row)) for text, row in pairs)
    unit = dataclasses.replace(unit, texts=texts)
    return unit, measure_pair(with_sink(300.0), with_sink(600.0), unit)


def test_a_planted_sink_is_left_out_where_it_is_one_and_nothing_else_is():
    unit, measured = planted()
    tokens = jnp.asarray([unit.texts[2].tokens])
    positions = jnp.arange(tokens.shape[1])[None]
    out = forward(tiny_model(), with_sink(300.0), tokens, positions, jnp.ones_like(tokens))
    hidden = np.asarray(out.hidden[:, 0])
    kept = np.delete(hidden, PLACE, axis=1).mean(1)
    found = measured.base["all_no_sinks"][2]
    np.testing.assert_allclose(found[:2], kept[:2], rtol=1e-4, atol=1e-4)
    assert np.abs(measured.base["all"][2] - kept)[:2].max(1).min() > 1
    np.testing.assert_array_equal(found[2], measured.base["all"][2, 2])  # after the final norm
    others = [0, 1, 3, 4]
    np.testing.assert_array_equal(
        measured.base["all_no_sinks"][others], measured.base["all"][others]
    )


def test_the_file_says_where_the_sinks_are_and_how_their_size_changed():
    _, measured = planted()
    prepared = sink_change(measured)
    assert (prepared.details["rule"], prepared.details["middle"]) == ({"ratio": 10.0}, 1)
    assert prepared.details["excluded"] == pytest.approx([1 / 5, 1 / 5, 0])
    assert prepared.details["excluded_of_reply"] == [0, 0, 0]
    (row,) = prepared.details["by_position"]
    assert (row["first"], row["last"]) == (3, 4)
    assert row["base"] == row["tuned"] == pytest.approx([1 / 5, 1 / 5, 0])
    ratios = measured.sinks.base_ratio[2, 1], measured.sinks.tuned_ratio[2, 1]
    assert ratios[1] / ratios[0] == pytest.approx(2, rel=0.01)
    change = prepared.statistic(np.array([2]))["largest_state"]
    assert change == pytest.approx(np.log(ratios[1] / ratios[0]))
    assert prepared.statistic(np.array([0, 1]))["largest_state"] == pytest.approx(0, abs=1e-6)
