import time

import pytest

from jaxreason.tasks.announced_answers import announced_answer

ANNOUNCED = [
    ("So, the final answer should be 144.", "144"),
    ("the expression equals 1, the final answer should be just 1.", "1"),
    ("In all cases (whether x = 1 or not), the final answer should be just 1.", "1"),
    ("Therefore the answer would be $\\frac{1}{2}$, since it is half.", r"\frac{1}{2}"),
    ("Thus, the answer is 58.", "58"),
    ("Therefore, the final answer is:\n\n\\[ 5 \\]\n", "5"),
    ("The answer to the problem is \\(x^2\\).", "x^2"),
    ("**Answer:** 14/3. It is more than 4.", "14/3"),
    ("Answer = 7", "7"),
    ("The answer must be 3.5", "3.5"),
    ("The answer comes out to be 12 cm", "12 cm"),
    ("The answer is 5. No, the answer is 6.", "6"),
    ("The answer is simply a + b.", "a + b"),
    ("The answer is therefore, 8.", "8"),
    ("The answers are 3 and 4.", "3 and 4"),
    ("The answer is north", "north"),
    ("There are 12 and 24. So we get a total of 36 ways.", "36 ways"),
    ("Altogether that makes a total of $36$.", "36"),
    ("**Final Answer**\n144", "144"),
    ("**Final Answer**\n\n**144**", "144"),
    ("### Answer\n\n\\[ 144 \\]\n", "144"),
    ("## Final answer\n$x^2$", "x^2"),
    ("## Final answer\n\\[\n144\n\\]\nas asked.", "144"),
    ("The answer is:\n$$\n144\n$$", "144"),
    ("The answer is 144.\n\n## Answer\nSee above, it is the number.", "144"),
    ("<answer>144</answer>", "144"),
    ("<answer>\n$x^2$\n</answer>", "x^2"),
    ("It is short.\n<answer> \\frac{3}{4} </answer>\nDone.", r"\frac{3}{4}"),
    ("The answer is 144, not 145.", "144"),
    ("The answer is $144$, not 145.", "144"),
    ("The answer is 144 rather than 145.", "144"),
    ("\u7b54\u6848\u662f144\u3002", "144"),
    ("\u7b97\u51fa\u6765\u4e86\u3002\u6700\u7ec8\u7b54\u6848\u4e3a\uff1a$x^2$\u3002", "x^2"),
    ("\u7b54\u6848\uff1a144\uff0c\u56e0\u4e3a12*12=144\u3002", "144"),
]
NOT_ANNOUNCED = [
    "Maybe the answer is 5.",
    "Perhaps the final answer should be 5.",
    "Earlier, I thought the answer is 5.",
    "If the answer is 5 then we are done.",
    "Suppose the answer is 5.",
    "I doubt whether the answer is 5.",
    "I am not sure the answer is 5.",
    "Is it true that the answer is 5?",
    "The answer is not 5.",
    "The answer isn't 5.",
    "The answer is supposed to be 5.",
    "The answer is likely 5.",
    "The answer should be a whole number, 5 or more.",
    "The answer should be in the form \\(p/q\\).",
    "The answer should be expressed as a common fraction.",
    "The answer should be given as 5/6.",
    "The answer is between 5 and 6.",
    "The answer is either 5 or 6.",
    "The answer is at least 5.",
    "The answer is \\boxed{}",
    "The answer is ...",
    "Say the answer is 5.",
    "So we get a total of 36 ways.\nNow subtract 12.",
    "We need a total of 36.",
    "**Final Answer**",
    "**Final Answer**\nIt is not known.",
    "The answer is not 145, not 144.",
    "\u7b54\u6848\u662f\u4e0d\u662f144\uff1f",
    "\u7b54\u6848\u4e0d\u662f144\u3002",
    "\u53ef\u80fd\u7b54\u6848\u662f144\u3002",
    "\u5982\u679c\u7b54\u6848\u662f144\u3002",
    "\u7b54\u6848\u662f144\u5417\uff1f",
    "5",
    "answered: by 5 people",
    "",
]


@pytest.mark.parametrize(("text", "answer"), ANNOUNCED)
def test_the_last_announced_answer_is_found(text, answer):
    assert announced_answer(text) == answer


@pytest.mark.parametrize("text", NOT_ANNOUNCED)
def test_a_guess_a_question_or_a_word_on_the_form_announces_nothing(text):
    assert announced_answer(text) is None


def test_a_dollar_sign_within_a_formula_does_not_end_it():
    assert announced_answer(r"The answer is $\$18.90$.") == r"\$18.90"


def test_what_is_not_announced_does_not_hide_what_was():
    assert announced_answer("The answer is 5. Wait, the answer should be a fraction.") == "5"


def test_a_value_that_is_left_open_stays_whole_so_that_it_equals_nothing():
    assert announced_answer("The answer is 5, not sure.") == "5, not sure"
    assert announced_answer("The answer is 5, not 6 or 7.") == "5"


@pytest.mark.parametrize(
    "unit", [" \n", " ", "*", "answer\n", "\u7b54\u6848\u662f", "5, not 5, ", "$$"]
)
def test_announcements_in_long_replies_are_found_fast(unit):
    for start in ("", "The answer to the question ", "The answer is "):
        begun = time.monotonic()
        announced_answer(start + (unit * 100_000)[:100_000])
        assert time.monotonic() - begun < 20
