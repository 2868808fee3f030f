"""lm-eval's own API model against the server."""

import jax
import pytest
from serving import model_config, one_device

pytest.importorskip("lm_eval")

from lm_eval.api.instance import Instance
from lm_eval.models.openai_completions import LocalCompletionsAPI


@pytest.fixture(scope="module")
def model(server):
    return LocalCompletionsAPI(
        model="tiny_base",
        base_url=f"{server.url}/v1/completions",
        tokenizer=model_config().path,
        tokenizer_backend="huggingface",
        max_length=160,
        max_gen_toks=12,
        num_concurrent=1,
        max_retries=1,
        batch_size=2,
    )


def instances(kind, *arguments):
    return [Instance(kind, {}, one, i) for i, one in enumerate(arguments)]


def test_replies_are_those_of_the_server_cut_at_the_stop_string(model, client):
    prompts = ["<user>13+24=<assistant>", "<user>5+5=<assistant>"]
    whole = [
        client.completions.create(model="tiny_base", prompt=p, temperature=0, max_tokens=12)
        .choices[0]
        .text
        for p in prompts
    ]
    settings = {"until": ["\n\n"], "do_sample": False, "max_gen_toks": 12}
    requests = instances("generate_until", *((p, settings) for p in prompts))
    assert model.generate_until(requests, disable_tqdm=True) == whole
    stop = whole[0][1]
    requests = instances("generate_until", (prompts[0], settings | {"until": [stop]}))
    assert model.generate_until(requests, disable_tqdm=True) == [whole[0].partition(stop)[0]]


def test_log_likelihoods_are_the_engines(model, engine, tokenizer):
    pairs = [("<user>13+24=<assistant>", "37"), ("<user>13+24=<assistant>", "#9"), ("1+", "1")]
    with jax.set_mesh(one_device()):
        scores = engine.score([(tokenizer.encode(a), tokenizer.encode(b)) for a, b in pairs])
    found = model.loglikelihood(instances("loglikelihood", *pairs), disable_tqdm=True)
    assert [value for value, _ in found] == pytest.approx([s.logprob for s in scores], abs=1e-4)
    assert [greedy for _, greedy in found] == [s.greedy for s in scores]


def test_a_text_that_is_too_long_is_scored_at_its_end(model, engine, tokenizer):
    context, continuation = "1+2=" * 60, "3"
    ids = tokenizer.encode(context)[-158:]
    with jax.set_mesh(one_device()):
        (score,) = engine.score([(ids, tokenizer.encode(continuation))])
    requests = instances("loglikelihood", (context, continuation))
    ((value, greedy),) = model.loglikelihood(requests, disable_tqdm=True)
    assert value == pytest.approx(score.logprob, abs=1e-4) and greedy == score.greedy
