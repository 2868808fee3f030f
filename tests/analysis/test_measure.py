"""What both models say about a text, against Hugging Face's own forward pass and full softmax."""

import jax
import numpy as np
import pytest
import transformers
from tiny_pair import make_unit, measure_pair, params_of, tiny_model

from jaxreason.models.hf_export import save_model


@pytest.fixture(scope="module")
def references(tmp_path_factory):
    """Hugging Face's hidden states [Z, T, D] and log-probs [T, V] of every text and model."""
    torch = pytest.importorskip("torch")
    found = []
    for seed in (0, 1):
        folder = tmp_path_factory.mktemp(f"model{seed}")
        save_model(
            folder, tiny_model(), params_of(seed), tokenizer_from=None, max_shard_bytes=10**9
        )
        network = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager"
        )
        with torch.no_grad():
            found.append([_read(network, text.tokens, torch) for text in make_unit().texts])
    return found


def _read(network, tokens, torch):
    out = network(torch.tensor([tokens]), output_hidden_states=True)
    states = np.stack([state[0].numpy() for state in out.hidden_states])
    return states, torch.log_softmax(out.logits[0].double(), -1).numpy()


@pytest.fixture(scope="module")
def measured():
    return measure_pair(params_of(0), params_of(1))


def test_pooled_states_are_means_of_hugging_faces_hidden_states(measured, references):
    for pooled, states in ((measured.base, references[0]), (measured.tuned, references[1])):
        for row, text in enumerate(make_unit().texts):
            hidden, start = states[row][0], text.reply_start
            np.testing.assert_allclose(pooled["all"][row], hidden.mean(1), atol=1e-4)
            np.testing.assert_allclose(pooled["reply"][row], hidden[:, start:].mean(1), atol=1e-4)
            np.testing.assert_allclose(pooled["last"][row], hidden[:, -1], atol=1e-4)


def test_cosine_distances_are_means_over_reply_tokens(measured, references):
    for row, text in enumerate(make_unit().texts):
        base, tuned = (states[row][0][:, text.reply_start :] for states in references)
        cosine = (base * tuned).sum(-1)
        cosine /= np.linalg.norm(base, axis=-1) * np.linalg.norm(tuned, axis=-1)
        expected = (1 - cosine).mean(1)
        np.testing.assert_allclose(measured.cosine_distance[row], expected, atol=1e-4)


def test_token_values_are_those_of_the_full_softmax_at_every_reply_token(measured, references):
    for row, text in enumerate(make_unit().texts):
        start, end = text.reply_start, len(text.tokens)
        base, tuned = (states[row][1][start - 1 : end - 1] for states in references)
        tokens = np.array(text.tokens[start:])
        assert measured.mask[row].sum() == end - start and measured.mask[row, 0]
        got = {name: values[row, : end - start] for name, values in measured.tokens.items()}
        forward = (np.exp(base) * (base - tuned)).sum(-1)
        reverse = (np.exp(tuned) * (tuned - base)).sum(-1)
        np.testing.assert_allclose(got["kl_forward"], forward, atol=1e-4)
        np.testing.assert_allclose(got["kl_reverse"], reverse, atol=1e-4)
        np.testing.assert_allclose(
            got["tuned_entropy"], -(np.exp(tuned) * tuned).sum(-1), atol=1e-4
        )
        own = base[np.arange(len(tokens)), tokens]
        np.testing.assert_allclose(got["base_logprob"], own, atol=1e-4)
        np.testing.assert_array_equal(got["base_rank"], 1 + (base > own[:, None]).sum(-1))
        np.testing.assert_array_equal(got["same_top"], base.argmax(-1) == tuned.argmax(-1))
        _check_choices(got, base, tuned)


def _check_choices(got, base, tuned):
    """What is said of both models' likeliest tokens, which are no longer those that were written."""
    models, rows = {"base": base, "tuned": tuned}, np.arange(len(base))
    for top, of in models.items():
        choice = of.argmax(-1)
        np.testing.assert_array_equal(got[f"{top}_top"], choice)
        for model, log in models.items():
            at = log[rows, choice]
            np.testing.assert_allclose(got[f"{top}_top_{model}_logprob"], at, atol=1e-4)
            if top != model:
                rank = 1 + (log > at[:, None]).sum(-1)
                np.testing.assert_array_equal(got[f"{top}_top_{model}_rank"], rank)


INTEGERS = ("token", "base_top", "tuned_top", "base_top_tuned_rank", "tuned_top_base_rank")


def test_the_tokens_that_were_written_stand_beside_their_values_and_integers_stay_integers(
    measured,
):
    for row, text in enumerate(make_unit().texts):
        reply = text.tokens[text.reply_start :]
        assert tuple(measured.tokens["token"][row, : len(reply)]) == reply
        assert not measured.tokens["token"][row, len(reply) :].any()
    assert {measured.tokens[name].dtype.kind for name in INTEGERS} == {"i"}


def test_eight_devices_and_other_batches_give_the_same_numbers(measured):
    spread = measure_pair(params_of(0), params_of(1), num_devices=8, batch_size=8)
    for one, eight in zip(jax.tree.leaves(measured), jax.tree.leaves(spread), strict=True):
        np.testing.assert_allclose(eight, one, rtol=1e-4, atol=1e-5)
    for name in INTEGERS:
        np.testing.assert_array_equal(spread.tokens[name], measured.tokens[name], err_msg=name)
