"""The SFT loss against log-softmax by hand."""

import re

import jax
import numpy as np
import scipy.special
from test_train_step import MODEL, make_batch, plain_loss, start_params

from jaxreason.models.decoder import forward
from jaxreason.training.sft_loss import make_sft_loss


def test_the_loss_and_the_entropy_are_sums_over_the_targets():
    params, batch = start_params(MODEL), make_batch(rows=4)
    loss, weight, sums = jax.jit(make_sft_loss(MODEL, chunk=4))(params, batch)
    run = jax.jit(lambda p, b: forward(MODEL, p, b.tokens, b.positions, b.segment_ids).logits)
    logits = run(params, batch)
    logprobs = scipy.special.log_softmax(np.asarray(logits, np.float64), axis=-1)
    expected = expected_entropy = 0.0
    for row, place in zip(*np.nonzero(batch.loss_mask), strict=True):
        predicted = logprobs[row, place - 1]
        expected -= predicted[batch.tokens[row, place]]
        expected_entropy -= np.sum(np.exp(predicted) * predicted)
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    np.testing.assert_allclose(sums["entropy"], expected_entropy, rtol=1e-5)
    assert weight == sums["tokens"] == batch.loss_mask.sum()


def test_rows_of_one_sequence_need_no_segments():
    params, batch = start_params(MODEL), make_batch(rows=4)
    real = np.arange(batch.tokens.shape[1]) < np.array([[12], [5], [9], [2]])
    batch = batch._replace(
        positions=np.where(real, np.arange(real.shape[1]), 0).astype(np.int32),
        segment_ids=real.astype(np.int32),
        loss_mask=(real & (np.arange(real.shape[1]) > 0)).astype(np.float32),
    )
    found, expected = (
        jax.jit(
            jax.value_and_grad(
                lambda p, packed=packed: make_sft_loss(MODEL, 4, packed)(p, batch)[0]
            )
        )(params)
        for packed in (False, True)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def shapes_in(loss, *arguments):
    """Shapes of all arrays in the compiled gradient."""
    text = jax.jit(jax.grad(loss)).lower(*arguments).compile().as_text()
    return set(re.findall(r"f32\[([0-9,]+)\]", text))


def test_the_logits_of_a_whole_sequence_never_exist():
    params, batch = start_params(MODEL), make_batch(rows=4)
    whole = {"4,12,24", "4,11,24", "48,24", "44,24"}  # 4 rows of 12 tokens, 24 in the vocabulary
    chunked = shapes_in(lambda p, b: make_sft_loss(MODEL, chunk=4)(p, b)[0], params, batch)
    assert not whole & chunked
    assert {"4,4,24", "16,24"} & chunked
    assert whole & shapes_in(plain_loss, params, batch)


def test_tokens_outside_the_mask_do_not_change_the_gradient():
    params, batch = start_params(MODEL), make_batch(rows=4)
    # The last token of each segment predicts nothing; where it is no target it cannot matter.
    last = np.zeros_like(batch.tokens, bool)
    last[:, [3, 8]] = True
    free = last & (batch.loss_mask == 0)
    changed = batch._replace(tokens=np.where(free, 5, batch.tokens))
    assert (changed.tokens != batch.tokens).any()
    gradient = jax.jit(jax.grad(lambda p, b: make_sft_loss(MODEL, 4)(p, b)[0]))
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6),
        gradient(params, changed),
        gradient(params, batch),
    )
