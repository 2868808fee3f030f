"""Every instruction of IFEval with texts that follow it and texts that do not."""

import pytest
from ifeval_differences import DIFFERENCES

from jaxreason.errors import UserError
from jaxreason.tasks.ifeval_checks import INSTRUCTIONS
from jaxreason.tasks.ifeval_released import RELEASED, compare, words
from jaxreason.tasks.sentence_counting import sentences

CHECKS = {"robust": INSTRUCTIONS, "released": RELEASED}

ENGLISH = "this is a short letter about the weather and the people in the old town"
GERMAN = "Das Wetter ist heute sehr schön, und wir gehen mit den Kindern in die Stadt."
# Instruction id, its arguments, texts that follow, texts that do not: by either set of checks.
CASES = [
    (
        "keywords:existence",
        {"keywords": ["correlated", "experiencing"]},
        ["They are CORRELATED, experiencing it.", "experiencing a correlated one"],
        ["They are correlated.", "none"],
    ),
    (
        "keywords:frequency",
        {"keyword": "story", "relation": "at least", "frequency": 2},
        ["A story of a story.", "Story! A back-story."],
        ["One story.", "stories"],
    ),
    (
        "keywords:frequency",
        {"keyword": "war", "relation": "less than", "frequency": 2},
        ["One war.", "peace"],
        ["War and war.", "a war of war-lords"],
    ),
    (
        "keywords:forbidden_words",
        {"forbidden_words": ["rock", "nickname"]},
        ["It rocks.", "Nicknames are fine"],
        ["Rock!", "my nickname is Bo"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "q", "let_relation": "at least", "let_frequency": 3},
        ["Quick quiz: q", "QQQ"],
        ["quick quiz", "abc"],
    ),
    (
        "keywords:letter_frequency",
        {"letter": "#", "let_relation": "less than", "let_frequency": 2},
        ["# title", "none"],
        ["## title"],
    ),
    (
        "language:response_language",
        {"language": "de"},
        [GERMAN, "12345"],  # without letters there is no language to object to
        [ENGLISH],
    ),
    (
        "length_constraints:number_sentences",
        {"relation": "at least", "num_sentences": 3},
        ["One. Two! Three?", "I came. I saw. I won"],
        ["Mr. Smith came. He saw.", "3.5 is a number."],
    ),
    (
        "length_constraints:number_sentences",
        {"relation": "less than", "num_sentences": 3},
        ["One. Two.", "Dr. No met Mrs. Smith at 5 p.m. in town."],
        ["One. Two. Three."],
    ),
    (
        "length_constraints:number_paragraphs",
        {"num_paragraphs": 3},
        ["one\n***\ntwo\n***\nthree", "***\none\n***\ntwo\n***\nthree\n***"],
        ["one\n***\ntwo", "one\n***\n***\ntwo\n***\nthree", "one\n\ntwo\n\nthree"],
    ),
    (
        "length_constraints:number_words",
        {"relation": "at least", "num_words": 4},
        ["one two three four", "don't do it"],  # don't: two words
        ["one, two, three"],
    ),
    (
        "length_constraints:number_words",
        {"relation": "less than", "num_words": 4},
        ["one - two - three"],
        ["one two three four"],
    ),
    (
        "length_constraints:nth_paragraph_first_word",
        {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "weekend"},
        ["First.\n\nWeekend, at last.", 'First.\n\n"Weekend" it is', "a\n\nweekend"],
        ["First.\n\nWeekends are", "Weekend.\n\nSecond", "a\n\nweekend\n\nc", "weekend"],
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 2},
        ["[name] lives at [address].", "[a][b][c]"],
        ["[name]", "(name) (address)"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        ["Bye.\nP.S. Call me.", "Bye. p. s. call"],
        ["Bye.", "PS: call me"],
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        ["Bye.\nP.S. a\nP.P.S. b", "p. p. s b"],
        ["Bye.\nP.S. a"],
    ),
    (
        "detectable_format:number_bullet_lists",
        {"num_bullets": 2},
        ["* one\n* two", "- one\n- two", "  * one\n  - two", "**bold**\n* one\n* two"],
        ["* one", "* one\n* two\n* three", "1. one\n2. two"],
    ),
    (
        "detectable_format:constrained_response",
        {},
        ["My answer is yes.", "Well. My answer is maybe."],
        ["my answer is yes.", "My answer is yes", "Yes."],
    ),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        ["*one* and *two*", "**one** and **two**", "*one* and **two**"],
        ["*one*", "* one\n* two", "one"],
    ),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "SECTION", "num_sections": 2},
        ["SECTION 1\na\nSECTION 2\nb", "SECTION1 a SECTION2 b"],
        ["SECTION 1\na", "SECTION A SECTION B"],
    ),
    (
        "detectable_format:json_format",
        {},
        ['{"a": [1, 2]}', '```json\n{"a": 1}\n```', '```\n{"a": 1}\n```', "  3  "],
        ["{'a': 1}", 'Here: {"a": 1}', '{"a": 1,}'],
    ),
    (
        "detectable_format:title",
        {},
        ["<<Rain>>\nIt rains.", "A <<b c>> d"],
        ["<Rain>", "<<>>", "<< >>", "<<a\nb>>"],
    ),
    (
        "combination:two_responses",
        {},
        ["one\n******\ntwo", "******\none\n******\ntwo\n******"],
        [
            "one",
            "one\n******\none",
            "one\n***\ntwo",
            "a\n******\nb\n******\nc",
            "a******   ******b",
        ],
    ),
    (
        "combination:repeat_prompt",
        {"prompt_to_repeat": "Write an email to my boss."},
        ["Write an email to my boss.\n\nDear boss", "  write AN email to my boss. Yes"],
        ["Sure: Write an email to my boss.", "Write an email"],
    ),
    (
        "startend:end_checker",
        {"end_phrase": "Peace!"},
        ["I am done. Peace!", '"peace!"', "Peace!\n\n"],
        ["Peace", "Peace! Bye"],
    ),
    ("startend:quotation", {}, ['"quoted"', '  "a" and "b"  '], ["plain", '"open', '"']),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "at least", "capital_frequency": 3},
        ["NASA and ESA: I agree", "ALL-CAPS ARE WORDS"],
        ["NASA and ESA", "Nasa Esa Jaxa"],
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_relation": "less than", "capital_frequency": 2},
        ["NASA flies", "none"],
        ["NASA and ESA"],
    ),
    ("change_case:english_capital", {}, [ENGLISH.upper()], [ENGLISH, GERMAN.upper()]),
    ("change_case:english_lowercase", {}, [ENGLISH], [ENGLISH.title(), GERMAN.lower()]),
    ("punctuation:no_comma", {}, ["no pause here."], ["one, two"]),
]
SENTENCES = [
    ("", 0),
    ("Hello", 1),
    ("Hello. World.", 2),
    ("Mr. Smith and Dr. Who met at 5 p.m. on Monday. They left.", 2),
    ("Is it 3.14? Yes!", 2),
    ('He said "Stop!" She did.', 2),
    ("Wait... what is it?", 1),
    ("Wait... What is it?", 2),
    ("# Heading\n\nThe text. More text.", 2),
    ("J. S. Bach was born in Eisenach.", 1),
    ("So do I. You do too.", 2),
    ("Visit example.com now. It is free.", 2),
    ("It opens at 9 a.m. Doors close at noon.", 2),
    ("It opens at 9 a.m. Monday to Friday.", 1),
    ("They moved to the U.S. She stayed.", 2),
    ("The U.S. Army came. It left.", 2),
    ("We sell fruit, nuts, etc. Come in.", 2),
    ("We sell fruit etc. here.", 1),
    ("No. I do not. See No. 5 there.", 3),
    ("On Jan. 5 we met. The sun. It shone.", 3),
    ("He lives on Main St. The shop is near.", 2),
    ("From point A to point B. The end.", 2),
    ("Acme Inc. was sold. She works for Acme Inc. He does not.", 3),
    ("1. Eat well.\n2. Sleep well.\n3. Walk.", 3),
    ("Two facts:\n\na. It rains.\nb. It pours.", 2),
    ("## I. Introduction\nIt rains.", 1),
    ("The answer is:\n42.\nYes.", 2),
    ("这是第一句。这是第二句！“好吗？”是。", 4),
    ("यह लाल है। वह नीला है।", 2),
    ("هل هذا صحيح؟ نعم.", 2),
    ('"Really?" he asked. "Yes!" She left.', 3),
    ("One. Two.\n\n---\n\n***", 2),
    ("Really?! Yes.", 2),
    ("Buy:\n\n- bread\n- milk\n\nGo now.", 3),
    ("# Plan\n* Go.\n* Come.\n\nThe end", 3),
    ("**Bold.** *Then.* (And.) Done.", 4),
    ("Hi there.\U0001f389 How are you?\U0001f60a", 2),
]


