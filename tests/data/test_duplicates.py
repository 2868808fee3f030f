"""Questions that a collection says twice."""

from jaxreason.data.decontamination import without_duplicates
from jaxreason.data.examples import Example


def example(id, text, answer="1"):
    return Example(id, "t", ({"role": "user", "content": text},), answer, "s", {"question": text})


def test_the_first_of_two_typesettings_of_a_question_stays():
    one, other = example("a", r"Find $\dfrac12 + 3$."), example("b", "What is 1/2 + 3 ?", "2")
    kept, dropped = without_duplicates([one, other], near=False)
    assert kept == [one]
    assert dropped == [
        {"id": "b", "source": "s", "reason": "same question", "of": "a", "same_answer": False}
    ]


def test_a_reworded_question_with_the_same_numbers_and_answer_is_left_out_only_where_asked():
    one = example(
        "a",
        "Find the least $b$ for which $x^2+bx+2008$ factors into a product of two polynomials with integers.",
    )
    other = example(
        "b",
        "Find the least $b$ for which $x^2+bx+2008$ factors into a product of two binomials with integers.",
    )
    assert without_duplicates([one, other], near=False) == ([one, other], [])
    kept, dropped = without_duplicates([one, other], near=True)
    assert kept == [one] and dropped[0]["reason"] == "reworded" and dropped[0]["same_answer"]


def test_one_pattern_with_other_numbers_or_another_answer_stays():
    text = (
        "Find the least $b$ for which $x^2+bx+{}$ factors into a product of two {} with integers."
    )
    one, other = example("a", text.format(2008, "terms")), example("b", text.format(2009, "terms"))
    answer = example("c", text.format(2008, "primes"), "7")
    kept, _ = without_duplicates([one, other, answer], near=True)
    assert kept == [one, other, answer]
