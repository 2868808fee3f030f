"""Tokens that the tuned model would write and the base would not: on arrays made by hand, and on a planted one."""

import math

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_pair import measure_pair, params_of

from jaxreason.analysis.drift_metrics import METRICS
from jaxreason.analysis.metric_types import TextMeasurements, bootstrap
from jaxreason.analysis.reading import Reading, running_texts, token_text
from jaxreason.analysis.shifted_tokens import shifted_tokens
from jaxreason.analysis.word_classes import WORDS, word_class

TEXTS = [b"?", b" Wait", b" cat", b" dog", b"."]
READING = Reading(("a", "b", "c"), TEXTS.__getitem__, 0.1)


def measured(reading=READING):
    """Three replies, of 5, 2 and 1 tokens; what lies after their ends must not count."""
    mask = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], bool)
    tokens = {
        "token": [[1, 2, 4, 2, 4], [3, 1, 9, 9, 9], [2, 9, 9, 9, 9]],
        "base_top": [[2, 2, 2, 3, 4], [3, 2, 0, 0, 0], [2, 0, 0, 0, 0]],
        "tuned_top": [[1, 2, 4, 2, 4], [3, 1, 1, 1, 1], [3, 1, 1, 1, 1]],
        # of the changed ones (0, 0), (0, 2), (0, 3), (1, 1), (2, 0), (0, 2) is a near tie
        "js": [[0.5, 0.2, 0.01, 0.1, 0.0], [0.0, 0.3, 9, 9, 9], [0.2, 9, 9, 9, 9]],
        "base_entropy": [[2.0, 0.5, 1.0, 3.0, 0.1], [0.2, 4.0, 9, 9, 9], [1.0, 9, 9, 9, 9]],
        "tuned_top_base_logprob": np.log([[0.2, 1, 1, 0.1, 1], [1, 0.1, 1, 1, 1], [0.3, 1, 1, 1, 1]]),
        "tuned_top_tuned_logprob": np.log([[0.8, 1, 1, 0.9, 1], [1, 0.6, 1, 1, 1], [0.5, 1, 1, 1, 1]]),
        "base_top_base_logprob": np.log(np.full((3, 5), 0.4)),
        "base_top_tuned_logprob": np.log(np.full((3, 5), 0.05)),
        "tuned_top_base_rank": [[3, 1, 2, 7, 1], [1, 5, 9, 9, 9], [2, 9, 9, 9, 9]],
        "base_top_tuned_rank": [[8, 1, 2, 2, 1], [1, 6, 9, 9, 9], [2, 9, 9, 9, 9]],
        "base_rank": [[3, 1, 2, 7, 1], [1, 5, 9, 9, 9], [1, 9, 9, 9, 9]],
        "tuned_rank": [[1, 1, 1, 1, 1], [1, 1, 1, 1, 1], [2, 1, 1, 1, 1]],
    }  # fmt: skip
    arrays = {k: np.array(v) for k, v in tokens.items()}
    return TextMeasurements({}, {}, np.zeros((3, 1)), arrays, mask, reading=reading)


def test_a_position_is_shifted_where_the_choice_changed_and_not_by_a_near_tie():
    found = shifted_tokens(measured()).statistic(np.arange(3))
    assert found["top_changed"] == pytest.approx(5 / 8)
    assert found["js_above"] == pytest.approx(5 / 8)  # (0, 1) among them, whose choice is the same
    assert found["shifted"] == pytest.approx(4 / 8)
    details = shifted_tokens(measured()).details
    names = ("num_tokens", "num_changed", "num_above", "num_shifted")
    assert [details[name] for name in names] == [8, 5, 5, 4]


def test_what_is_said_of_shifted_positions_is_their_mean_beside_that_of_the_others():
    found = shifted_tokens(measured()).statistic(np.arange(3))
    assert found["base_entropy.shifted"] == pytest.approx((2 + 3 + 4 + 1) / 4)
    assert found["base_entropy.elsewhere"] == pytest.approx((0.5 + 1 + 0.1 + 0.2) / 4)
    assert found["promoted_in_top5"] == pytest.approx(3 / 4)
    assert found["logical.shifted"] == pytest.approx(2 / 4)  # " Wait" twice
    assert found["logical.elsewhere"] == 0
    weighted = shifted_tokens(measured()).statistic(np.array([0, 0, 2]))
    assert weighted["shifted"] == pytest.approx((2 + 2 + 1) / 11)


