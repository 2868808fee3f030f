"""INSTRUCTIONS: each of IFEval's verifiable instructions as a function (reply, arguments) -> bool.

The meaning is that of Zhou et al. 2023 (arXiv 2311.07911), read as a person would read it: replies that the released
checkers judge wrongly by an accident of format (`ifeval_released` lists them) are judged correctly here. These rules
are not obvious:
- a keyword is a whole word, in any case, and its characters are taken literally; where a script has no spaces, it may
  stand anywhere;
- words are those of the released code: "don't" is two; a word in capitals is one, also "IT'S";
- a line break alone does not end a sentence, and a list item begins one;
- sections are counted by their numbers, and there must be exactly as many as asked for;
- a bullet is `*`, `-`, `+` or `•` with text after it; numbered items are not bullets;
- a text that is too short to detect its language counts as being in the requested one (`languages`).
"""

import inspect
import json
import re
import unicodedata
from collections.abc import Callable
from typing import Any

from jaxreason.tasks import ifeval_released as released
from jaxreason.tasks.ifeval_released import compare
from jaxreason.tasks.languages import UNENDED, UNSPACED, is_in_language
from jaxreason.tasks.sentence_counting import sentences

QUOTES = str.maketrans("‘’‚‛“”„‟＂«»\u2010\u2011", '\'\'\'\'"""""""--')
# Borders of a word: underscores around it are emphasis, those inside of my_name are part of it.
_LETTER = rf"[^\W_{UNSPACED}]"
BEFORE = rf"(?<!{_LETTER})(?<!{_LETTER}_)(?<!{_LETTER}__)"
AFTER = rf"(?!_*+[^\W_{UNENDED}])"
COMMAS = ",，、،﹐﹑"


def normal(text: str) -> str:
    """Returns a text with composed characters, ASCII quotation marks, apostrophes and hyphens, and single spaces."""
    return re.sub(r"\s+", " ", unicodedata.normalize("NFC", text).translate(QUOTES)).strip()


def keyword_pattern(keyword: str) -> re.Pattern[str]:
    """Returns a pattern of a keyword as a whole word: no "art" in "start", no "$5" in "$50", no "U.S." in "U.S.A."."""
    word = normal(keyword)
    literal = r"\s+".join(map(re.escape, word.split()))
    before = BEFORE if word[:1].isalnum() and not re.match(f"[{UNSPACED}]", word) else ""
    before += r"(?<!\w\.)" if "." in word else ""
    after = rf"{AFTER}(?![.,]\d)" if word[-1:].isdigit() else after_word(word)
    return re.compile(f"{before}{literal}{after}", re.IGNORECASE)


def after_word(word: str) -> str:
    """Returns the pattern of what may not follow a word."""
    return "" if re.search(f"[{UNENDED}]$", word) else AFTER


def count_keyword(text: str, keyword: str) -> int:
    """Returns how often a keyword occurs as a whole word."""
    if not normal(keyword):
        return 0
    return sum(1 for _ in keyword_pattern(keyword).finditer(normal(text)))


def has_keywords(text: str, keywords: list[str]) -> bool:
    """Returns whether every keyword occurs."""
    return all(count_keyword(text, keyword) for keyword in keywords)


def keyword_frequency(text: str, keyword: str, relation: str, frequency: int) -> bool:
    """Returns whether a keyword occurs as often as required."""
    return compare(count_keyword(text, keyword), relation, frequency)


def avoids_words(text: str, forbidden_words: list[str]) -> bool:
    """Returns whether none of the words occurs."""
    return not any(count_keyword(text, word) for word in forbidden_words)


def response_language(text: str, language: str) -> bool:
    """Returns whether the text is in a language, given by its ISO 639-1 code."""
    return is_in_language(text, language)


