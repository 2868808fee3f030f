"""Which right replies are kept, and the rows that come of them."""

import dataclasses
import datetime
import decimal
import json
import math
from collections import Counter

import pytest

from jaxreason.data.examples import Example
from jaxreason.distill.dataset import dataset_rows, keep_replies, responses, same_columns
from jaxreason.distill.judging import Judged, ReplyParts
from jaxreason.distill.passes import TeacherQuestion
from jaxreason.distill.yields import Entry, bucket, count, tell, ungraded_share


def judged(sample, text, outcome="right", thoughts=""):
    return Judged(sample, ReplyParts(thoughts, text, True), outcome, "stop", len(text))


REPLIES = [
    judged(0, "no", "wrong"),
    judged(1, "longer", thoughts="a thought"),
    judged(2, "ab", thoughts="t"),
    judged(3, "cd", thoughts="t"),
    judged(4, "x" * 100),
    judged(5, "half", "unfinished"),
]


def length(text):
    return 10 + len(text)


def kept(keep, cutoff=0, seed=0, replies=REPLIES, count=length):
    chosen = keep_replies(replies, keep, cutoff, count, seed)
    return [reply.sample for reply in chosen.replies], dict(chosen.left_out)


def test_first_shortest_and_all_take_right_replies_alone():
    assert kept("first") == ([1], {})
    assert kept("shortest") == ([2], {})  # of two that are equally long the first
    assert kept("all") == ([1, 2, 3, 4], {})


def test_random_takes_each_right_reply_sometimes_and_the_same_one_with_the_same_seed():
    found = [kept("random", seed=seed)[0][0] for seed in range(60)]
    assert set(found) == {1, 2, 3, 4}
    assert found == [kept("random", seed=seed)[0][0] for seed in range(60)]


def test_what_is_longer_than_the_cutoff_with_its_thoughts_is_not_kept_and_counted():
    # 10 tokens of the question, 21 of the marks and the empty lines: `ab` has 34
    whole = 10 + len("<think>\nt\n</think>\n\nab")
    assert kept("all", cutoff=whole) == ([2, 3], {"too_long": 2})
    assert kept("first", cutoff=whole) == ([2], {"too_long": 2})
    assert kept("all", cutoff=whole - 1) == ([], {"too_long": 4})


def test_what_the_tokenizer_cannot_write_is_not_kept_and_counted():
    assert kept("first", count=lambda text: None if "longer" in text else len(text)) == (
        [2],
        {"not_encodable": 1},
    )


def test_thoughts_are_dropped_from_the_very_reply_that_is_kept():
    chosen = keep_replies(REPLIES, "first", 0, length, 0)
    whole = "<think>\na thought\n</think>\n\nlonger"
    assert responses(chosen, None, "drop") == [(whole, "longer")]
    assert responses(chosen, None, "none") == [(whole, "")]


def test_where_thoughts_are_needed_a_right_reply_without_them_is_not_kept_and_counted():
    chosen = keep_replies(
        [judged(0, "4"), *REPLIES[1:]], "first", 0, length, 0, needs_thoughts=True
    )
    assert [reply.sample for reply in chosen.replies] == [1]
    assert dict(chosen.left_out) == {"without_thoughts": 2}


def test_a_reply_without_thoughts_is_no_response_with_thoughts():
    chosen = keep_replies([judged(0, "4")], "first", 0, length, 0)
    assert responses(chosen, None, "drop") == [("", "4")]


def test_the_second_time_gives_the_column_without_thoughts_also_where_the_first_gave_nothing():
    nothing = keep_replies([judged(0, "5", "wrong")], "first", 0, length, 0)
    second = keep_replies([judged(0, "4")], "first", 0, length, 0)
    both = keep_replies(REPLIES[:3], "all", 0, length, 0)
    assert responses(nothing, second, "generate") == [("", "4")]
    assert responses(nothing, nothing, "generate") == [("", "")]
    assert [without for _, without in responses(both, second, "generate")] == ["4", ""]


def question(key="math/q0", source="math", answer="4", **metadata):
    messages = ({"role": "user", "content": "Solve: 2+2"},)
    metadata = {"question": "2+2", "where": "f:1"} | metadata
    return TeacherQuestion(key, source, Example(key, "math", messages, answer, source, metadata))


def test_a_row_has_the_question_before_its_template_and_the_wrong_replies():
    (row,) = dataset_rows(question(level=3), [("", "4")], REPLIES[:2], None)
    assert {k: v for k, v in row.items() if k != "replies"} == {
        "id": "math/q0",
        "question": "2+2",
        "answer": "4",
        "data_source": "math",
        "think_response": "",
        "no_think_response": "4",
        "level": 3,
    }
    assert [(r["content"], r["correct"]) for r in row["replies"]] == [("no", 0), ("longer", 1)]


def test_a_system_message_comes_along():
    messages = ({"role": "system", "content": "Add."}, {"role": "user", "content": "2+2"})
    asked = question()
    asked = dataclasses.replace(
        asked, example=dataclasses.replace(asked.example, messages=messages)
    )
    (row,) = dataset_rows(asked, [("", "4")], [], None)
    assert row["system"] == "Add." and row["question"] == "2+2"


