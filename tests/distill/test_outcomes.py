"""What a reply is: thoughts, text, and whether it is right, wrong or neither."""

import math

import pytest

from jaxreason.distill.judging import judge, needs_verdict, split_reply


def reply(content, reasoning=None, finish_reason="stop"):
    return {
        "sample": 3,
        "content": content,
        "reasoning_content": reasoning,
        "finish_reason": finish_reason,
        "num_tokens": 7,
    }


def verdict(correct=1.0, extracted="4", error=None):
    return {"correct": correct, "extracted": extracted, "error": error}


@pytest.mark.parametrize(
    ("content", "reasoning", "thoughts", "text", "whole"),
    [
        ("4", None, "", "4", True),
        ("<think>\n2+2\n</think>\n\n4\n", None, "2+2", "4", True),
        ("2+2\n</think>\n\n4", None, "2+2", "4", True),  # the prompt opened it
        ("<think>\n\n</think>\n\n4", None, "", "4", True),
        ("4", "2+2", "2+2", "4", True),
        ("4", " \n", "", "4", True),
        ("", "2+2", "2+2", "", True),
        ("<think>2+2", None, "2+2", "", True),  # never closed: all of it is thought
        ("4 <think>2+2", None, "2+2", "4", False),  # the thought would come before the text
        ("<think>a</think>b</think>4", None, "a", "b</think>4", False),
        ("<think>a<think>b</think>4", None, "a<think>b", "4", False),
        ("Well. <think>a</think>4", None, "Well. <think>a", "4", False),
        ("a</think>4", "2+2", "2+2", "a</think>4", False),
    ],
)
def test_a_reply_is_split_at_its_think_block_and_marks_that_are_left_over_are_seen(
    content, reasoning, thoughts, text, whole
):
    parts = split_reply(content, reasoning)
    assert (parts.thoughts, parts.text, parts.whole) == (thoughts, text, whole)


@pytest.mark.parametrize(
    ("line", "found", "outcome"),
    [
        (reply("4"), verdict(), "right"),
        (reply("5"), verdict(0.0, "5"), "wrong"),
        (reply("5"), verdict(0.5, "5"), "wrong"),
        (reply("well"), verdict(0.0, None), "no_answer"),
        (reply(" \n"), None, "no_answer"),
        (reply("<think>4"), None, "no_answer"),
        (reply("4", finish_reason="length"), verdict(), "unfinished"),
        (reply("4", finish_reason="content_filter"), verdict(), "unfinished"),
        (reply("<think>a</think>b</think>4"), verdict(), "malformed"),
        (reply("4 <think>a"), verdict(), "malformed"),
        (reply("4"), verdict(None, None, "timeout: no verdict"), "not_gradable"),
        (reply("4"), None, "not_gradable"),
        (reply("4"), verdict(math.nan), "not_gradable"),
        (reply("4"), verdict(math.inf), "not_gradable"),
        (reply("", finish_reason="error: 400 Bad Request"), None, "not_gradable"),
    ],
)
def test_a_reply_is_right_only_if_it_ended_by_itself_whole_and_the_grader_says_so(
    line, found, outcome
):
    assert judge(line, found).outcome == outcome


def test_a_reply_that_thinks_though_it_was_asked_not_to_is_not_what_was_asked_for():
    assert judge(reply("4", "2+2"), verdict(), thinking=False).outcome == "malformed"
    assert judge(reply("4", "2+2"), verdict(), thinking=None).outcome == "right"
    assert judge(reply("<think></think>4"), verdict(), thinking=False).outcome == "right"


def test_no_grader_is_asked_about_a_reply_that_is_not_right_anyway():
    asked = [reply("4"), reply("<think>a</think>4"), reply("4", "a")]
    spared = [reply("4", finish_reason="length"), reply(""), reply("a</think>b</think>4")]
    spared.append(reply("", finish_reason="error: 400"))
    assert all(map(needs_verdict, asked)) and not any(map(needs_verdict, spared))


def test_the_column_has_the_reply_in_the_form_that_training_reads():
    assert judge(reply("<think>a</think>4"), verdict()).to_json() == {
        "content": "4",
        "reasoning_content": "a",
        "correct": 1,
        "finish_reason": "stop",
        "tokens": 7,
    }
    assert judge(reply("5"), verdict(0.0, "5")).to_json()["correct"] == 0
    assert judge(reply("5"), verdict(0.0, "5")).to_json()["reasoning_content"] is None
