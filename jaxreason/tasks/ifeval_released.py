"""RELEASED: IFEval's checks as the released code has them, including its mistakes.

The source is Zhou et al. 2023 (arXiv 2311.07911), as contained in lm-evaluation-harness. Effects of its definitions:
- keywords are regular expressions and count inside other words ("art" in "start"; "U.S." in "UXSA"); a forbidden word
  that begins or ends with another sign ("$5") is never found;
- all capitals and all small letters hold only if langdetect finds English, which it does not find in short texts, names
  and most texts in capitals;
- an empty line at the beginning shifts which paragraph is the n-th; "Booster:" and "**Booster**" are different words
  from "booster";
- a rule `---` is a bullet, `•` is not; `***one***` is two highlights; three sections count as two; SECTION is not
  Section; any "p. s." is a postscript; only ASCII quotation marks quote;
- sentences are Punkt's (see punkt_sentences), capital words the Penn Treebank's (treebank_words).
One thing differs: if an argument is not a letter (two rows of the 541 ask for "#" and "!"), the released code draws a
random letter, while this code counts the requested sign.
"""

import json
import re
import unicodedata
from collections.abc import Callable

from jaxreason.errors import UserError
from jaxreason.tasks.nltk_splits import split_sentences, treebank_words

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda found, wanted: found >= wanted,
    "less than": lambda found, wanted: found < wanted,
}


def compare(found: int, relation: str, wanted: int) -> bool:
    """Returns `found >= wanted` or `found < wanted`. Raises ValueError for another relation."""
    if relation not in RELATIONS:
        raise UserError(f"relation must be one of {', '.join(RELATIONS)}, got {relation!r}.")
    return RELATIONS[relation](found, wanted)


def expression(text: str, flags: int = re.IGNORECASE) -> re.Pattern[str]:
    """Returns an argument compiled as a regular expression, as the released code does it.

    Raises:
      UserError: it is not a regular expression; the released code ends its whole run there.
    """
    try:
        return re.compile(text, flags)
    except re.error as error:
        raise UserError(
            f"{text!r} is no regular expression, as IFEval takes it: {error}."
        ) from error


def search(text: str, reply: str) -> re.Match[str] | None:
    """Returns the first match of an expression in a reply, in any case."""
    return expression(text).search(reply)


def words(text: str) -> list[str]:
    """Returns the runs of letters, digits and underscores: "don't" is two words.

    Vowel signs and other marks are letters, raised and circled digits are not, as in NLTK 3.10.
    """
    kinds = {ord(x): unicodedata.category(x) for x in {*text} if not x.isascii()}
    marks = {code: "a" for code, kind in kinds.items() if kind[0] == "M" or kind == "Pc"}
    return re.findall(r"\w+", text.translate(marks | {x: " " for x in kinds if kinds[x] == "No"}))


def language_of(text: str) -> str | None:
    """Returns the ISO 639-1 code by langdetect, seeded so that it does not vary; None for a text without letters."""
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        return langdetect.detect(text)
    except langdetect.lang_detect_exception.LangDetectException:
        return None


def in_language(text: str, language: str) -> bool:
    """Returns whether the text is in a language; a text without letters is, as in the released checkers."""
    return language_of(text) in (language, None)


def has_keywords(text: str, keywords: list[str]) -> bool:
    """Returns whether every keyword occurs, also inside a longer word."""
    return all(search(keyword, text) for keyword in keywords)


def keyword_frequency(text: str, keyword: str, relation: str, frequency: int) -> bool:
    """Returns whether a keyword occurs as often as required, also inside longer words."""
    found = sum(1 for _ in expression(keyword.strip()).finditer(text))
    return compare(found, relation, frequency)


def avoids_words(text: str, forbidden_words: list[str]) -> bool:
    """Returns whether none of the words occurs as a word."""
    return not any(search(rf"\b{word}\b", text) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_relation: str, let_frequency: int) -> bool:
    """Returns whether a letter, or another character, occurs as often as required; capitals count."""
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


def number_sentences(text: str, relation: str, num_sentences: int) -> bool:
    """Returns whether the number of sentences by Punkt is as required."""
    return compare(len(split_sentences(text)), relation, num_sentences)


def number_words(text: str, relation: str, num_words: int) -> bool:
    """Returns whether the number of words is as required."""
    return compare(len(words(text)), relation, num_words)


