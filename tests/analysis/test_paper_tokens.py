"""The study's KL and rank shift, against its own arithmetic written out token by token."""

import json
import math
import pathlib

import numpy as np
import pytest

from jaxreason.analysis.texts import Text
from jaxreason.analysis.token_distributions import SCORED, paper_means, paper_values, scripts_scored

SHARED = pathlib.Path(__file__).parents[3] / "shared"  # read where it is there
RELEASED = SHARED / "data" / "uniresponses"
TOKENIZER = SHARED / "tokenizers" / "qwen3" / "tokenizer.json"


def token_losses(seed: int, lengths=(5, 3, 1, 4)) -> list[list[dict]]:
    """What the released script writes of each reply: loss, text and rank of every token that it keeps."""
    rng = np.random.default_rng(seed)
    return [
        [
            {"loss": float(loss), "token": "?", "rank": int(rank)}
            for loss, rank in zip(rng.exponential(2.0, n), rng.integers(1, 9, n), strict=True)
        ]
        for n in lengths
    ]


def released_kl(generated: list[list[dict]], tested: list[list[dict]]) -> float:
    """calculate_KL.py in words of our own: P(t) = exp(-loss) + 1e-10, mean over tokens, then over replies."""
    replies = []
    for ours, others in zip(generated, tested, strict=True):
        pairs = zip(ours, others, strict=True)
        logs = [
            math.log(math.exp(-a["loss"]) + 1e-10) - math.log(math.exp(-b["loss"]) + 1e-10)
            for a, b in pairs
        ]
        if logs:
            replies.append(sum(logs) / len(logs))
    return abs(sum(replies) / len(replies))


def as_tokens(base, tuned, first: int, ended: bool):
    """The same losses as arrays of our own, with tokens around them that the scripts do not score."""
    width = max(map(len, base)) + first + ended
    tokens = {
        f"{who}_{what}": np.full((len(base), width), -3.3)
        for who in ("base", "tuned")
        for what in ("logprob", "rank")
    }
    mask = np.zeros((len(base), width), bool)
    for row, pair in enumerate(zip(base, tuned, strict=True)):
        for who, losses in zip(("base", "tuned"), pair, strict=True):
            for column, token in enumerate(losses, start=first):
                tokens[f"{who}_logprob"][row, column] = -token["loss"]
                tokens[f"{who}_rank"][row, column] = token["rank"]
        mask[row, : len(pair[0]) + first + ended] = True
    return tokens, mask


@pytest.mark.parametrize(("begun", "ended"), [(False, True), (True, True), (False, False)])
def test_the_number_is_that_of_the_released_scripts_on_the_same_losses(begun, ended):
    base, tuned = token_losses(0), token_losses(1)
    tokens, mask = as_tokens(base, tuned, 0 if begun else 1, ended)
    texts = [Text("q", (1,), 1, begun, ended)] * len(base)
    scored = scripts_scored(texts, mask)
    assert scored.sum(1).tolist() == [len(one) for one in base]
    found = paper_means(paper_values(tokens | {SCORED: scored}), np.arange(len(base)))
    assert found["paper_kl"] == pytest.approx(released_kl(tuned, base), rel=1e-12)
    ranks = [
        sum(abs(a["rank"] - b["rank"]) for a, b in zip(*pair, strict=True)) / len(pair[0])
        for pair in zip(base, tuned, strict=True)
    ]
    assert found["paper_rank_shift"] == pytest.approx(sum(ranks) / len(ranks), rel=1e-12)


def test_a_token_that_a_model_never_writes_counts_as_its_floor():
    base = [[{"loss": 200.0, "token": "?", "rank": 900}]]
    tuned = [[{"loss": 0.0, "token": "?", "rank": 1}]]
    tokens, mask = as_tokens(base, tuned, 1, True)
    scored = scripts_scored([Text("q", (1,), 1, False, True)], mask)
    found = paper_means(paper_values(tokens | {SCORED: scored}), np.arange(1))
    assert found["paper_kl"] == pytest.approx(-math.log(1e-10))
    assert found["paper_rank_shift"] == 899


def test_a_reply_without_a_scored_token_is_passed_over_and_none_at_all_has_no_number():
    base, tuned = token_losses(0), token_losses(1)
    tokens, mask = as_tokens([[], *base], [[], *tuned], 1, True)
    scored = scripts_scored([Text("q", (1,), 1, False, True)] * 5, mask)
    replies = paper_values(tokens | {SCORED: scored})
    assert paper_means(replies, np.arange(5))["paper_kl"] == pytest.approx(released_kl(tuned, base))
    unscored = paper_means(replies, np.array([0]))
    assert list(unscored) == ["paper_kl", "paper_rank_shift"]
    assert all(math.isnan(value) for value in unscored.values())  # no draw of an interval
    assert paper_means({name: part[:1] for name, part in replies.items()}, np.array([0])) == {}


def test_the_rule_counts_the_tokens_that_the_release_counts():
    """One fewer than ours in all: at one boundary, prompt and reply as one text give one token less."""
    if not (RELEASED.exists() and TOKENIZER.exists()):
        pytest.skip("needs the released replies")
    tokenizers = pytest.importorskip("tokenizers")
    encode = tokenizers.Tokenizer.from_file(str(TOKENIZER)).encode
    lines = (RELEASED / "UniReason-RL_ifeval.jsonl").read_text().splitlines()[:100]
    replies = [encode(json.loads(line)["output"]).ids for line in lines]
    mask = np.arange(max(map(len, replies))) < np.array([[len(reply)] for reply in replies])
    scored = scripts_scored([Text("q", (1,), 1)] * 100, mask)
    (told,) = json.loads((RELEASED / "UniReason-RL_kl_ifeval.json").read_text())
    assert scored.sum() - 1 == told["total_tokens"] == 127458
    assert told["num_data_points"] == 100
