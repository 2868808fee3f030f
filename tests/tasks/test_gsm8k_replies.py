"""Replies of chat and base models to GSM8K: headings, corrections, words around the number, other notations."""

import time

import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS


def accuracy(task, reply, gold):
    return TASKS[task].score(Example("1", task, (), gold, "", {}), reply)["accuracy"]


STEPS = "#### Step 1: Regular pay\n40*10=400\n#### Step 2: Overtime pay\n5*12=60\n\n"
# reply, the number in it; with other gold answers the reply is wrong.
HEADINGS = [
    (STEPS + r"Total: \boxed{460}", "460"),
    (STEPS + "400 + 60 = 460", "460"),
    (STEPS + "#### 460", "460"),
    (STEPS + "#### Final Answer\n460", "460"),
    (STEPS + "#### Final Answer:\n**$460** (40 + 5 hours)", "460"),
    (STEPS + "#### **Answer:** 460\nHe works 45 hours.", "460"),
    (STEPS + "#### Conclusion\nHe earns $460.", "460"),
    ("#### Step 1\nx\n#### Step 2\n400+60\n\\boxed{460}", "460"),
    ("#### 1. Regular pay\n400\n#### 2. Overtime\n60\n#### 3. Total pay\n400 + 60 = 460", "460"),
    ("#### 3. Total pay\n400 + 60 = 460", "460"),
    ("#### 3) Total pay\n400 + 60 = 460", "460"),
    ("#### **3. Total pay**\n400 + 60 = 460", "460"),
    ("#### a) 40 hours of work\n40*10=400\n#### b) 5 more hours\n60\nSo 460.", "460"),
    ("#### When $x = 3$:\n3 + 4 = 7", "7"),
    ("#### Pay for 40 hours\n400\n#### Pay for 5 hours\n60\nTotal 460", "460"),
    ("#### Calculating the cost of 5 apples\n5 * 2 = 10", "10"),
    ("#### Day 5: eggs\n18 + 2 = 20", "20"),
    ("#### 18\n\n#### Explanation\n16 - 3 - 4 = 9 eggs, and 9 * 2 = 18. She has 7 days.", "18"),
    ("#### 18 dollars\n#### Check\n9 * 2", "18"),
    ("#### 17\nWait, that is wrong: 9 * 2 = 18.\n\\boxed{18}", "18"),
    ("\\boxed{17}\nNo.\n#### 18", "18"),
    ("#### 18\nIt stands in \\boxed{x} as asked.", "18"),
    ("#### The total is 5 + 3: \\boxed{8}", "8"),
    ("##### Step 2: Sum\n5 + 3 = 8", "8"),
    # the mark still counts
    ("#### 18 dollars for 2 days\nHope it helps!", "18"),
    ("#### 18. She needs 3 more days.\nGood luck for the 2 tests.", "18"),
    ("#### 18.\n(3 + 4 are gone.)", "18"),
    ("#### Total: 18\n(9 eggs for $2)", "18"),
    ("#### Janet makes $18 a day\n(9 eggs for $2)", "18"),
    ("#### The answer is 18.\n(9 eggs for $2)", "18"),
    ("#### x = 18\n(9 eggs for $2)", "18"),
    ("####\n18", "18"),
    ("The eggs bring 9 * 2 = 18 dollars. #### 18", "18"),
    ("#### Step 3: Total = 460", "460"),
    ("<think>#### 17\n\\boxed{17}</think>\n#### 18", "18"),
    # another question follows
    ("It is 9 * 2.\n#### 18\n\nQuestion: Tom has 5 apples and eats 3. How many?\nAnswer: 2\n#### 2", "18"),
    ("The answer is 18.\n\nQ: Tom has 5 apples and eats 3. How many are left?\nA: 2", "18"),
    ("\\boxed{18}\n\nQuestion: Tom has 5 apples. He eats 3. How many are left?", "18"),
    ("Question: Janet has 16 eggs, how many are left?\nAnswer: 16 - 7 = 9\n#### 9", "9"),
    ("Problem: Janet has 16 eggs, how many are left?\nSolution: 16 - 7 = 9", "9"),
    # the last sentence announces it
    ("9 * 2 = 18. So the answer is $18 for 2 days.", "18"),
    ("The answer is 18, not 19.", "18"),
    ("Therefore she makes 18 dollars, not 19.", "18"),
    ("The answer is 9 * 2 = 18.", "18"),
    ("The answer is 17. Wait, 9 * 2 = 18. She makes 18.", "18"),
    ("The answer is 2 days at 9 dollars, so 18", "18"),
    ("It is not 17, it is 18.", "18"),
    # a line with the answer, and an explanation below it
    ("**Answer: 18**\n\n(She sells 9 eggs at $2.)", "18"),
    ("So 18.\n\n### Final Answer\n**18**\n\n(for 2 days)", "18"),
    ("**Final Answer:** $18\n\n**Explanation:** 9 eggs at $2.", "18"),
    ("Answer: 17\n\n(Wait, 9 * 2 = 18.)", "18"),
    ("Answer: 17\n\nNo. 9 * 2 = 18", "18"),
    # an answer that is taken back, after it was marked
    ("\\boxed{17}\nWait, that's wrong. The answer is 18.", "18"),
    ("#### 17\nOops, that is incorrect. So the answer is $18.", "18"),
    # formulas
    ("the answer is $$-18$$", "-18"),
    ("the answer is $$18$$", "18"),
    ("$$\\boxed{\\begin{aligned}x&=18\\end{aligned}}$$", "18"),
    ("\\boxed{\\begin{gathered}18\\end{gathered}}", "18"),
]  # fmt: skip


