import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS

GSM8K = [  # the ends of real replies and solutions
    ("He sells 16 - 3 - 4 = <<16-3-4=9>>9 eggs.\nHe makes 9 * 2 = $18 a day.\n#### 18", "18", 1),
    ("#### 18 dollars for 2 days", "18", 1),
    ("#### The answer is $1,234.00", "1234", 1),
    ("#### 17\nWait, that was wrong.\n#### 18", "18", 1),
    ("Janet makes \\(9 \\times 2 = 18\\) dollars.\n\n\\[\n\\boxed{18}\n\\]", "18", 1),
    (r"\boxed{\$18}. This is for 7 days.", "18", 1),
    (r"\boxed{9 \times 2 = 18}", "18", 1),
    (r"\boxed{18 \text{ m}^2}", "18", 1),
    (r"\boxed{70{,}000}", "70000", 1),
    (r"\boxed{70 000}", "70000", 1),
    (r"\boxed{x}, so 18", "18", 1),
    ("Therefore, Janet makes $18 every day at the farmers' market.", "18", 1),
    ("The profit is **$70,000**.", "70000", 1),
    ("It takes 3 bolts in total.", "3", 1),
    ("It takes 3 bolts in 2 days.", "3", 0),
    ("#### 19", "18", 0),
    (r"\boxed{81}", "18", 0),
    ("####", "18", 0),
    ("I do not know.", "18", 0),
    ("", "18", 0),
    ("<think>It is 18", "18", 0),
    ("<think>16 - 3 = 13</think>The answer is 18.", "18", 1),
]
SUMS = [
    ("4 + 3 = 7", "7", 1),
    ("The answer is 7.", "7", 1),
    ("The answer is -2.", "-2", 1),
    ("3 - 5 = -2", "-2", 1),
    ("3 - 5 = \u22122", "-2", 1),
    ("5-2", "2", 1),  # a minus between numbers subtracts
    ("5 -2", "-2", 1),
    ("(5)-2", "2", 1),
    ("7.0", "7", 1),
    ("0.5", ".5", 1),
    ("It is .50", "0.5", 1),
    ("$1,000,000", "1000000", 1),
    ("1,2,3", "3", 1),
    ("7 m^2", "7", 1),
    ("7 is the sum of 4 and 3", "7", 0),
    ("seven", "7", 0),
    ("", "7", 0),
]


def accuracy(task, reply, answer):
    return TASKS[task].score(Example("1", task, (), answer, "", {}), reply)["accuracy"]


@pytest.mark.parametrize(("reply", "answer", "right"), GSM8K)
def test_a_gsm8k_answer_follows_four_hashes_or_stands_in_a_box_or_last(reply, answer, right):
    assert accuracy("gsm8k", reply, answer) == right


@pytest.mark.parametrize(("reply", "answer", "right"), SUMS)
def test_a_sum_is_answered_by_the_last_number(reply, answer, right):
    assert accuracy("last_number", reply, answer) == right


PARTS = ["5)(6)(7", "5?6?7", "5/6", "5:06", "5, 6", "5 or 6", "5\\times 10^3", "5 million", "5^6",
         "\\frac{5}{6}", "5\\sqrt{2}", "5-6", "5 (6)", "5...6",
         "5 dozen", "5k", "5\u00bd", "\u00bd5", "5\u00b2", "5 squared", "5 minus one", "5 less 1",
         "5 more than 6", "5 (or 6)", "not 5, it is 6", "half of 5", "twice 5", "5 versus 6",
         "5 (wrong)", "5 is incorrect", "5 (not right)", "5 apples and 6 pears", "5 apples, 6 pears",
         "5 red apples or 6", "5 and a half", "more than 5", "less than 5", "5 & 6",
         ">5", "at least 5", "up to 5", "5x", "5 feet 2 inches", "5 hours and 30 minutes", "5 200",
         "5 lb 3 oz"]  # fmt: skip
