"""INSTRUCTIONS: each of IFEval's verifiable instructions as a function (reply, arguments) -> bool.

The meaning of each follows Zhou et al. 2023 (arXiv 2311.07911) and the released checkers, down to
what counts as a word, a paragraph or a highlighted section; sentences are split by rules instead of
a trained model.
"""

import json
import re
from collections.abc import Callable

from jaxreason.errors import UserError

RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "at least": lambda found, wanted: found >= wanted,
    "less than": lambda found, wanted: found < wanted,
}
ABBREVIATIONS = frozenset(
    """
    mr mrs ms messrs dr prof rev gen sen rep reps gov capt col lt sgt maj adm st jr sr ph.d m.d b.a
    m.a u.s u.k u.n e.g i.e a.m p.m vs v etc al inc ltd co corp cos bros dept univ no vol ed eds fig
    figs pp ave blvd rd ft oz lb approx est jan feb mar apr jun jul aug sep sept oct nov dec mon tue
    wed thu fri sat sun
    """.split()  # noqa: SIM905
)


def compare(found: int, relation: str, wanted: int) -> bool:
    """`found >= wanted` or `found < wanted`. Raises ValueError for another relation."""
    if relation not in RELATIONS:
        raise UserError(f"relation must be one of {', '.join(RELATIONS)}, got {relation!r}.")
    return RELATIONS[relation](found, wanted)


def words(text: str) -> list[str]:
    """Runs of letters, digits and underscores: "don't" is two words."""
    return re.findall(r"\w+", text)


def sentences(text: str) -> list[str]:
    """Sentences by rule: `.`, `?` or `!` before white space ends one, unless it abbreviates.

    A line break alone ends none, so a heading belongs to the sentence after it.
    """
    found, start = [], 0
    for match in re.finditer(r"(?<![.?!])[.?!]++[\"'\u201d\u2019)\]*_]*+(?=\s)", text):
        if match[0].startswith(".") and is_abbreviation(text, match):
            continue
        found.append(text[start : match.end()].strip())
        start = match.end()
    return [sentence for sentence in [*found, text[start:].strip()] if sentence]


def is_abbreviation(text: str, match: re.Match) -> bool:
    """Whether the full stop belongs to an abbreviation, an initial or a mid-sentence ellipsis."""
    start = match.start()
    while start > 0 and (text[start - 1].isalnum() or text[start - 1] in "_."):
        start -= 1
    before = text[start : match.start()].lower()
    following = re.compile(r"\S").search(text, match.end())
    after = following[0] if following else ""
    if before in ABBREVIATIONS or re.fullmatch(r"[a-z]|(?:[a-z]\.)+[a-z]", before):
        return not (before == "i" and after.isupper())
    return match[0].startswith("..") and after.islower()


def language_of(text: str) -> str | None:
    """ISO 639-1 code by langdetect, seeded so that it does not vary; None for no letters."""
    import langdetect

    langdetect.DetectorFactory.seed = 0
    try:
        return langdetect.detect(text)
    except langdetect.lang_detect_exception.LangDetectException:
        return None


def in_language(text: str, language: str) -> bool:
    """Whether the text is in a language; without letters it is, as in the released checkers."""
    return language_of(text) in (language, None)


def has_keywords(text: str, keywords: list[str]) -> bool:
    """Every keyword occurs, also inside a longer word."""
    return all(re.search(keyword, text, re.IGNORECASE) for keyword in keywords)


def keyword_frequency(text: str, keyword: str, relation: str, frequency: int) -> bool:
    """A keyword occurs this often, also inside longer words."""
    return compare(len(re.findall(keyword, text, re.IGNORECASE)), relation, frequency)


def avoids_words(text: str, forbidden_words: list[str]) -> bool:
    """None of the words occurs as a word."""
    return not any(re.search(rf"\b{word}\b", text, re.IGNORECASE) for word in forbidden_words)


def letter_frequency(text: str, letter: str, let_relation: str, let_frequency: int) -> bool:
    """A letter, or another character, occurs this often; capitals count."""
    return compare(text.lower().count(letter.lower()), let_relation, let_frequency)


def number_sentences(text: str, relation: str, num_sentences: int) -> bool:
    """So many sentences."""
    return compare(len(sentences(text)), relation, num_sentences)


def number_words(text: str, relation: str, num_words: int) -> bool:
    """So many words."""
    return compare(len(words(text)), relation, num_words)


def split_between(text: str, separator: str) -> list[str] | None:
    """The parts between separators, the first and last if not empty; None if another is empty."""
    parts = [part.strip() for part in re.split(separator, text)]
    if not all(parts[1:-1]):
        return None
    return [part for part in parts if part]