@pytest.mark.parametrize("task", ["gsm8k", "gsm8k_strict"])
@pytest.mark.parametrize(("reply", "number"), HEADINGS)
def test_a_heading_is_no_answer_and_a_later_box_goes_before_a_mark(reply, number, task):
    assert TASKS[task].extract(Example("1", task, (), number, "", {}), reply) == number
    assert accuracy(task, reply, number) == 1.0
    assert [
        n
        for n in ["1", "2", "3", "5", "7", "400", "60"]
        if n != number and accuracy(task, reply, n)
    ] == []


def test_a_reply_that_was_cut_off_in_a_heading_does_not_answer_with_its_number():
    assert accuracy("gsm8k_strict", "#### Step 1: Pay\n#### Step 2: More", "2") == 0.0
    assert accuracy("gsm8k_strict", "#### Step 2", "2") == 0.0


# Words that make a number another one, or that leave it open.
HEDGED = ["5 or more", "5 or six", "5 and six", "5 factorial", "5 hours and thirty minutes", "5 or so",
          "5 or fewer", "5 apples or six", "5 apples and two pears", "5 to six", "5 plus twelve",
          "5 hours thirty minutes", "5 dozens", "5 hundreds", "5 tenths", "5 hundredths", "5 point five",
          "5 point 5", "5% of 60", "5 percent of 60", "5 divided by two", "5 at most", "5 at least",
          "5 lakh", "5 crore", "5 (or more)", "5 (or six)", "5 minus twenty", "5 or maybe six",
          "5 and three quarters", "5 to the fourth", "5 apples or more", "5 choose two", "5 feet six inches",
          "5 or higher", "5 apples, or six", "5 x 10", "5 mod three", "5 over two", "5 or a few more",
          "5 thirds", "5 (five or six)", "5 multiplied by two", "5 raised to two", "5e", "5_8", "5_{8}",
          "5 out of 6", "5 (corrected to 6)", "5 no wait 6", "5. Wait, it is 6", "5 Actually 6", "5ish", "5-ish",
          "5, no, 6", "5 dollars, I mean 6", "5. Sorry, it should be 6", "5/day 6", "5 remainder 1"]  # fmt: skip
PLAIN = ["5 points", "5 quarters", "5 dollars for two days", "5 dollars in two days and three nights",
         "5 of the eight apples", "5 (five)", "5 apples, one for each", "5 in total", "5 more",
         "5 apples and pears", "5 percent", "5 times", "5 times as many", "5 feet", "5 oranges", "5 pairs",
         "5 hours", "5 pounds of apples", "5 apples for each of the two", "$5", "\u20ac5", "5 \u20ac", "\u00a35",
         "US$5", "5 USD", "5.00", "$5.00", "5%", "**5** apples", "5 mph", "5 sq. ft.", "5 cm\u00b3",
         "5_{10}", "five", "Five apples", "\\text{five}", "5 apples (and pears)", "5!\\!", "about 5",
         "5 overtime hours", "5 orders", "5 andirons", "5 tomatoes", "5 tons", "5 minutes",
         "$5/day", "5/hour", "__5__", "5</s>",
         "5, because 2 are gone", "5 apples, since 2 are gone", "5 instead of 6", "5 with no 3"]  # fmt: skip