def number_sentences(text: str, relation: str, num_sentences: int) -> bool:
    """Returns whether the number of sentences is as required."""
    return compare(len(sentences(text)), relation, num_sentences)


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Returns whether there are exactly this many paragraphs between `***` marks; `***emphasis***` is not a mark."""
    text = re.sub(r"(?<![\w*])\*\*\*(?=[^\s*])([^\n*]*+)(?<!\s)\*\*\*(?!\*)", r"\1", text)
    parts = released.split_between(text, r"(?<!\*)\*\*\*(?!\*)")
    return parts is not None and len(parts) == num_paragraphs


def nth_paragraph_first_word(
    text: str, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """Returns whether there are exactly this many paragraphs between blank lines and the n-th begins with a word.

    Marks around the word do not count, and neither does a paragraph that only consists of marks.
    """
    paragraphs = re.split(r"\n[^\S\n]*+\n", text)
    filled = [paragraph for paragraph in paragraphs if re.search(r"\w", paragraph)]
    if len(filled) != num_paragraphs or not 1 <= nth_paragraph <= len(filled):
        return False
    word = normal(first_word)
    whole = after_word(word) and rf"{AFTER}(?!['-]\w)"
    beginning = normal(filled[nth_paragraph - 1][:500])
    return bool(
        re.match(rf"[\W_]*+(?:\d+[.)]\s+[\W_]*+)?{re.escape(word)}{whole}", beginning, re.I)
    )


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """Returns whether there are at least this many `[placeholders]` with a letter, also across lines, except links."""
    return (
        sum(map(holds_placeholder, re.findall(r"\[([^\[\]]*+)\](?!\()", text))) >= num_placeholders
    )


def holds_placeholder(inside: str) -> bool:
    """Returns whether brackets hold a placeholder; `[ ]` and `[x]` are check boxes, `[1]` is a citation."""
    return any(map(str.isalpha, inside)) and inside.strip().lower() != "x"


def has_postscript(text: str, postscript_marker: str) -> bool:
    """Returns whether there is a postscript with the marker, in any case, with or without a space inside."""
    marker = postscript_marker.strip()
    patterns = {"P.P.S": r"p\.\s?p\.\s?s(?!\w)", "P.S.": r"p\.\s?s\."}
    literal = patterns.get(marker, rf"{re.escape(marker)}(?!\w)")
    return bool(re.search(rf"{BEFORE}(?<!\w\.)(?<![\s(*]p\.\s){literal}", text, re.IGNORECASE))


def number_bullets(text: str, num_bullets: int) -> bool:
    """Returns whether there are exactly this many bullet points; a rule and a line in bold are not bullet points."""
    lines = (line.strip() for line in text.splitlines())
    return sum(map(is_bullet, lines)) == num_bullets


def is_bullet(line: str) -> bool:
    """Returns whether a line is a bullet point."""
    if re.fullmatch(r"(?:[-*_+]\s*+)+", line):
        return False
    return bool(re.match(r"[-*+–]\s+\S|[•◦▪▸►‣·●○➢➤]\s*\S|[-*](?=[^\W\d_])(?![^*]*\*)", line))


def constrained_response(text: str) -> bool:
    """Returns whether one of the three given answers occurs, and no other."""
    answers = [answer for answer in ("yes", "no", "maybe") if f"My answer is {answer}." in text]
    return len(answers) == 1


def number_highlights(text: str, num_highlights: int) -> bool:
    """Returns whether at least this many passages within a line are in one to three asterisks, each counted once."""
    # One asterisk directly after a letter multiplies: a*b*c.
    highlight = r"(?<![*\\\d])(\*{2,3}|(?<![A-Za-z)\]])\*)(?![\s*])[^\n*]*+(?<!\s)\1(?!\*)"
    return sum(1 for _ in re.finditer(highlight, text)) >= num_highlights


def number_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """Returns whether there are exactly this many sections, headed by the word, in any case, and different numbers."""
    heading = rf"{BEFORE}{re.escape(section_spliter.strip())}\s?(\d{{1,9}})"
    at_line = re.findall(rf"^(?:[^\w\n]|_)*+{heading}", text, re.IGNORECASE | re.MULTILINE)
    return (
        len({*(at_line if len(at_line) > 1 else re.findall(heading, text, re.I))}) == num_sections
    )


def is_json(text: str) -> bool:
    """Returns whether the whole reply is JSON; a code fence around it is allowed."""
    text = text.strip().lstrip("\ufeff")
    fenced = re.fullmatch(r"(`{3,}|~{3,})[A-Za-z0-9]*[^\S\n]*\n?(.*?)\s*\1", text, re.DOTALL)
    try:
        json.loads((fenced[2] if fenced else text).strip(), parse_constant=no_constant)
    except (ValueError, RecursionError):
        return False
    return True


def no_constant(name: str) -> None:
    """Refuses NaN and Infinity, which are not JSON."""
    raise ValueError(f"{name} is no JSON.")


def has_title(text: str) -> bool:
    """Returns whether there is a `<<title>>` with a letter or digit within a line."""
    return any(map(holds_title, text.split("\n")))


def holds_title(line: str) -> bool:
    """Returns whether a line has a title; `1 << 2 >> 3` shifts bits."""
    title = released.title_of(line)
    shifts = not re.search(r"[^\W\d_]", title) and re.search(
        r"(?:\d|\b[a-z]|\))(?:\s{0,9}<<\s|<<)", line
    )
    return bool(re.search(r"[^\W_]", title)) and not shifts


def two_responses(text: str) -> bool:
    """Returns whether there are two different replies between `******`."""
    parts = released.split_between(text, r"(?<!\*)\*{6}(?!\*)")
    return parts is not None and len(parts) == 2 and normal(parts[0]) != normal(parts[1])


def repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    """Returns whether the reply begins with the request; spaces, quotes around it and emphasis do not count."""
    reply, request = (normal(one).lower().lstrip("\"'*_ ") for one in (text, prompt_to_repeat))
    return reply.startswith(request)


def ends_with(text: str, end_phrase: str) -> bool:
    """Returns whether the reply ends with the phrase as whole words; closing quotes and emphasis do not count."""
    phrase = re.escape(normal(end_phrase).strip("\"' ").lower())
    before = BEFORE if end_phrase.strip()[:1].isalnum() else ""
    ending = normal(text[-len(end_phrase) * 4 - 400 :]).rstrip("\"'*_` ").lower()
    return bool(re.search(rf"{before}{phrase.rstrip('_*`')}$", ending))


def is_quoted(text: str) -> bool:
    """Returns whether the whole reply is in double quotation marks, straight or curved."""
    text = text.strip()
    return len(text) > 1 and text[0] in '"“„”«»＂「『' and text[-1] in '"”“»«＂」』'


def capital_words(text: str, capital_relation: str, capital_frequency: int) -> bool:
    """Returns whether the number of words in capitals is as required; hyphenated words and "I" count as one."""
    tokens = re.findall(r"[^\W_][\w'\u2019./&-]*", text)
    return compare(sum(token.isupper() for token in tokens), capital_relation, capital_frequency)


def all_capitals(text: str) -> bool:
    """Returns whether the reply is English without a small letter."""
    return not any(map(str.islower, text)) and is_in_language(text, "en")


def all_lowercase(text: str) -> bool:
    """Returns whether the reply is English without a capital letter."""
    return not any(x.isupper() or x.istitle() for x in text) and is_in_language(text, "en")


def no_comma(text: str) -> bool:
    """Returns whether there is no comma of any script."""
    return not any(comma in text for comma in COMMAS)


INSTRUCTIONS: dict[str, Callable[..., bool]] = released.RELEASED | {
    "keywords:existence": has_keywords,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": avoids_words,
    "language:response_language": response_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:nth_paragraph_first_word": nth_paragraph_first_word,
    "detectable_content:number_placeholders": number_placeholders,
    "detectable_content:postscript": has_postscript,
    "detectable_format:number_bullet_lists": number_bullets,
    "detectable_format:constrained_response": constrained_response,
    "detectable_format:number_highlighted_sections": number_highlights,
    "detectable_format:multiple_sections": number_sections,
    "detectable_format:json_format": is_json,
    "detectable_format:title": has_title,
    "combination:two_responses": two_responses,
    "combination:repeat_prompt": repeats_prompt,
    "startend:end_checker": ends_with,
    "startend:quotation": is_quoted,
    "change_case:capital_word_frequency": capital_words,
    "change_case:english_capital": all_capitals,
    "change_case:english_lowercase": all_lowercase,
    "punctuation:no_comma": no_comma,
}


def check_arguments(name: str, arguments: dict[str, Any]) -> None:
    """Raises TypeError for arguments that an instruction does not take, or that are missing."""
    inspect.signature(INSTRUCTIONS[name]).bind("", **arguments)