def test_shares_by_place_count_a_replys_own_tenths_and_positions_from_one():
    found = shifted_tokens(measured()).statistic(np.arange(3))
    assert found["shifted.from_1"] == pytest.approx(2 / 3)
    assert found["shifted.from_2"] == pytest.approx(2 / 4)  # positions 2-4
    assert found["shifted.from_5"] == 0  # 5-16
    assert found["shifted.tenth_1"] == pytest.approx(2 / 3)
    assert found["shifted.tenth_6"] == pytest.approx(1 / 1)  # the second of two tokens
    assert found["shifted.tenth_7"] == pytest.approx(1 / 1)  # the fourth of five
    assert "shifted.tenth_2" not in found and "shifted.from_17" not in found


def test_the_table_has_a_row_a_promoted_token_with_what_it_replaces():
    wait, cat, dog = shifted_tokens(measured()).details["tokens"]
    assert (wait["token"], wait["text"], wait["class"]) == (1, " Wait", "logical")
    assert (wait["shifted"], wait["chosen"], wait["num_texts"]) == (2, 2, 2)
    assert wait["base_probability"]["mean"] == pytest.approx(0.15)
    assert wait["tuned_probability"]["mean"] == pytest.approx(0.7)
    assert wait["base_rank"]["mean"] == pytest.approx(4)
    assert wait["replaced_tuned_rank"]["mean"] == pytest.approx(7)
    assert wait["replaces"] == {"token": 2, "text": " cat", "times": 2}
    assert (cat["token"], cat["class"], cat["shifted"], cat["chosen"]) == (2, "content", 1, 2)
    assert cat["base_rank"] == {"mean": 7.0, "error": None}  # one text has no spread
    assert (dog["token"], dog["shifted"], dog["chosen"]) == (3, 1, 2)
    classes = shifted_tokens(measured()).details["classes"]
    assert classes["logical"] == {"shifted": 2, "chosen": 2}
    assert classes["content"] == {"shifted": 2, "chosen": 4}
    assert classes["symbol"] == {"shifted": 0, "chosen": 2}


def test_the_error_of_a_promoted_token_is_of_questions_and_not_of_replies():
    alone = measured(READING._replace(clusters=(0, 1, 2)))
    assert shifted_tokens(alone).details == shifted_tokens(measured()).details
    assert shifted_tokens(alone).details["tokens"][0]["base_probability"]["error"] > 0
    together = measured(READING._replace(clusters=(0, 0, 1)))  # both replies with " Wait"
    wait = shifted_tokens(together).details["tokens"][0]
    assert wait["base_probability"] == {"mean": 0.15, "error": None}


def test_tokens_beyond_those_that_are_kept_are_counted(monkeypatch):
    monkeypatch.setattr("jaxreason.analysis.token_table.TOKENS_KEPT", 1)
    details = shifted_tokens(measured()).details
    assert [row["token"] for row in details["tokens"]] == [1]
    assert (details["num_other_tokens"], details["num_other_shifted"]) == (2, 2)


def test_the_view_is_the_middle_one_of_the_replies_with_shifts():
    """By their shifts: b (1), c (1), a (2)."""
    view = shifted_tokens(measured()).details["view"]
    assert (view["id"], view["num_tokens"], view["num_shifted"]) == ("c", 1, 1)
    fewer = measured()
    fewer.tokens["js"][2, 0] = 0.0  # c has no shift any more: b (1), a (2)
    view = shifted_tokens(fewer).details["view"]
    assert (view["id"], view["num_tokens"], view["num_shifted"]) == ("b", 2, 1)
    assert view["texts"] == [" dog", " Wait"] and view["js"] == [0.0, 0.3]
    (mark,) = view["marks"]
    assert mark == {
        "at": 1,
        "shifted": True,
        "base": {"text": " cat", "probabilities": [0.4, 0.05]},
        "tuned": {"text": " Wait", "probabilities": [0.1, 0.6]},
        "ranks": [5, 1],
    }


def test_the_example_is_the_first_reply_with_its_promoted_tokens():
    example = shifted_tokens(measured()).details["example"]
    assert (example["id"], example["num_tokens"], example["num_shifted"]) == ("a", 5, 2)
    assert [(x["text"], x["times"]) for x in example["tokens"]] == [(" Wait", 1), (" cat", 1)]


def test_points_are_tokens_whose_rank_changed_every_kth_of_them(monkeypatch):
    details = shifted_tokens(measured()).details
    assert details["num_rank_changed"] == 5
    assert details["points"] == [[1, 3, 1], [3, 2, 1], [4, 7, 1], [2, 5, 1], [1, 1, 2]]
    monkeypatch.setattr("jaxreason.analysis.shifted_replies.POINTS", 3)
    assert shifted_tokens(measured()).details["points"] == [[1, 3, 1], [4, 7, 1], [1, 1, 2]]