@pytest.mark.parametrize("place", ["#### {}", "\\boxed{{{}}}"])
@pytest.mark.parametrize("task", ["gsm8k", "gsm8k_strict"])
def test_words_that_make_a_number_another_one_are_no_unit(place, task):
    found = {part: accuracy(task, place.format(part), "5") for part in HEDGED}
    assert found == dict.fromkeys(HEDGED, 0.0)
    plain = [part for part in PLAIN if "!" not in part]
    assert {part: accuracy(task, place.format(part), "5") for part in plain} == dict.fromkeys(
        plain, 1.0
    )


def test_an_exclamation_mark_in_a_box_is_a_factorial():
    assert accuracy("gsm8k", r"\boxed{5!}", "5") == 0.0
    assert accuracy("gsm8k", r"\boxed{5\!}", "5") == 1.0
    assert accuracy("gsm8k", "#### 5!", "5") == 1.0


NOTATIONS = [  # place, gold answer
    ("1e3", "1000"), ("1E3", "1000"), ("2.5e3", "2500"), ("5e-1", "0.5"), ("1'000", "1000"),
    ("1\u2019000", "1000"), ("1'234'567.5", "1234567.5"), ("1 000", "1000"), ("1\u202f000", "1000"),
    ("1\u00a0200", "1200"), ("$1 000", "1000"), ("1 000 000", "1000000"),
    ("1\\ 000", "1000"), ("1~000", "1000"), ("1\uff0c000", "1000"),
]  # fmt: skip
MARKED_NOTATIONS = [
    ("fifteen", "15"), ("Fifteen dollars", "15"), ("fifteen hundred", "1500"), ("minus five", "-5"),
    ("one hundred and twenty-five", "125"), ("two thousand three hundred", "2300"), ("zero", "0"),
    ("a hundred", "100"), ("15_{10}", "15"), ("15_{\\text{ten}}", "15"), ("forty two apples", "42"),
]  # fmt: skip


@pytest.mark.parametrize("task", ["gsm8k", "gsm8k_strict"])
@pytest.mark.parametrize(("number", "gold"), NOTATIONS + MARKED_NOTATIONS)
def test_other_notations_of_a_number_have_its_value(number, gold, task):
    places = ["#### {}", "\\boxed{{{}}}"]
    places += ["The answer is {}."] if (number, gold) in NOTATIONS else []
    for place in places:
        assert accuracy(task, place.format(number), gold) == 1.0
        assert accuracy(task, place.format(number), "3") == 0.0


@pytest.mark.parametrize(
    ("reply", "gold", "right"),
    [
        ("#### \u00bd", "0.5", 1), ("The answer is \u00bd.", "0.5", 1), ("It is 7\u00bd", "7", 0),
        ("It is 7\u00bd.", "7.5", 1), ("It is 7 1/2.", "7.5", 1), ("It is 7 1/2.", "0.5", 0),
        ("#### 15 hundred", "1500", 1), ("#### 1.5 million dollars", "1500000", 1),
        ("#### $1.5M", "1500000", 1), ("#### $2k", "2000", 1), ("#### 2k", "2", 0), ("#### 2 M", "2000000", 0),
        (r"\boxed{\$70K}", "70000", 1), (r"\boxed{\$1.5\text{ million}}", "1500000", 1),
        (r"\boxed{1.5 \text{ million}}", "1500000", 1), ("#### 1.5 million", "1.5", 0),
        ("#### 15 hundred", "15", 0), ("It is 1e3", "3", 0),
        ("minus 3", "-3", 1), ("Answer: negative 3", "-3", 1), ("x = minus 3", "-3", 1), ("5 minus 3", "3", 1),
        (r"\boxed{five or six}", "5", 0), (r"\boxed{one third}", "1", 0), ("#### one half", "1", 0),
        ("#### five hundredths", "5", 0), (r"\boxed{five six}", "11", 0), ("2 200 gram bags", "200", 1),
        ("The answer is 1 000.", "0", 0), ("The numbers are 3 100", "100", 1), ("1'00", "100", 0),
        ("Step 1: 48\nStep 2: 24\nStep 3: 72", "72", 1), ("It is `$-7$`.", "-7", 1),
        ("5'11", "11", 1), ("#### One more thing", "1", 0), ("#### Two cases\n3 + 4 = 7", "7", 1),
    ],
)  # fmt: skip
def test_a_fraction_or_a_group_of_digits_is_not_read_in_part(reply, gold, right):
    assert accuracy("gsm8k", reply, gold) == right
    assert accuracy("gsm8k_strict", reply, gold) <= right


