"""Two tiny models that read one reply as it is written."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pair import mesh_of, params_of, tiny_model

from jaxreason.analysis.patched_replies import (
    NO_BUDGET,
    Takes,
    make_patching,
    prompt_rows,
    write_replies,
)
from jaxreason.models.decoder import forward
from jaxreason.models.logprobs import jensen_shannon

PROMPTS = [(5, 9, 11), (7,), (20, 21, 22, 23, 24), (4, 30)]
MOST, LENGTH, STOP = 12, 17, 3


@functools.cache
def programs():
    return make_patching(tiny_model(), tiny_model(), LENGTH, (STOP,))


def replies(base, tuned, takes=None, tuned_leads=False, prompts=PROMPTS, num_devices=1):
    mesh = mesh_of(num_devices)
    rows = prompt_rows(prompts, 4, 5, MOST, LENGTH)
    takes = Takes(np.zeros(4, np.float32), np.zeros(4, np.int32)) if takes is None else takes
    with jax.set_mesh(mesh):
        return write_replies(
            programs(), base, tuned, mesh, rows, takes, tuned_leads, check=lambda: None
        )


def everywhere(budget=NO_BUDGET, threshold=0.0) -> Takes:
    return Takes(np.full(4, threshold, np.float32), np.full(4, budget, np.int32))


@functools.cache
def likeliest(seed: int, prompt: tuple[int, ...]) -> tuple[int, ...]:
    """A greedy reply that reads the whole text anew for every token."""
    text = list(prompt)
    while len(text) - len(prompt) < MOST:
        tokens = np.zeros((1, LENGTH), np.int32)
        tokens[0, : len(text)] = text
        text.append(int(np.argmax(_logits(seed, tokens)[0, len(text) - 1])))
        if text[-1] == STOP:
            break
    return tuple(text[len(prompt) :])


@functools.partial(jax.jit, static_argnums=0)
def _logits(seed, tokens):
    positions = jnp.arange(LENGTH)[None]
    return forward(tiny_model(), params_of(seed), tokens, positions).logits


def told(found, row: int) -> tuple[int, ...]:
    return tuple(found.tokens[row, : found.length[row]].tolist())


@pytest.mark.parametrize("tuned_leads", [False, True])
def test_without_a_budget_each_reply_is_its_own_models_greedy_one(tuned_leads):
    found = replies(params_of(0), params_of(1), tuned_leads=tuned_leads)
    for row, prompt in enumerate(PROMPTS):
        assert told(found, row) == likeliest(int(tuned_leads), prompt)
    assert not found.taken.any() and (found.js >= 0).all()


@pytest.mark.parametrize("tuned_leads", [False, True])
def test_with_all_choices_taken_each_reply_is_the_others(tuned_leads):
    found = replies(params_of(0), params_of(1), everywhere(), tuned_leads)
    for row, prompt in enumerate(PROMPTS):
        assert told(found, row) == likeliest(int(not tuned_leads), prompt)


def test_models_that_are_alike_never_differ():
    found = replies(params_of(0), params_of(0), everywhere())
    assert not found.taken.any() and (found.js == 0).all()
    assert (found.own == found.other).all()


def test_a_budget_is_spent_at_the_first_places_that_pass_the_threshold():
    own = replies(params_of(0), params_of(1))
    threshold = np.float32(np.median(own.js[own.own != own.other]))
    free = replies(params_of(0), params_of(1), everywhere(threshold=threshold))
    two = replies(params_of(0), params_of(1), everywhere(2, threshold))
    assert two.taken.sum() > 0 and (two.taken.sum(1) <= 2).all()
    for row in range(4):
        first = np.flatnonzero(free.taken[row])[:2].tolist()
        assert np.flatnonzero(two.taken[row]).tolist() == first
        assert (two.js[row][two.taken[row]] >= threshold).all()
        assert (two.tokens[row] == np.where(two.taken[row], two.other[row], two.own[row])).all()


def test_the_divergence_is_that_of_the_two_distributions_after_the_same_text():
    found = replies(params_of(0), params_of(1))
    tokens = np.zeros((1, LENGTH), np.int32)
    whole = PROMPTS[0] + told(found, 0)
    tokens[0, : len(whole)] = whole
    log_p, log_q = (jax.nn.log_softmax(_logits(seed, tokens)[0]) for seed in (0, 1))
    expected = jensen_shannon(log_p, log_q)[len(PROMPTS[0]) - 1 :][: found.length[0]]
    np.testing.assert_allclose(found.js[0, : found.length[0]], expected, rtol=1e-3, atol=1e-6)


def test_a_reply_ends_at_its_limit_and_rows_without_a_prompt_have_none():
    found = replies(params_of(0), params_of(1), prompts=PROMPTS[:3])
    assert found.length[3] == 0 and not found.tokens[3].any()
    for row, prompt in enumerate(PROMPTS[:3]):
        most = min(MOST, LENGTH - len(prompt))
        assert found.length[row] == most or told(found, row)[-1] == STOP


@pytest.mark.slow  # compiles for eight devices
def test_many_devices_write_the_same():
    one, many = (replies(params_of(0), params_of(1), everywhere(3), num_devices=n) for n in (1, 8))
    assert [told(one, row) for row in range(4)] == [told(many, row) for row in range(4)]
