"""Letters of choices in languages with other words and scripts, in boxes, and beside the texts of other choices."""

import pytest

from jaxreason.tasks.letters import find_letter

REPLIES = [
    ("选B，因为A不对。", "B"),
    ("选B。A错误。", "B"),
    ("应选C，A和B都不对", "C"),
    ("答案选C，D不符合题意", "C"),
    ("答案B", "B"),
    ("不选A，选B", "B"),
    ("如果选A就错了。答案是B", "B"),
    ("B正确，A错误", "B"),
    ("B是正确的，因为A不符合。", "B"),
    ("选项B正确，选项A错误", "B"),
    ("A不正确，B不正确，C正确", "C"),
    ("故B正确，D错误。", "B"),
    ("【答案】C\n【解析】A错", "C"),
    ("A、B", None),
    ("答案是A和B", None),
    ("正解はCです。Aは違います。", "C"),
    ("答え：C", "C"),
    ("選択肢Bが正しい。Aは誤り。", "B"),
    ("답은 B입니다. A는 틀렸습니다.", "B"),
    ("정답은 B입니다.", "B"),
    ("Ответ: C, а не B", "C"),
    ("Верный вариант B, потому что A неверен", "B"),
    ("Вариант A неверен, вариант B верен", "B"),
    ("Đáp án đúng là B, không phải A", "B"),
    ("Poprawna odpowiedź to B, a nie A.", "B"),
    ("الإجابة الصحيحة هي B وليس A", "B"),
    ("Jawabannya adalah B, bukan A", "B"),
    ("Answer: A unlike B", "A"),
    ("Answer: A compared to B", "A"),
    ("Answer: A probably", "A"),
    ("The answer is a probable B.", "B"),
]
BOXES = [
    (r"\boxed{A} or \boxed{B}", None),
    (r"\boxed{A}, \boxed{B}", None),
    (r"\boxed{A} $\text{and}$ \boxed{C}", None),
    (r"\boxed{A}, no: \boxed{B}", "B"),
    (r"\boxed{A} and again \boxed{A}", "A"),
    (r"not \boxed{A} but \boxed{B}", "B"),
    (r"\boxed{A} rather than \boxed{B}", "A"),
    (r"\boxed{a) red}", "A"),
    (r"\boxed{b. 4}", "B"),
    (r"\boxed{(b) 4}", "B"),
    (r"\boxed{\text{b) foo}}", "B"),
    (r"\boxed{a dog}", None),
]
COLOURS = ["red", "green", "blue", "dark blue"]
TEXTS = [
    ("red and green", None),
    ("The colour is green or red", None),
    ("red/green", None),
    ("red & green", None),
    ("not red but green", "B"),
    ("neither red nor green but blue", "C"),
    ("It is dark blue, not blue", "D"),
    ("It is green", "B"),
    ("a red one", None),
    ("Answer: A red", "A"),
    ("Answer: b green.", "B"),
    ("Answer: A green", "B"),
]


@pytest.mark.parametrize(("reply", "letter"), REPLIES + BOXES)
def test_the_letter_of_a_reply_is_the_one_that_it_chooses(reply, letter):
    assert find_letter(reply, "ABCD") == letter


@pytest.mark.parametrize(("reply", "letter"), TEXTS)
def test_two_choices_that_are_named_together_by_their_texts_are_no_answer(reply, letter):
    assert find_letter(reply, "ABCD", COLOURS) == letter


@pytest.mark.parametrize(
    ("reply", "letter"),
    [
        (r"\frac{1}{2}", "A"),
        (r"$\frac14$", "B"),
        ("H₂O", "C"),
        ("CO₂.", "D"),
        (r"\frac{1}{3}", None),
    ],
)
def test_fractions_and_lowered_digits_are_those_of_the_choices(reply, letter):
    assert find_letter(reply, "ABCD", ["1/2", r"\frac{1}{4}", "H2O", "CO_2"]) == letter