def test_without_a_tokenizer_tokens_are_known_by_their_ids():
    details = shifted_tokens(measured(Reading())).details
    assert [(row["token"], row["text"], row["class"]) for row in details["tokens"]] == [
        (1, None, None),
        (2, None, None),
        (3, None, None),
    ]
    assert details["classes"] is None and details["view"] is None
    assert details["example"]["num_shifted"] == 2 and details["example"]["id"] is None


def test_texts_without_a_shift_have_nothing_said_of_shifted_positions():
    prepared = shifted_tokens(measured())
    alone = measured()
    alone.tokens["js"][:] = 0
    found = bootstrap(shifted_tokens(alone), range(3), 20, (0,))
    assert not any(
        name.startswith(("base_entropy", "promoted", "logical")) for name in found.values
    )
    assert found.values["shifted"] == 0 and found.values["top_changed"] == pytest.approx(5 / 8)
    alone.tokens["js"][0, 0] = 0.5  # in one text alone: resamples without it say nothing
    drawn = bootstrap(shifted_tokens(alone), range(3), 50, (0,)).draws
    assert len(drawn["base_entropy.shifted"]) == 50
    assert set(drawn["base_entropy.shifted"]) == {2.0}
    assert not any(math.isnan(x) for draws in drawn.values() for x in draws)
    assert not math.isnan(prepared.statistic(np.array([1]))["base_entropy.elsewhere"])


BOOSTED = (
    0  # a token that no text has: with tied embeddings it is then changed in what is written alone
)


def _boosted():
    """The base with a token that is never likeliest, and the same with that token's scores raised."""
    base = params_of(0)
    table = base["embed_tokens"]["embedding"]
    base = base | {"embed_tokens": {"embedding": table.at[BOOSTED].set(0.0)}}
    states = measure_pair(base, base).base["reply"][:, -1]
    row = 4 * jnp.asarray(states.mean(0))
    return base, base | {"embed_tokens": {"embedding": table.at[BOOSTED].set(row)}}


def test_a_boosted_token_is_named_and_no_other_and_no_hidden_state_moved():
    pair = measure_pair(*_boosted())
    details = shifted_tokens(pair).details
    assert details["num_shifted"] > 10
    assert [row["token"] for row in details["tokens"]] == [BOOSTED]
    (row,) = details["tokens"]
    assert row["shifted"] == details["num_shifted"] and row["chosen"] >= row["shifted"]
    assert row["tuned_probability"]["mean"] > 2 * row["base_probability"]["mean"]
    for name in ("pca_shift", "cka", "cosine"):
        values = METRICS[name].prepare(pair).statistic(np.arange(5)).values()
        assert max(map(abs, values)) < 1e-6, name


def test_a_model_against_itself_has_no_shifted_token_and_no_view():
    params = params_of(0)
    details = shifted_tokens(measure_pair(params, params)).details
    assert (details["num_changed"], details["num_above"], details["num_shifted"]) == (0, 0, 0)
    assert details["tokens"] == [] and details["view"] is None
    assert details["example"]["num_shifted"] == 0 and details["points"] == []


@pytest.mark.parametrize(
    "text, expected",
    [
        (" Wait", "logical"),
        ("wait,", "logical"),
        ("HOWEVER", "logical"),
        (" Alternatively", "logical"),
        ("Hmm", "logical"),
        (" therefore", "logical"),
        ("If", "logical"),
        (" triangle", "content"),
        ("42", "content"),
        ("If the", "content"),  # more than one word
        ("waiting", "content"),
        ("\n\n", "symbol"),
        (" =", "symbol"),
        ("", "symbol"),
        ("<|im_end|>", "symbol"),
        ("<0xE2>", "symbol"),
        (" <", "symbol"),
        (" därför", "content"),
    ],
)
def test_a_token_has_a_class_whatever_its_case_and_what_stands_around_it(text, expected):
    assert word_class(text) == expected


def test_no_word_stands_in_the_list_twice():
    words = [word for kind in WORDS.values() for word in kind]
    assert len(words) == len(set(words)) and all(word_class(word) == "logical" for word in words)


def test_a_character_of_several_tokens_stands_with_its_last_one():
    parts = dict(enumerate([b"a ", "é".encode()[:1], "é".encode()[1:], b"!", b"\xff"]))
    assert running_texts([0, 1, 2, 3, 4], parts.get) == ["a ", "", "é", "!", "\ufffd"]
    assert token_text(1, parts.get) == "<0xC3>" and token_text(3, parts.get) == "!"
