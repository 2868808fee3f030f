"""What is read from the message of an endpoint's answer."""

import httpx
import pytest

from jaxreason.distill.endpoint import read_answer


def read(message):
    choice = {"message": message, "finish_reason": "stop"}
    return read_answer(httpx.Response(200, json={"choices": [choice]}))


@pytest.mark.parametrize(
    "fields, thought",
    [
        ({"reasoning_content": "T"}, "T"),
        ({"reasoning": "T"}, "T"),
        ({"thinking": "T"}, "T"),
        ({"reasoning": "T", "reasoning_content": ""}, "T"),
        ({"reasoning": "", "reasoning_content": "T"}, "T"),
        ({"reasoning": None, "reasoning_content": "\n\n", "thinking": "T"}, "T"),
        ({"reasoning": "T", "reasoning_content": None}, "T"),
        ({"reasoning": "T", "reasoning_content": "T"}, "T"),
        # Where two differ, the field counts that most servers have for the thought itself.
        ({"reasoning": "short", "thinking": "short", "reasoning_content": "T"}, "T"),
        ({"thinking": "short", "reasoning": "T"}, "T"),
        ({"reasoning_content": ""}, None),
        ({"reasoning_content": " \n"}, None),
        ({"thinking": {"type": "enabled"}, "reasoning": ["T"]}, None),
        ({"thinking": True}, None),
        ({}, None),
    ],
)
def test_a_thought_is_found_under_each_name_that_servers_use(fields, thought):
    answer = read({"content": "5", **fields})
    assert (answer.content, answer.reasoning) == ("5", thought)


def test_a_thought_keeps_its_white_space():
    assert read({"content": "5", "reasoning": "\nT\n"}).reasoning == "\nT\n"


def test_a_thought_without_an_answer_is_an_answer_too():
    answer = read({"content": None, "reasoning_content": "", "thinking": "T"})
    assert (answer.content, answer.reasoning) == ("", "T")
