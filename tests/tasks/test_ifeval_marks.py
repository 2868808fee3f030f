"""Markdown around words, and signs that only look like it, in the robust checks of IFEval."""

import time

import pytest

from jaxreason.tasks.ifeval_checks import INSTRUCTIONS

BAD = ("keywords:forbidden_words", {"forbidden_words": ["bad"]})
APPLE = ("keywords:existence", {"keywords": ["apple"]})
TWICE = ("keywords:frequency", {"keyword": "apple", "relation": "at least", "frequency": 2})
PS = ("detectable_content:postscript", {"postscript_marker": "P.S."})
SECTIONS = (
    "detectable_format:multiple_sections",
    {"section_spliter": "Section", "num_sections": 2},
)
END = ("startend:end_checker", {"end_phrase": "Peace is near."})
MARK = ("detectable_format:number_highlighted_sections", {"num_highlights": 1})
TITLE = ("detectable_format:title", {})
QUOTED = ("startend:quotation", {})
REPEAT = ("combination:repeat_prompt", {"prompt_to_repeat": "Say hi."})


def word(keyword):
    return "keywords:existence", {"keywords": [keyword]}


def without(keyword):
    return "keywords:forbidden_words", {"forbidden_words": [keyword]}


def first(keyword):
    arguments = {"num_paragraphs": 2, "nth_paragraph": 1, "first_word": keyword}
    return "length_constraints:nth_paragraph_first_word", arguments


CASES = [
    (BAD, "It's _bad_.", False),
    (BAD, "It's __bad__.", False),
    (BAD, "It is _a bad one_.", False),
    (BAD, "It's *bad*.", False),
    (BAD, "It's ~~bad~~, `bad`.", False),
    (BAD, "It's badly_ made.", True),
    (BAD, "The variable not_bad_at_all.", True),  # one name
    (APPLE, "_apple_", True),
    (APPLE, "__Apple pie__", True),
    (APPLE, "_An apple_", True),
    (APPLE, "apple_pie", False),
    (APPLE, "_apples_", False),
    (APPLE, "pine_apple", False),
    (APPLE, "An apple\u2011pie.", True),
    (("keywords:existence", {"keywords": ["self-care"]}), "Self\u2011care is good.", True),
    (("keywords:forbidden_words", {"forbidden_words": ["self-care"]}), "Self\u2010care.", False),
    (TWICE, "_apple_ and **_apple_**", True),
    (TWICE, "_apple_", False),
    (PS, "Bye.\n\n_P.S. Call me._", True),
    (PS, "Bye.\n\n__P.S.__ Call me.", True),
    (PS, "U_P.S. Call me.", False),
    (SECTIONS, "__Section 1__\na\n__Section 2__\nb", True),
    (SECTIONS, "_Section 1_\na\n## _Section 2_\nb", True),
    (SECTIONS, "my_Section 1\na\nmy_Section 2", False),
    (END, "All is well. _Peace is near._", True),
    (END, "All is well. __Peace is near.__", True),
    (END, "All is well. a_Peace is near.", False),
    (MARK, "a*b*c", False),
    (MARK, "width*height*depth", False),
    (MARK, "f(x)*g(x)*2", False),
    (MARK, "*b* is marked", True),
    (MARK, "(*b*)", True),
    (MARK, "\u8fd9\u662f*\u91cd\u70b9*\u5185\u5bb9", True),
    (MARK, "the**main**point", True),
    (MARK, "\u201c*b*\u201d", True),
    (word("\u82f9\u679c"), "\u6211\u559c\u6b22\u5403\u82f9\u679c\u548c\u68a8\u3002", True),
    (word("\u82f9\u679c"), "\u6211\u559c\u6b22\u68a8\u3002", False),
    (without("\u82f9\u679c"), "\u6211\u559c\u6b22\u5403\u82f9\u679c\u3002", False),
    (
        word("\u308a\u3093\u3054"),
        "\u79c1\u306f\u308a\u3093\u3054\u304c\u597d\u304d\u3067\u3059\u3002",
        True,
    ),
    (word("\uc0ac\uacfc"), "\ub098\ub294 \uc0ac\uacfc\ub97c \uc88b\uc544\ud55c\ub2e4.", True),
    (word("\uc0ac\uacfc"), "\ud48b\uc0ac\uacfc", False),  # a green apple
    (
        word("\u0e41\u0e21\u0e27"),
        "\u0e09\u0e31\u0e19\u0e23\u0e31\u0e01\u0e41\u0e21\u0e27\u0e21\u0e32\u0e01",
        True,
    ),
    (word("AI"), "\u4f7f\u7528AI\u6280\u672f\u3002", True),
    (word("AI"), "\u4f7f\u7528OpenAI\u3002", False),
    (first("\u82f9\u679c"), "\u82f9\u679c\u5f88\u597d\u3002\n\n\u662f\u3002", True),
    (first("\u82f9\u679c"), "\u9752\u82f9\u679c\u3002\n\n\u662f\u3002", False),
    (QUOTED, "\u300c\u5168\u90e8\u300d", True),
    (QUOTED, "\u300c\u5168\u90e8", False),
    (REPEAT, '"Say hi." Hi!', True),
    (REPEAT, "**Say hi.**\n\nHi!", True),
    (REPEAT, "**Hi!** Say hi.", False),
    (TITLE, "`1 << 2 >> 3`", False),
    (TITLE, "x << 1 >> 2", False),
    (TITLE, "<<2024>>", True),
    (TITLE, "1<<2>>3", False),
    (TITLE, "The year <<2024>>", True),
    (TITLE, "1. <<2024>>", True),
    (TITLE, "Poem 1: <<Rain>>", True),
    (TITLE, "<< Rain >>", True),
]


@pytest.mark.parametrize(("instruction", "text", "follows"), CASES)
def test_marks_around_a_word_do_not_hide_it_and_operators_are_no_marks(instruction, text, follows):
    name, arguments = instruction
    assert bool(INSTRUCTIONS[name](text, **arguments)) is follows


@pytest.mark.parametrize("unit", ["_", "apple_", "_apple", "Section_", "a*b", "p.s._", "1<<", "*a"])
def test_long_replies_of_marks_are_checked_fast(unit):
    start = time.monotonic()
    for name, arguments in (BAD, APPLE, PS, SECTIONS, END, MARK, TITLE):
        INSTRUCTIONS[name]((unit * 100_000)[:100_000], **arguments)
    assert time.monotonic() - start < 20