def number_paragraphs(text: str, num_paragraphs: int) -> bool:
    """Exactly so many paragraphs between `***` marks."""
    paragraphs = split_between(text, r"\s?\*\*\*\s?")
    return paragraphs is not None and len(paragraphs) == num_paragraphs


def nth_paragraph_first_word(
    text: str, num_paragraphs: int, nth_paragraph: int, first_word: str
) -> bool:
    """Exactly so many paragraphs between blank lines, and the n-th begins with a word."""
    paragraphs = text.split("\n\n")
    filled = [paragraph for paragraph in paragraphs if paragraph.strip()]
    if len(filled) != num_paragraphs or nth_paragraph > len(filled):
        return False
    beginning = paragraphs[nth_paragraph - 1].split()[:1]
    bare = re.match(r"'*\"*([^.,?!'\"]*)", beginning[0].lower()) if beginning else None
    return bare is not None and bare[1] == first_word.lower()


def number_placeholders(text: str, num_placeholders: int) -> bool:
    """At least so many `[placeholders]`."""
    return sum(map(count_placeholders, text.split("\n"))) >= num_placeholders


def count_placeholders(line: str) -> int:
    """How many `[...]` a line has, each up to the next closing bracket."""
    found, end = 0, 0
    while (start := line.find("[", end)) >= 0 and (end := line.find("]", start) + 1) > 0:
        found += 1
    return found


def has_postscript(text: str, postscript_marker: str) -> bool:
    """A postscript with the marker, in any case, with or without a space inside."""
    patterns = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    pattern = patterns.get(postscript_marker, re.escape(postscript_marker.lower()))
    return bool(re.search(pattern, text.lower()))


def number_bullets(text: str, num_bullets: int) -> bool:
    """Exactly so many lines that start with `* ` or `-`; `**bold**` lines are no bullets."""
    stars = re.findall(r"^[^\S\n]*+\*[^\*].*$", text, re.MULTILINE)
    dashes = re.findall(r"^[^\S\n]*+-.*$", text, re.MULTILINE)
    return len(stars) + len(dashes) == num_bullets


def constrained_response(text: str) -> bool:
    """One of the three given answers occurs."""
    return any(f"My answer is {answer}." in text for answer in ("yes", "no", "maybe"))


def number_highlights(text: str, num_highlights: int) -> bool:
    """At least so many `*highlighted*` or `**highlighted**` passages within a line."""
    single = [part for part in re.findall(r"\*([^\n*]*)\*", text) if part.strip()]
    double = [part for part in re.findall(r"\*\*([^\n*]*)\*\*", text) if part.strip()]
    return len(single) + len(double) >= num_highlights


def number_sections(text: str, section_spliter: str, num_sections: int) -> bool:
    """At least so many sections headed by the word and a number."""
    return len(re.findall(rf"{section_spliter}\s?\d+", text)) >= num_sections


def is_json(text: str) -> bool:
    """The whole reply is JSON; a code fence around it is allowed."""
    text = re.sub(r"^```(?:json|Json|JSON)?|```$", "", text.strip())
    try:
        json.loads(text.strip())
    except (ValueError, RecursionError):
        return False
    return True


def has_title(text: str) -> bool:
    """A `<<title>>` within a line."""
    lines = (line.partition("<<")[2].rpartition(">>")[0] for line in text.split("\n"))
    return any(title.strip("<> \t") for title in lines)


def two_responses(text: str) -> bool:
    """Two different replies between `******`."""
    parts = split_between(text, re.escape("******"))
    return parts is not None and len(parts) == 2 and parts[0] != parts[1]


def repeats_prompt(text: str, prompt_to_repeat: str) -> bool:
    """The reply begins with the request."""
    return text.strip().lower().startswith(prompt_to_repeat.strip().lower())


def ends_with(text: str, end_phrase: str) -> bool:
    """The reply ends with the phrase, a closing quotation mark aside."""
    return text.strip().strip('"').lower().endswith(end_phrase.strip().lower())


def is_quoted(text: str) -> bool:
    """The whole reply stands in double quotation marks."""
    text = text.strip()
    return len(text) > 1 and text.startswith('"') and text.endswith('"')


def capital_words(text: str, capital_relation: str, capital_frequency: int) -> bool:
    """So many words in capitals; hyphenated words and "I" count as one."""
    tokens = re.findall(r"[^\W_][\w'\u2019./&-]*", text)
    return compare(sum(token.isupper() for token in tokens), capital_relation, capital_frequency)


def all_capitals(text: str) -> bool:
    """English without a small letter."""
    return text.isupper() and in_language(text, "en")


def all_lowercase(text: str) -> bool:
    """English without a capital letter."""
    return text.islower() and in_language(text, "en")


def no_comma(text: str) -> bool:
    """No comma anywhere."""
    return "," not in text


INSTRUCTIONS: dict[str, Callable[..., bool]] = {
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
