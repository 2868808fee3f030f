"""Questions as words: what typesetting does not change, what is no content, and what tells questions apart."""

import pytest

from jaxreason.data.question_words import answer_key, numbers, read_question, split_words


def key(text):
    return read_question(text)[1]


def words(text):
    return " ".join(read_question(text)[0])


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"Compute $\dfrac{1}{2} + \frac 13$.", "Compute 1/2+1/3"),
        (r"What is $\left( x^{2} - 1 \right)\,$?", "Find $(x^2-1)$."),
        (r"Compute \[\sin^2 4^\circ + \dots + 176^\circ.\]", r"Compute $\sin ^{2} 4^{\circ}+\cdots+176^{\circ}$"),
        (r"Solve $x \leq 3$ and $y \ne 2$", "Solve x ≤ 3 and y ≠ 2"),
        ("How far is 1,000 m − 20 m?", r"How far is $1000\,\text{m}$ - 20 m?"),
        ("If $Ax + 10xy = 0$, find $A$.", "If $A x+10 x y=0$, find $A$."),
        ("Find Ann’s age.", "Find Ann's age"),
        (r"Halve $10{,}000$ and $1{,}000{,}000$", r"Halve 10,000 and $1\,000\,000$"),
        (r"Solve \(x+1=2\).", r"Solve $x + 1 = 2$"),
        (r"Compute $\dbinom{n}{5}$", r"Compute ${n\choose 5}$"),
        (r"Find $2^{10}\pmod{7}$.", r"Find $2^{10} \mod 7$"),
        (r"Find $n \bmod 9$ \hspace{0.5cm} now", r"Find $n\mod9$ now"),
        (r"Find $x^{2}$ if $x=5$.  Express your answer as an integer.", "What is the value of x² if x = 5?"),
        ("What is $2+2$?\nPlease reason step by step, and put your final answer within \\boxed{}.", "What is $2 + 2$?"),
    ],
)  # fmt: skip
def test_questions_that_differ_in_typesetting_and_request_alone_have_one_key(one, other):
    assert key(one) == key(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("What is 4 - 1?", "What is 4 + 1?"),
        ("Compute $2^3$", "Compute $2 \\cdot 3$"),
        ("Compute $(2+3) \\cdot 4$", "Compute $2+3 \\cdot 4$"),
        ("Find $0.\\overline{42}$ as a fraction", "Find $0.42$ as a fraction"),
        ("Find $x$. [asy]draw((0,0)--(1,1));[/asy]", "Find $x$. [asy]draw((0,0)--(2,1));[/asy]"),
        ("What $x$ will give the minimum value for $x^2-10x+24$?", "What $x$ will give the minimum value of $2x^2+3$?"),
    ],
)  # fmt: skip
def test_questions_with_other_content_have_other_keys(one, other):
    assert key(one) != key(other)


@pytest.mark.parametrize(
    ("text", "rest"),
    [
        (
            r"The area is $\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. Find $m+n$.",
            "the area is m /n",
        ),
        (
            r"The length can be written as $a\sqrt{b}$, where $a$ and $b$ are positive integers and $b$ is not "
            r"divisible by the square of any prime. Find $a + b$.",
            "the length can be written as a sqrt b",
        ),
        (
            "How many are there? Express your answer as a decimal to the nearest tenth.",
            "how many are there",
        ),
        (
            "Find all roots. Enter all the solutions, separated by commas.",
            "find all roots",
        ),
        (
            "What is P(A)? Let's think step by step and put the final answer in \\boxed{}.",
            "what is p a",
        ),
    ],
)
def test_what_is_said_about_the_form_of_the_answer_is_no_word_of_the_question(text, rest):
    assert words(text) == rest


def test_a_condition_that_is_given_stays():
    text = "How many pairs are there, where x and y are primes, such that x + y = 20 and x < y?"
    assert "x +y =20" in words(text) and "x <y" in words(text)


def test_signs_go_with_the_word_after_them_and_numbers_are_listed_without():
    assert split_words("a -3 + 4.5 word7") == ["a", "-3", "+4.5", "word7"]
    assert numbers(["a", "-3", "+4.5", "word7"]) == ["3", "4.5"]


def test_answers_are_equal_but_for_typesetting():
    assert answer_key(r"$\dfrac{15}{2}$") == answer_key(r"\frac{15}{2}") == answer_key("15/2")
    assert answer_key("-2") != answer_key("2")