WHOLE = [
    "5 dollars for 2 days",
    "**5**",
    "$5$",
    "x = 5",
    "5, which is 3 more",
    "5 km",
    "5 m\u00b2",
    "The half is 5",
    "5 (five)",
    "5 (2 each)",
    "5 m^2",
    "5 dollars for 2 days and 3 nights",
    "5 each",
    "5 apples and pears",
    "5 hours for 2 days",
    "Total -> 5",
]
FRACTIONS = [  # place, gold answer, whether it has that value; none is written out
    (r"\boxed{36/2}", "18", 1),
    (r"\boxed{36/2}", "36", 0),
    (r"\boxed{\frac{36}{2}}", "18", 1),
    (r"\boxed{\dfrac{36}{2} \text{ dollars}}", "18", 1),
    ("#### 36/2 dollars", "18", 1),
    ("#### 3/4", "0.75", 1),
    ("#### 3/4", "3", 0),
    ("#### 4 1/2", "4.5", 1),
    ("#### 1/0", "1", 0),
    ("#### 36 / 2 = 18", "18", 1),
    (r"\boxed{\frac12}", "0.5", 1),
    (r"\boxed{3\tfrac12}", "3.5", 1),
    ("#### 7\u00bd", "7.5", 1),
    ("#### 7 million", "7000000", 1),
    (r"\boxed{7\cdot 10^3}", "7000", 1),
    (r"\boxed{7\cdot 10^3}", "7", 0),
    ("He has **$1.5 million**.", "1500000", 1),
    ("He has $1.5 million.", "1.5", 0),
    ("It costs $70k.", "70000", 1),
    ("It costs $70k.", "70", 0),
]
# Gold answers that are no plain numbers.
OTHER_GOLDS = [
    ("The answer is 0.5", "1/2", 1),
    ("The answer is 1/2", "1/2", 1),
    ("The answer is 0.4", "1/2", 0),
    ("It is 7.5", "7 1/2", 1),
    ("at 9:30", "9:30", 1),
    ("at 9", "9:30", 0),
]


@pytest.mark.parametrize(("place", "gold", "right"), OTHER_GOLDS)
def test_a_gold_fraction_or_time_is_compared_with_plain_numbers(place, gold, right):
    assert accuracy("gsm8k", place, gold) == accuracy("gsm8k_strict", place, gold) == right


MINUSES = [
    "\u20135",
    "- 5",
    "minus 5",
    "negative 5",
    "$\u20135$",
    "{-}5",
    "\\text{-}5",
    "$-5",
    "-$5",
]


@pytest.mark.parametrize("place", ["#### {}", "\\boxed{{{}}}"])
def test_a_marked_number_may_be_negative_in_any_way_of_writing(place):
    for task in ("gsm8k", "gsm8k_strict"):
        found = {m: accuracy(task, place.format(m), "-5") for m in MINUSES}
        assert found == dict.fromkeys(MINUSES, 1.0)
        found = {m: accuracy(task, place.format(m), "5") for m in MINUSES}
        assert found == dict.fromkeys(MINUSES, 0.0)
    assert accuracy("gsm8k", "The answer is \u20135.", "-5") == 1
    assert accuracy("gsm8k", "The answer is minus 5.", "-5") == 1
    assert accuracy("gsm8k", "It is 10 minus 5", "5") == 1
    assert accuracy("gsm8k", "pages 3\u20135", "5") == 1


@pytest.mark.parametrize("place", ["#### {}", "\\boxed{{{}}}"])
def test_a_marked_place_is_worth_its_number_only_if_it_holds_nothing_else(place):
    assert {part: accuracy("gsm8k", place.format(part), "5") for part in PARTS} == dict.fromkeys(
        PARTS, 0.0
    )
    assert {text: accuracy("gsm8k", place.format(text), "5") for text in WHOLE} == dict.fromkeys(
        WHOLE, 1.0
    )


@pytest.mark.parametrize(("place", "gold", "right"), FRACTIONS)
def test_a_fraction_has_its_value_and_is_not_written_out(place, gold, right):
    assert accuracy("gsm8k", place, gold) == right
    assert accuracy("gsm8k_strict", place, gold) == float(place.endswith("= 18"))


@pytest.mark.parametrize(("reply", "answer", "right"), GSM8K + SUMS)
def test_numbers_that_are_written_out_are_right_in_the_strict_tasks_too(reply, answer, right):
    task = "gsm8k_strict" if (reply, answer, right) in GSM8K else "last_number_strict"
    assert accuracy(task, reply, answer) == right


def test_a_sign_inside_dollars_counts_and_a_fraction_at_the_end_is_not_its_denominator():
    assert accuracy("gsm8k", "The answer is $-3$.", "-3") == 1
    assert accuracy("gsm8k", "The answer is $-3$.", "3") == 0
    assert accuracy("last_number", "It is 3/4", "4") == 0


def test_a_worked_solution_may_be_the_gold_answer():
    assert (
        accuracy("gsm8k", "15", "9 + 6 = <<9+6=15>>15 liters out of the 24 liters.\n#### 15") == 1
    )


def test_a_gold_answer_without_a_number_is_an_error():
    with pytest.raises(ValueError, match="'1': the gold answer 'seven' has no number"):
        accuracy("last_number", "7", "seven")