@pytest.mark.parametrize("checks", CHECKS)
@pytest.mark.parametrize(
    ("name", "arguments", "text"), [(n, a, t) for n, a, good, _ in CASES for t in good]
)
def test_a_text_that_follows_the_instruction_passes(name, arguments, text, checks):
    assert CHECKS[checks][name](text, **arguments)


@pytest.mark.parametrize("checks", CHECKS)
@pytest.mark.parametrize(
    ("name", "arguments", "text"), [(n, a, t) for n, a, _, bad in CASES for t in bad]
)
def test_a_text_that_does_not_follow_the_instruction_fails(name, arguments, text, checks):
    assert not CHECKS[checks][name](text, **arguments)


def test_all_25_instructions_are_here_and_tested():
    assert len(INSTRUCTIONS) == 25
    assert {name for name, *_ in CASES} == set(INSTRUCTIONS) == set(RELEASED)


@pytest.mark.parametrize(("text", "count"), SENTENCES)
def test_sentences_are_counted(text, count):
    assert len(sentences(text)) == count


def test_words_are_runs_of_letters_and_digits():
    assert words("Don't stop: 3.5 naïve_words!") == ["Don", "t", "stop", "3", "5", "naïve_words"]
    assert words("हिन्दी है x²") == ["हaनaदa", "हa", "x"]  # signs count as letters


