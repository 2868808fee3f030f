import pytest
from considered_letters import CONSIDERED
from further_letters import FURTHER
from letter_replies import ALL, TEXTS
from letter_revisions import TAKEN_BACK
from text_replies import NAMED

from jaxreason.data.examples import Example
from jaxreason.errors import UserError
from jaxreason.tasks.letters import find_letter
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


@pytest.mark.parametrize(("reply", "letter"), ALL)
def test_what_a_reply_announces_is_not_overridden_by_what_it_explains(reply, letter):
    item = example("C", {"choices": {"label": ["A", "B", "C", "D"], "text": TEXTS}})
    assert TASKS["multiple_choice"].extract(item, reply) == letter


@pytest.mark.parametrize(("reply", "letter"), TAKEN_BACK)
def test_an_answer_counts_unless_it_is_taken_back_or_for_another_question(reply, letter):
    assert find_letter(reply, ("A", "B", "C", "D")) == letter


@pytest.mark.parametrize(("reply", "letter"), FURTHER)
def test_verdicts_on_a_list_and_other_languages_and_scripts_name_a_letter(reply, letter):
    assert find_letter(reply, ("A", "B", "C", "D")) == letter


@pytest.mark.parametrize(("reply", "letter"), CONSIDERED)
def test_a_letter_that_is_only_considered_denied_or_part_of_a_name_is_not_chosen(reply, letter):
    item = example("B", {"choices": ["red", "blue", "green", "white"]})
    assert TASKS["multiple_choice"].extract(item, reply) == letter


@pytest.mark.parametrize(("reply", "texts", "letter"), NAMED)
def test_a_choice_may_be_named_by_its_text_if_no_other_is_named_with_it(reply, texts, letter):
    assert find_letter(reply, ("A", "B", "C", "D"), texts) == letter


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("2", "2"), ("(2)", "2"), ("**Answer:** 2", "2"), ("The answer is 2.", "2"),
        ("The answer is 2.5", None), ("Option 3 is wrong. The answer is 2", "2"),
        (r"\boxed{2}", "2"), ("2) copper", "2"), ("The truck has 2 wheels and 3 doors", None),
        ("It conducts, so copper", "2"), ("Answer: 5", None),
        ("Answer: 2\n\nLet me check again: 1 + 2, so it is 3.", "2"),
        ("Answer: 2. Are there 4? No, 3.", "2"), ("Answer: 2. Wait, 3.", "3"),
        ("Answer: 2. Number correct: 3", "2"), ("Number correct: 3", None),
        ("Answer: 2. Wait, that's wrong. The answer is 3.", "3"),
        ("The one that moves fastest is 3.", None),
    ],
)  # fmt: skip
def test_labels_may_be_digits(reply, label):
    choices = {"label": ["1", "2", "3", "4"], "text": ["wood", "copper", "glass", "wool"]}
    assert TASKS["multiple_choice"].extract(example("2", {"choices": choices}), reply) == label


@pytest.mark.parametrize(
    ("reply", "label"),
    [
        ("Answer: J", "J"), ("The answer is (I).", "I"), ("I think the answer is H", "H"),
        ("I know that E is wrong. I would say G", "G"), ("Answer: I think it is F.", "F"),
        ("Answer: F. Wait, I misread it. It is J.", "J"), ("Answer: F. No, I am sure.", "F"),
        ("Answer: F\n\nOn reflection, I would keep it.", "F"), ("The answer is E or F.", None),
        ("If I were right, the answer would be G. The answer is H.", "H"), ("Answer: E e F", None),
        ("Option I is correct.", "I"), ("So, option I", "I"), ("Hence, I is the answer.", "I"), ("Therefore, I.", "I"),
        ("故选I。", "I"), ("Option I, because it fits.", "I"), ("Option I is wrong. Option E is right.", "E"),
        ("Option I considered first was B.", "B"), ("So I think about it.", None), ("So, I, a model, can't.", None),
        ("Statement I is true. Hence option C.", "C"), ("I is true and II is false, hence D.", "D"),
        (r"\boxed{I}", "I"), ("So I choose I.", "I"), ("I would go with **I**.", "I"), ("What I choose I keep.", None),
        ("J\n\nI ruled out option B and option D.", "J"),
    ],
)  # fmt: skip
def test_ten_choices_reach_j_and_the_pronoun_is_no_choice(reply, label):
    item = example("J", {"choices": [f"text {n}" for n in range(10)]})
    assert TASKS["multiple_choice"].extract(item, reply) == label


