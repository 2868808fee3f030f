import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.reply_text import (
    cut_at,
    last_boxed,
    score_both_ways,
    strip_role,
    strip_thinking,
)

THOUGHTS = [
    ("The answer is 5.", "The answer is 5."),
    ("<think>\n\n</think>\n\nThe answer is 5.", "\n\nThe answer is 5."),
    ("<think>Is it 4? No.</think>5", "5"),
    ("Is it 4? No.</think>5", "5"),  # the template put <think> into the prompt
    ("<think>a</think>b<think>c</think>d", "d"),
    ("<think>Is it 4? It is", ""),  # ran out of tokens
    ("5<think>or 6", "5"),
    ("<think>a</think>b<think>c", "b"),
    ("", ""),
]
BOXES = [
    (r"so \boxed{5}.", "5"),
    (r"\boxed{4} no, \boxed{5}", "5"),
    (r"\boxed{\frac{1}{2}}", r"\frac{1}{2}"),
    (r"\[ \boxed{\left\{ 1, 2 \right\}} \]", r"\left\{ 1, 2 \right\}"),
    (r"\fbox{7}", "7"),
    (r"\boxed {8}", "8"),
    (r"$\boxed 9$", "9"),
    (r"\boxed{10} and \boxed{11", "10"),  # the last box was cut off
    (r"\boxed{", None),
    (r"\boxed{}", None),
    (r"\boxed{5}. It stands in \boxed{ } as asked.", "5"),
    (r"\boxed{5}. It stands in \boxed{your\_answer} as asked.", "5"),
    (r"\boxed{5}. It stands in \boxed{\text{Final answer}} as asked.", "5"),
    (r"\boxed{5}. It stands in \boxed{\ldots}, not in \boxed{?} or \boxed{ \; }.", "5"),
    (r"\boxed{5}. It stands in \boxed{insert the answer here}", "5"),
    (r"\boxed{\text{yes}}", r"\text{yes}"),
    (r"\boxed{x}, the answer", "x"),
    (r"\boxed{answer}", None),
    (r"\boxed{6 \boxed{5}}", "5"),
    (r"\boxed{5} {\boxed{6", "5"),
    (r"} \boxed{5\}}", r"5\}"),
    ("5", None),
]


@pytest.mark.parametrize(("text", "answer"), THOUGHTS)
def test_thoughts_are_taken_away(text, answer):
    assert strip_thinking(text) == answer


@pytest.mark.parametrize(
    ("text", "reply"),
    [
        ("Assistant: 5", "5"),
        ("You are a helpful assistant.\n\nAssistant: 5", "5"),
        ("assistant\n5", "assistant\n5"),
        ("Assistants: 5", "Assistants: 5"),
        ("5\nAssistant: 6", "5\nAssistant: 6"),
        ("", ""),
    ],
)
def test_the_role_before_a_reply_is_taken_away(text, reply):
    assert strip_role(text) == reply


@pytest.mark.parametrize(("text", "content"), BOXES)
def test_the_last_complete_box_is_found_with_its_braces_balanced(text, content):
    assert last_boxed(text) == content


@pytest.mark.parametrize(
    ("text", "stripped", "unstripped", "answered"),
    [
        (r"\boxed{5}", 1.0, 1.0, 1.0),
        (r"<think>\boxed{4}</think>\boxed{5}", 1.0, 1.0, 1.0),
        (r"<think>it is \boxed{5}, or is it", 0.0, 1.0, 0.0),
        (r"<think>\boxed{5}</think>I give up", 0.0, 1.0, 0.0),
        (r"<think>\boxed{5}</think>\boxed{4}", 0.0, 0.0, 1.0),
        ("no idea", 0.0, 0.0, 0.0),
    ],
)
def test_a_reply_is_scored_with_and_without_its_thoughts(text, stripped, unstripped, answered):
    def grade(example, answer):
        return float(answer == example.answer)

    scores = score_both_ways(Example("1", "", (), "5", "", {}), text, last_boxed, grade)
    assert scores == {
        "accuracy": stripped,
        "accuracy_unstripped": unstripped,
        "answered": answered,
    }


ACPBENCH_STOPS = ("\n\n\n\n", "**Question**:", "**Question:**", "Q:")


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("**Final Answer**: B.\n\n**Question**: next", "**Final Answer**: B.\n\n"),
        ("B.\n\n\n\nA. **Question:** x Q: y", "B."),
        ("a Q: b **Question**: c", "a "),
        ("Q: b", ""),
        ("no stop here\n\n\n", "no stop here\n\n\n"),
        ("", ""),
    ],
)
def test_a_foreign_completion_is_cut_at_the_first_stop(text, kept):
    assert cut_at(text, ACPBENCH_STOPS) == kept


def test_an_empty_stop_and_no_stops_cut_nothing():
    assert cut_at("abc", ["", "b"]) == "a"
    assert cut_at("abc", [""]) == cut_at("abc", []) == "abc"