def test_replies_that_are_neither_right_nor_wrong_are_left_out_of_the_column():
    replies = [judged(0, "a", "not_gradable"), judged(1, "b", "malformed"), judged(2, "c", "wrong")]
    (row,) = dataset_rows(question(), [("", "")], [*replies, judged(3, "d", "unfinished")], replies)
    assert [r["content"] for r in row["replies"]] == ["c", "d"]
    assert [r["content"] for r in row["no_think_replies"]] == ["c"]


def test_further_rows_of_a_question_have_ids_of_their_own_and_no_replies():
    rows = list(dataset_rows(question(), [("", "a"), ("", "b"), ("", "c")], REPLIES, None))
    assert [row["id"] for row in rows] == ["math/q0", "math/q0#2", "math/q0#3"]
    assert [len(row["replies"]) for row in rows] == [6, 0, 0]


def test_rows_of_different_sources_have_the_same_columns_in_the_same_order_and_types():
    rows = same_columns([{"id": "a", "level": 3}, {"id": "b", "system": "s", "level": "hard"}])
    assert [list(row.items()) for row in rows] == [
        [("id", "a"), ("level", "3"), ("system", None)],
        [("id", "b"), ("level", "hard"), ("system", "s")],
    ]
    assert same_columns([{"n": 1}, {"n": None}]) == [{"n": 1}, {"n": None}]


def test_columns_that_only_group_questions_do_not_take_the_place_of_a_rows_own():
    raw = {"id": "raw", "replies": "raw", "system": "raw", "topic": "sums"}
    first, second = dataset_rows(question(**raw), [("", "a"), ("", "b")], [], None)
    assert (first["id"], second["id"], first["replies"]) == ("math/q0", "math/q0#2", [])
    assert first["topic"] == "sums" and "system" not in first


def test_what_json_cannot_hold_is_text_and_nan_is_null():
    day, price = datetime.date(2026, 3, 1), decimal.Decimal("1.50")
    told = {"day": day, "price": [price, 2, True], "level": math.nan, "more": {"at": day, "x": 0.5}}
    (row,) = dataset_rows(question(**told), [("", "4")], [], None)
    assert {name: row[name] for name in told} == {
        "day": "2026-03-01",
        "price": ["1.50", 2, True],
        "level": None,
        "more": {"at": "2026-03-01", "x": 0.5},
    }
    json.dumps(row, allow_nan=False)


@pytest.mark.parametrize(
    ("rate", "name"),
    [(0.0, "0"), (0.1, "0-1/4"), (0.25, "0-1/4"), (0.5, "1/4-1/2"), (0.75, "1/2-3/4")]
    + [(0.9, "3/4-1"), (1.0, "1"), (None, "unknown")],
)
def test_a_pass_rate_falls_into_its_bucket(rate, name):
    assert bucket(rate) == name


def entries():
    none = [judged(0, "a", "wrong"), judged(1, "b", "unfinished")]
    lost = [judged(0, "a", "not_gradable"), judged(1, "b", "malformed")]
    make = [
        (question("m/0", level=1), REPLIES[:4], ["too_long"], [30]),
        (question("m/1", level=5), none, [], []),
        (question("n/0", "other"), lost, [], []),
    ]
    return [
        Entry(q, said, bool(lengths), Counter(left_out), {"think_response": lengths})
        for q, said, left_out, lengths in make
    ]


def test_the_yield_counts_questions_and_replies_in_all_and_by_source_difficulty_and_pass_rate():
    told = tell(entries(), "level")
    whole = told["all"]
    assert (whole["questions"], whole["asked"], whole["kept"], whole["questions_right"]) == (
        *(3, 8),
        *(1, 1),
    )
    assert [whole[n] for n in ("right", "wrong", "unfinished", "malformed", "not_gradable")] == [
        *(3, 2, 1),
        *(1, 1),
    ]
    assert whole["too_long"] == 1 and whole["pass_rate"] == 3 / 6
    assert whole["pass_rates"] == {"0": 1, "1/2-3/4": 1, "unknown": 1}
    assert whole["kept_tokens"]["think_response"]["mean"] == 30
    assert list(told["by_source"]) == ["math", "other"]
    assert list(told["by_difficulty"]) == ["1", "5", "unknown"]
    assert list(told["by_pass_rate"]) == ["0", "1/2-3/4", "unknown"]
    for by in ("by_source", "by_difficulty", "by_pass_rate"):
        for name in ("questions", "asked", "right", "kept"):
            assert sum(part[name] for part in told[by].values()) == whole[name]


def test_the_ungraded_share_is_of_finished_replies():
    found = count(entries())
    assert ungraded_share(found) == 2 / 7
    assert ungraded_share(count([])) == 0.0


def test_a_difficulty_that_is_no_number_is_unknown_and_the_others_are_in_order():
    levels = [3, math.nan, 10, None, "nan", 2.5]
    told = tell([Entry(question(level=x), [], False, Counter(), {}) for x in levels], "level")
    assert list(told["by_difficulty"]) == ["2.5", "3", "10", "nan", "unknown"]
    assert told["by_difficulty"]["unknown"]["questions"] == 2