FORMULAS = [  # reply, texts of the choices, the label of the one that it names
    (r"\boxed{6 \, \text{m/s}}", ["3 m/s", "6 m/s"], "B"),
    (r"\boxed{16 \, \text{m/s}}", ["3 m/s", "6 m/s"], None),
    (r"The answer is $6\,\mathrm{m/s}$.", ["3 m/s", "6 m/s"], "B"),
    (r"The answer is 6 m/s.", [r"$3\text{ m/s}$", r"$6\text{ m/s}$"], "B"),
    (r"\boxed{25\%}", ["5%", "25%", "52%"], "B"),
    (r"\boxed{\$250}", ["$50", "$250"], "B"),
    (r"\boxed{\dfrac{\pi}{4}}", [r"\frac{\pi}{3}", r"\frac{\pi}{4}"], "B"),
    (r"\boxed{2.4 \times 10^{-5}\text{ J}}", ["2.4 × 10^-4 J", "2.4 × 10^-5 J"], "B"),
    (r"The answer is $2.4\times10^{-5}$ J.", ["2.4 × 10⁻⁴ J", "2.4 × 10⁻⁵ J"], "B"),
    (r"\boxed{30^\circ}", ["60°", "30°"], "B"),
]


@pytest.mark.parametrize(("reply", "texts", "label"), FORMULAS)
def test_a_quantity_names_its_choice_in_latex_and_in_plain_text(reply, texts, label):
    assert find_letter(reply, ("A", "B", "C")[: len(texts)], texts) == label


CIRCLED = [  # reply, texts of the choices, label
    ("\u2462", (), "C"),
    ("The answer is \u2462.", (), "C"),
    ("\u7b54\u6848\uff1a\u2462", (), "C"),
    ("\\boxed{\u2460}", (), "A"),
    ("\u2465", (), None),
    ("\u2460 x. \u2461 y. The answer is B.", (), "B"),
    ("\u2460 x. \u2461 y.", (), None),
    ("\u2460\u2462", ("\u2460\u2461", "\u2460\u2462"), "B"),
    ("\u7b54\u6848\u662f\u2460\u2462\u3002", ("\u2460\u2461", "\u2460\u2462"), "B"),
    ("\u2460", ("\u2460\u2461", "\u2460\u2462"), None),
    ("\u7b54\u6848\u662funload\u3002", ("load", "unload"), "B"),
    ("\u7b54\u6848\u662f15\u3002", ("12", "15"), "B"),
    ("\u7b54\u6848\u662f150\u3002", ("12", "15"), None),
    ("\u7b54\u6848\u662f\u82f9\u679c\u3002", ("\u68a8", "\u82f9\u679c"), "B"),
    ("\u7b54\u6848\u4e0d\u662f15\u3002", ("12", "15"), None),
]


@pytest.mark.parametrize(("reply", "texts", "label"), CIRCLED)
def test_circled_numbers_and_texts_behind_chinese_words_name_a_choice(reply, texts, label):
    labels = tuple("ABCD")[: len(texts) or 4]
    assert find_letter(reply, labels, texts) == label


def test_numbers_are_read_whole_and_the_longest_text_counts():
    numbers = {"choices": {"label": ["A", "B", "C"], "text": ["4", "14", "1.4"]}}
    task = TASKS["multiple_choice"]
    for reply, letter in [("14", "B"), ("The answer is 4.", "A"), ("$1.4$", "C"), ("24", None)]:
        assert task.extract(example("A", numbers), reply) == letter
    places = {"choices": ["Paris", "Paris, Texas", "Texas"]}
    for reply, letter in [("It is Paris, Texas", "B"), ("I mean Paris", "A"), ("Texas.", "C")]:
        assert task.extract(example("A", places), reply) == letter


@pytest.mark.parametrize(
    "choices",
    [{"label": ["A"]}, {"label": ["A", "B"], "text": ["x"]}, {"label": ["AA"], "text": [""]}, 5],
)
def test_choices_of_another_form_are_an_error_of_this_example(choices):
    with pytest.raises(UserError, match=r"example '1'.*choice"):
        TASKS["multiple_choice"].score(example("A", {"choices": choices}), "A")


def test_surrogates_and_null_characters_hide_no_answer():
    assert find_letter("\ud800 Answer: B \0", ("A", "B")) == "B"
    assert find_letter("\ud800", ("A", "B"), ("\ud800x", "y")) is None


def test_without_choices_the_letters_a_to_e_are_valid():
    task = TASKS["multiple_choice"]
    assert task.extract(example("E", {}), "Answer: E") == "E"
    assert task.extract(example("E", {}), "Answer: F") is None


def test_constant_letters_score_their_share():
    task = TASKS["multiple_choice"]
    gold = "ABCDBBCA"
    right = [task.score(example(answer, {"choices": CHOICES}), "Answer: B") for answer in gold]
    assert sum(scores["accuracy"] for scores in right) == 3


