import pytest

from jaxreason.data.examples import Example
from jaxreason.tasks.registry import TASKS

CHOICES = {
    "label": ["A", "B", "C", "D"],
    "text": [
        "sail from location c2 to location l1",
        "unload the car c7 from the ferry to location l0",
        "unload the car c3 from the ferry to location c7",
        "debark",
    ],
}
REPLIES = [
    ("B", "B"),
    ("B.", "B"),
    ("(B)", "B"),
    ("(b)", "B"),
    ("b", "B"),
    ("**B**", "B"),
    ("B. unload the car c7 from the ferry to location l0", "B"),
    ("B) unload the car", "B"),
    ("Answer: B", "B"),
    ("**Final Answer**: B", "B"),
    ("**Final Answer:** (C)", "C"),
    ("The correct answer is B. unload the car c7 from the ferry.", "B"),
    ("The answer is **D**, since the ferry is at a location with a car.", "D"),
    ("The answer is A.", "A"),
    ("The answer is A", "A"),
    ("The answer is A because the ferry is at l1.", "A"),
    ("So the correct option is: C", "C"),
    (r"The final answer is \(\boxed{D}\). It is a fact.", "D"),
    (r"\boxed{\text{B}}", "B"),
    (r"\boxed{B. unload}", "B"),
    ("The answer is a car.", None),
    ("A car is at a location.", None),
    ("It is a plan that needs a ferry.", None),
    ("Answer: A car that is on the ferry can be unloaded. So it is C", "C"),
    ("A is false. B is false. D is true.", "D"),
    ("Option A is impossible. The correct answer is option B.", "B"),
    ("The correct answer is option B. Option A is impossible.", "B"),
    ("The answer is C. Option B is wrong.", "C"),
    ("Between A and B, B is right.", "B"),
    ("The answer is B, not C", "B"),
    ("The answer is B, A is wrong", "B"),
    ("A or B", None),
    ("The answer is B or C", None),
    ("The answer is (B) and (C)", None),
    ("The answer is B and C, both are right", None),
    ("Answer: B/C", None),
    ("Answer: B, C", None),
    ("The answer is not B", None),
    ("The correct option is not (B)", None),
    ("It isn't B", None),
    ("Answer: neither B", None),
    ("All but B", None),
    ("I would exclude B", None),
    ("Option B is incorrect", None),
    ("Not A, not C, not D, not B", None),
    ("Therefore the answer is B. A car cannot be on a ferry and at a location.", "B"),
    ("Step 1: look at A.\nStep 2: look at B.\nAnswer: B\n\nThis is a valid plan.", "B"),
    ("Only one can be applied: unload the car c7 from the ferry to location l0", "B"),
    ("The answer is (a).", "A"),
    ("I think D", "D"),
    ("E", None),
    ("DEBARK THE CAR", "D"),
    ("", None),
    ("<think>Answer: A</think>Answer: B", "B"),
    ("<think>It could be A", None),
]


def example(answer: str, metadata: dict) -> Example:
    return Example("1", "multiple_choice", (), answer, "", metadata)


@pytest.mark.parametrize(("reply", "letter"), REPLIES)
def test_the_chosen_letter_is_found_and_the_article_is_not(reply, letter):
    task = TASKS["multiple_choice"]
    item = example("B", {"choices": CHOICES})
    assert task.extract(item, reply) == letter
    scores = task.score(item, reply)
    assert scores["accuracy"] == float(letter == "B")
    assert scores["answered"] == float(letter is not None)


def test_without_choices_the_letters_a_to_e_are_valid():
    task = TASKS["multiple_choice"]
    assert task.extract(example("E", {}), "Answer: E") == "E"
    assert task.extract(example("E", {}), "Answer: F") is None


def test_constant_letters_score_their_share():
    task = TASKS["multiple_choice"]
    gold = "ABCDBBCA"
    right = [task.score(example(answer, {"choices": CHOICES}), "Answer: B") for answer in gold]
    assert sum(scores["accuracy"] for scores in right) == 3
