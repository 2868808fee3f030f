"""Log-likelihood of given continuations, against whole forward passes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxreason.models.architecture import Architecture, Model
from jaxreason.models.decoder import forward, init_params
from jaxreason.sampling.scoring import Scorer, length_bucket
from jaxreason.sharding import MeshConfig, make_mesh


def make_pairs(num_prompts, seed=0, longest=50, widest=4, siblings=3):
    rng = np.random.default_rng(seed)
    pairs = []
    for _ in range(num_prompts):
        prompt = rng.integers(4, 61, rng.integers(1, longest + 1)).tolist()
        for _ in range(rng.integers(1, siblings + 1)):
            pairs.append((prompt, rng.integers(4, 61, rng.integers(1, widest + 1)).tolist()))
    return [pairs[i] for i in rng.permutation(len(pairs))]


def test_scores_equal_the_sum_of_the_trainers_logprobs(make_engine, params, reference_logprobs):
    pairs = make_pairs(40) + make_pairs(2, seed=1, longest=10, widest=16)
    scores = make_engine().score(pairs)
    for (prompt, continuation), score in zip(pairs, scores, strict=True):
        expected = reference_logprobs(params, prompt + continuation)[len(prompt) :].sum()
        assert score.logprob == pytest.approx(expected, abs=1e-4)
        assert score.num_tokens == len(continuation)
        assert score.error is None


def test_greedy_marks_continuations_of_likeliest_tokens_only(make_engine, model, params):
    prompt = list(range(10, 20))
    step = jax.jit(lambda tokens: forward(model, params, tokens, jnp.arange(16)[None]).logits[0])
    tokens = np.zeros((1, 16), np.int32)
    tokens[0, :10] = prompt
    for end in range(10, 14):
        tokens[0, end] = int(np.argmax(step(tokens)[end - 1]))
    likeliest = tokens[0, 10:14].tolist()
    other = [*likeliest[:3], (likeliest[3] + 1) % 61]
    scores = make_engine().score([(prompt, likeliest), (prompt, other), (prompt, likeliest[:1])])
    assert [s.greedy for s in scores] == [True, False, True]


def test_scores_do_not_depend_on_what_else_is_scored(make_engine):
    pairs = make_pairs(12)
    engine = make_engine()
    together = engine.score(pairs)
    for pair, score in zip(pairs, together, strict=True):
        alone = engine.score([pair])[0]
        assert alone.logprob == pytest.approx(score.logprob, abs=1e-4)
        assert alone.greedy == score.greedy


def shared_pairs(seed=0):
    """Questions after 70 tokens that all have, some of two continuations, and a few that share nothing."""
    rng = np.random.default_rng(seed)
    shots = rng.integers(4, 61, 70).tolist()
    pairs = []
    for prompt, continuation in make_pairs(12, seed, longest=20, widest=4, siblings=2):
        pairs.append((shots + prompt, continuation))
    return pairs + make_pairs(3, seed + 1)


def test_what_follows_a_shared_beginning_scores_as_it_does_alone(make_engine):
    engine = make_engine(max_length=128)
    pairs = shared_pairs()
    alone = make_engine(
        max_length=128, score_tokens=4096
    )  # so many that no beginning gets its own pass
    for together, (pair, score) in zip(
        engine.score(pairs), zip(pairs, alone.score(pairs), strict=True), strict=True
    ):
        (by_itself,) = alone.score([pair])
        assert together.logprob == pytest.approx(by_itself.logprob, abs=1e-5)
        assert score.logprob == pytest.approx(by_itself.logprob, abs=1e-5)
        assert together.greedy == score.greedy == by_itself.greedy


def test_a_sliding_window_ends_in_rows_and_shared_beginnings_where_it_does_alone(
    architecture, mesh, reference_logprobs
):
    narrow = Architecture(**(architecture | {"sliding_window": 9}))
    model = Model(narrow, "float32", "float32", "none", "plain", 1)
    params = init_params(model, jax.random.key(0))
    scorer = Scorer(model, mesh, 128, num_tokens=128, row_multiple=1)
    rng = np.random.default_rng(0)
    shots = rng.integers(4, 61, 66).tolist()
    pairs = [(shots + rng.integers(4, 61, 5 + i % 3).tolist(), [5, 6]) for i in range(40)]
    scores = scorer.score(params, pairs)
    for (prompt, continuation), score in zip(pairs, scores, strict=True):
        row = reference_logprobs(params, prompt + continuation, model=model)
        assert score.logprob == pytest.approx(row[len(prompt) :].sum(), abs=1e-4)


def test_a_mesh_scores_as_one_device_does(model, params, make_engine):
    pairs = shared_pairs()
    expected = make_engine(max_length=128).score(pairs)
    mesh = make_mesh(MeshConfig(data=2, fsdp=1, tensor=2, context=2))
    with jax.set_mesh(mesh):
        found = Scorer(model, mesh, 128, num_tokens=128, row_multiple=2).score(params, pairs)
    for one, other in zip(found, expected, strict=True):
        assert one.logprob == pytest.approx(other.logprob, abs=1e-5)


def test_a_prompt_with_more_continuations_than_fit_side_by_side_is_scored_whole(make_engine):
    engine = make_engine()
    pairs = [([5, 6, 7], [token]) for token in range(61)]
    scores = engine.score(pairs)
    assert sum(np.exp(s.logprob) for s in scores) == pytest.approx(1.0, abs=1e-5)
    assert sum(s.greedy for s in scores) == 1


def test_pairs_that_cannot_be_scored_fail_alone(make_engine):
    pairs = [([], [5]), ([5], []), ([5] * 60, [6] * 6), ([5, 99], [6]), ([5] * 60, [6] * 5)]
    scores = make_engine().score(pairs)
    assert scores[0].error == "the prompt is empty"
    assert (scores[1].logprob, scores[1].num_tokens, scores[1].greedy) == (0.0, 0, True)
    assert scores[1].error is None
    assert "66 tokens do not fit max_length=64" in scores[2].error
    assert "outside the vocabulary of 61" in scores[3].error
    assert np.isnan([scores[0].logprob, scores[2].logprob, scores[3].logprob]).all()
    assert scores[4].error is None and np.isfinite(scores[4].logprob)


def test_many_pairs_with_the_same_choices_compile_few_shapes(make_engine, compile_counter):
    rng = np.random.default_rng(0)
    prompts = [rng.integers(4, 61, rng.integers(20, 61)).tolist() for _ in range(50)]
    pairs = [(prompt, choice) for prompt in prompts for choice in ([5], [6, 7])]
    with compile_counter() as count:
        make_engine(fresh=True, decode_block=9).score(pairs)
    assert count.programs <= 4  # prompt lengths 24, 32, 48, 64


def test_length_buckets_waste_at_most_a_third_above_sixteen():
    for length in range(1, 3000):
        bucket = length_bucket(length)
        assert bucket >= length
        assert bucket == 16 or (bucket - length) / bucket < 1 / 3
    assert len({length_bucket(length) for length in range(1, 3000)}) == 16
