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