def split_between(text: str, separator: str) -> list[str] | None:
    """Returns the parts between separators, the first and last one if not empty; None if another one is empty."""
    parts = [part.strip() for part in re.split(separator, text)]
    if not all(parts[1:-1]):
        return None
    return [part for part in parts if part]


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Returns whether there are exactly this many paragraphs between `***` marks."""
    paragraphs = split_between(text, r"\s?\*\*\*\s?")
    return paragraphs is not None and len(paragraphs) == num_paragraphs


def nth_paragraph_first_word(
    text: str, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """Returns whether there are exactly this many paragraphs between blank lines and the n-th begins with a word."""
    paragraphs = text.split("\n\n")
    filled = [paragraph for paragraph in paragraphs if paragraph.strip()]
    if len(filled) != num_paragraphs or nth_paragraph > len(filled):
        return False
    beginning = paragraphs[nth_paragraph - 1].split()[:1]
    bare = re.match(r"'*\"*([^.,?!'\"]*)", beginning[0].lower()) if beginning else None
    return bare is not None and bare[1] == first_word.lower()


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """Returns whether there are at least this many `[placeholders]`."""
    return sum(map(count_placeholders, text.split("\n"))) >= num_placeholders


def count_placeholders(line: str) -> int:
    """Returns how many `[...]` a line has, each up to the next closing bracket."""
    found, end = 0, 0
    while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1) > 0:
        found += 1
    return found


def has_postscript(text: str, postscript_marker: str) -> bool:
    """Returns whether there is a postscript with the marker, in any case, with or without a space inside."""
    marker = postscript_marker.strip()
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return bool(search(patterns.get(marker, marker.lower()), text.lower()))


def number_bullets(text: str, num_bullets: int) -> bool:
    """Returns whether exactly this many lines start with `* ` or `-`; `**bold**` lines are not bullets."""
    stars = re.findall(r"^[^\S\n]*+\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*+-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def constrained_response(text: str) -> bool:
    """Returns whether one of the three given answers occurs."""
    return any(f"My answer is {answer}." in text for answer in ("yes", "no", "maybe"))


def number_highlights(text: str, num_highlights: int) -> bool:
    """Returns whether there are at least this many `*highlighted*` or `**highlighted**` passages within a line."""
    single = [part for part in re.findall(r"\*([^\n*]*)\*", text) if part.strip()]
    double = [part for part in re.findall(r"\*\*([^\n*]*)\*\*", text) if part.strip()]
    return len(single) + len(double) >= num_highlights


def number_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """Returns whether there are at least this many sections headed by the word and a number."""
    heading = expression(rf"{section_spliter.strip()}\s?\d+", 0)
    return sum(1 for _ in heading.finditer(text)) >= num_sections


def is_json(text: str) -> bool:
    """Returns whether the whole reply is JSON; a code fence around it is allowed."""
    text = text.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(text: str) -> bool:
    """Returns whether there is a `<<title>>` within a line."""
    return any(map(title_of, text.split("\n")))


def title_of(line: str) -> str:
    """Returns the text between the first `<<` and the last `>>` of a line, or ""."""
    start, end = line.find("<<"), line.rfind(">>")
    return line[start : end + 2].lstrip("<").rstrip(">").strip() if 0 <= start < end - 2 else ""


def two_responses(text: str) -> bool:
    """Returns whether there are two different replies between `******`."""
    parts = split_between(text, re.escape("******"))
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


def repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    """Returns whether the reply begins with the request."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(text: str, end_phrase: str) -> bool:
    """Returns whether the reply ends with the phrase; a closing quotation mark may follow."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def is_quoted(text: str) -> bool:
    """Returns whether the whole reply is in double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def capital_words(text: str, capital_relation: str, capital_frequency: int) -> bool:
    """Returns whether the number of words in capitals is as required; a hyphenated word is one, "IT'S" two."""
    some = [sentence for sentence in split_sentences(text) if sentence != sentence.lower()]
    found = sum(word.isupper() for sentence in some for word in treebank_words(sentence))
    return compare(found, capital_relation, capital_frequency)


def all_capitals(text: str) -> bool:
    """Returns whether the reply is English without a small letter."""
    return text.isupper() and in_language(text, "en")


def all_lowercase(text: str) -> bool:
    """Returns whether the reply is English without a capital letter."""
    return text.islower() and in_language(text, "en")


def no_comma(text: str) -> bool:
    """Returns whether there is no comma."""
    return "," not in text


RELEASED: dict[str, Callable[..., bool]] = {
    "keywords:existence": has_keywords,
    "keywords:frequency": keyword_frequency,
    "keywords:forbidden_words": avoids_words,
    "keywords:letter_frequency": letter_frequency,
    "language:response_language": in_language,
    "length_constraints:number_sentences": number_sentences,
    "length_constraints:number_paragraphs": number_paragraphs,
    "length_constraints:number_words": number_words,
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