@pytest.mark.parametrize(
    ("gold", "metadata", "labels"),
    [
        ("debark", {"choices": CHOICES}, "A, B, C, D"),
        ("(B)", {"choices": CHOICES}, "A, B, C, D"),
        ("2", {"choices": ["x", "y"]}, "A, B"),
        ("F", {}, "A, B, C, D, E"),
        ("", {}, "A, B, C, D, E"),
    ],
)
def test_a_gold_answer_that_is_no_label_is_an_error_and_not_a_wrong_reply(gold, metadata, labels):
    with pytest.raises(UserError, match=r"example '1': the answer .*choice") as told:
        TASKS["multiple_choice"].score(example(gold, metadata), "Answer: B")
    assert f"expected the label of a choice: {labels}" in str(told.value)


def test_a_gold_label_may_be_small_or_have_space_around_it():
    score = TASKS["multiple_choice"].score
    assert score(example(" b\n", {"choices": CHOICES}), "Answer: B")["accuracy"] == 1.0
    assert score(example("A", {"choices": CHOICES}), "no idea")["accuracy"] == 0.0


CITIES = ["Paris", "London", "Berlin", "Madrid"]
CHANGES = ["Increase", "No change", "Decrease", "Not enough information"]
YES_NO = ["Yes", "No"]


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("The next action is C.", "C"), ("The substance with the highest boiling point is B.", "B"),
        ("Since it is not soluble, the product is B.", "B"), ("The only valid plan is **D**", "D"),
        ("The capital (London) is B.", "B"), ("It is London, which is B.", "B"),
        ("The city **Paris**, if any, is A.", "A"), ("So is C?", None),
        ("Thus the compound is (C).", "C"), ("The incorrect one is C.", None), ("Is C?", None),
        ("If the next action is C, it fails.", None), ("The plan that does not work is C.", None),
    ],
)  # fmt: skip
def test_a_letter_at_the_end_of_a_statement_is_chosen(reply, letter):
    assert find_letter(reply, "ABCD", CITIES) == letter


def test_a_verdict_on_the_line_before_does_not_cancel_an_announcement():
    listed = "- A ❌ false\n- C ❌ false\n\nThe answer is B"
    assert find_letter(listed, "ABCD", CITIES) == "B"
    assert find_letter("C would be wrong\nThe answer is B, since A is.", "ABCD", CITIES) == "B"
    assert find_letter("The wrong answer is B", "ABCD", CITIES) is None


@pytest.mark.parametrize(
    ("reply", "texts", "letter"),
    [
        ("The answer is (D): Not enough information to say A", CHANGES, "D"),
        ("D: Not enough information to choose A", CHANGES, "D"),
        ("So the answer is B: no. Option A would be wrong.", YES_NO, "B"),
        ("A. Yes\nB. No\n\nIt is not applicable, so: B", YES_NO, "B"),
        ("A. Yes\nB. No\n\nI cannot tell.", YES_NO, None),
        ("A. Yes - incorrect\nB. No - correct", YES_NO, "B"),
        ("A) True B) False C) Uncertain\n\nIt is hard to say.", ["True", "False", "Uncertain"], None),
        ("The answer is B: no.", CITIES[:2], None),
    ],
)  # fmt: skip
def test_the_text_of_a_choice_that_begins_with_no_does_not_refute_its_letter(reply, texts, letter):
    assert find_letter(reply, "ABCD"[: len(texts)], texts) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("(A) Paris (B) London (C) Berlin (D) Madrid\n\nThe capital of England is London.", "B"),
        ("A: Paris; B: London; C: Berlin; D: Madrid. Therefore it must be option B.", "B"),
        ("A) Paris B) London C) Berlin D) Madrid\n\nNone.", None),
    ],
)
def test_a_line_that_repeats_the_choices_is_no_answer(reply, letter):
    assert find_letter(reply, "ABCD", CITIES) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ("| Option | Verdict |\n|---|---|\n| A | ❌ |\n| B | ✅ |\n| C | ❌ |\n| D | ❌ |", "B"),
        ("| **A** | Wrong since x |\n| **B** | Correct since y |\n| **C** | Incorrect |", "B"),
        ("| A. Paris | Incorrect because x |\n| B. London | Correct |\n| C. Berlin | No |", "B"),
        ("|A| + |B| = |C|\n\nSo D", "D"),
    ],
)
def test_verdicts_in_a_table_are_read_as_those_in_a_list(reply, letter):
    assert find_letter(reply, "ABCD", CITIES) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        ('{"correct_option": "B", "explanation": "Option A is wrong, so is option C"}', "B"),
        ('{"answer_letter": "B", "reason": "A is far"}', "B"), ("{'final_answer': 'B'}", "B"),
        ("option (a) is correct", "A"), ("So, (a) is correct. (b) is not.", "A"), ("option a lot", None),
        (r"The answer is $\boxed{(\mathbf{B})}$.", "B"), (r"\boxed{(\text{B})\ London}", "B"),
        (r"\boxed{B。}", "B"), ("Doğru cevap B'dir.", "B"), ("Doğru cevap B'nin değil.", None),
    ],
)  # fmt: skip
def test_letters_are_read_in_keys_brackets_and_boxes(reply, letter):
    assert find_letter(reply, "ABCD", CITIES) == letter