AFTERWARDS = [  # reply, the number that it gives although others follow
    ("The answer is 36, since there are 3 groups of 12.", "36"),
    ("The answer is $18$, which is 2 times 9.", "18"),
    ("The answer is 18, which comes from 9 and 9. Wait, it is 20.", "20"),
    ("So the answer is 36 hours because he works 3 days of 12 hours.", "36"),
    ("The answer is 37 because 36 is too few.", "37"),
    ("The answer is 36 because 3 * 12 = 36. So with 1 more it is 37.", "37"),
    ("The answer is 12 because 3 * 4 = 12.\n\nAdding 5 gives 17.", "17"),
    ("**Answer: 36 apples** (he gave 4 away)", "36"),
    ("Answer: 36\n\nLet me know if you have 2 more questions!", "36"),
    ("Answer: 36\n\nFeel free to ask for the other 3 parts. Wait, it is 37.", "37"),
    ("**Final Answer:** 36 hours (12 hours x 3 days)", "36"),
    ("Answer: 36 (or 37)", "37"),
    ("Answer: 12 (per box)\nThere are 3 boxes: 36", "36"),
    ("So the answer is 36 as well as 37.", "37"),
    ("Answer: 37 (not 36)", "37"),
    ("So, the answer is $36$ hours.\n\n---\n\n**Note:** he works 7 days.", "36"),
    ("He works **36 hours**.\n\n*Note: This assumes 3 days of 12 hours.*", "36"),
    ("He works 36 hours.\n\nVerification: 36 / 12 = 3", "36"),
    ("He works 36 hours.\n\nCheck: 12 + 25 = 37", "37"),
    ("He works 36 hours.\n\nNote: that is wrong, it should be 37.", "37"),
    ("Note: 36", "36"),
    ("A: 36\n\nQ: There are 15 trees in the grove.\nA: 6", "36"),
]


@pytest.mark.parametrize("task", ["gsm8k", "gsm8k_strict"])
@pytest.mark.parametrize(("reply", "number"), AFTERWARDS)
def test_reasons_notes_and_checks_leave_the_number_before_them_the_answer(reply, number, task):
    assert accuracy(task, reply, number) == 1.0
    assert accuracy(task, reply, "36") == float(number == "36")


DRESSED = ["\\mathbf{36}", "\\boldsymbol{36}", "\\displaystyle 36", "\\color{blue}{36}", "\\textcolor{red}{36}",
           "\\underline{36}", "\\bf 36"]  # fmt: skip


@pytest.mark.parametrize("place", ["\\boxed{%s}", "#### $%s$"])
@pytest.mark.parametrize("number", DRESSED)
def test_a_number_counts_however_it_looks(number, place):
    assert accuracy("gsm8k_strict", place % number, "36") == 1.0
    assert accuracy("gsm8k_strict", place % number.replace("36", "3^6"), "36") == 0.0


@pytest.mark.parametrize(
    "unit",
    ["#### Step 1: ", "#### Step 1\n", "#### 1. a\n", "1 000 ", "1'000", "1e3 ", "five hundred ", "Question: 1\n",
     "the answer is 1 ", "\u00bd", "#### Pay for 5 ", "#### 5 apples and ", "5 a, ", "one ", "not 5, "],
)  # fmt: skip
def test_long_replies_are_graded_fast(unit):
    for text in ((unit * 100_000)[:100_000], "#### " + (unit * 100_000)[:100_000]):
        start = time.monotonic()
        accuracy("gsm8k", text, "5")
        assert time.monotonic() - start < 20