def test_an_unknown_relation_is_refused():
    with pytest.raises(ValueError, match="must be one of at least, less than, got 'exactly'"):
        compare(3, "exactly", 3)


@pytest.mark.parametrize(("name", "arguments", "text", "follows"), DIFFERENCES)
def test_accidents_of_format_decide_only_the_released_checks(name, arguments, text, follows):
    assert bool(INSTRUCTIONS[name](text, **arguments)) is follows
    assert bool(RELEASED[name](text, **arguments)) is not follows


@pytest.mark.parametrize(
    ("text", "language", "right"),
    [
        ("12345", "hi", True),  # without letters there is nothing to object to
        ("नमस्ते दुनिया", "hi", True), ("नमस्ते दुनिया", "mr", True),  # two words could be either
        ("नमस्ते दुनिया", "en", False), ("Hello world", "hi", False),
        ("你好，世界", "zh", True), ("こんにちは世界", "ja", True), ("こんにちは世界", "zh", False),
        ("안녕하세요", "ko", True), ("Привет, мир", "ru", True), ("Привет, мир", "de", False),
        ("Paris, Oslo", "de", True), ("Paris, Oslo", "fr", True),  # names are of no language
        ("Das ist nicht wahr.", "de", True), ("Das ist nicht wahr.", "en", False),
        ("This is not true.", "de", False), (ENGLISH, "en", True), (GERMAN, "en", False),
    ],
)  # fmt: skip
def test_short_replies_are_in_a_language_by_script_and_common_words(text, language, right):
    assert INSTRUCTIONS["language:response_language"](text, language=language) is right


def test_a_long_list_of_names_is_in_no_other_language():
    names = "Ana, Luis, Jose, Carlos, Juan, Elena, Pedro, Miguel, Rosa, Maria, Pablo, Sofia, Diego, Lucia, Mateo, Ines"
    assert INSTRUCTIONS["change_case:english_capital"](names.upper())
    assert INSTRUCTIONS["change_case:english_lowercase"](names.lower().replace(", ", "\n"))
    assert not INSTRUCTIONS["change_case:english_lowercase"](GERMAN.lower().replace(" ", ", "))
    assert INSTRUCTIONS["change_case:english_capital"]("MY CAFÉ HAS NAÏVE GUESTS AND THE CRÈME")


@pytest.mark.parametrize(
    "text", ["WIR GEHEN HEUTE INS KINO", "VOUS NE PARLEZ PAS", "HOLA, CÓMO ESTÁN USTEDES HOY DÍA"]
)
def test_short_texts_in_capitals_may_be_in_another_language(text):
    assert not INSTRUCTIONS["change_case:english_capital"](text)
    assert not INSTRUCTIONS["change_case:english_lowercase"](text.lower())


def test_a_keyword_that_is_no_regular_expression_is_an_error_of_the_released_check_alone():
    with pytest.raises(UserError, match="'f\\(' is no regular expression"):
        RELEASED["keywords:existence"]("f(", keywords=["f("])
    assert INSTRUCTIONS["keywords:existence"]("so f( it is", keywords=["f("])
