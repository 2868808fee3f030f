r"""Multiple choice by letter: finds the chosen one in free text; the article "a" is not a choice.

Metadata read, if present: `choices` with `label` and `text`, as in ACPBench.
"""

import re
from collections.abc import Sequence

from jaxreason.data.examples import Example
from jaxreason.tasks.replies import last_boxed, score_both_ways, strip_thinking

LETTERS = ("A", "B", "C", "D", "E")
# After "the answer is", "Answer:", "option": brackets, bold and \text{ may surround the letter.
LEAD = (
    r"(?i:\b(?:final\s+|correct\s+|best\s+|right\s+)?(?:answer|option|choice)s?\b"
    r"(?:\s+(?:is|would\s+be|must\s+be|should\s+be))?(?:\s+(?:option|choice|letter))?)"
)
# Possessive: giving a character back never helps to reach the letter, and takes quadratic time.
WRAP = r"[\s:*_`'\"$({\[]*+(?:\\\(|\\text\w*\{|\\mathbf\{|\\boxed\{)*+[\s(*]*+"
ANNOUNCED = re.compile(rf"{LEAD}({WRAP})([A-Za-z])(?![A-Za-z0-9'])")
CLOSED = re.compile(r"[)}\]*.:,]|\s*$")
# A word follows that explains nothing, so the A before it is an article.
ARTICLE = re.compile(r"\s+(?!because|since|as\b|is\b|and\b|or\b|due\b|for\b|which\b|with\b)[a-z]")

# Around a letter that a reply names without settling on it.
DENIED = re.compile(
    r"(?:\b(?:not|cannot|neither|nor|except)|n't|\b(?:all|any\w*|every\w*)\s+but"
    r"|\b(?:exclud|eliminat|reject|rul)\w*(?:\s+out)?)\s+"
    r"(?:be\s+)?(?:(?:the\s+)?(?:answer|option|choice)\s+)?[\s(*'\"`]*$",
    re.IGNORECASE,
)
REFUTED = re.compile(
    r"[)*'\"`\s]*\b(?:is|are|was|seems|would\s+be)(?:n't\b|(?:\s+(?:also|clearly|therefore))?"
    r"\s+(?:wrong|incorrect|false|not|impossible|ruled\s+out|excluded|eliminated)\b)"
)
# Between two letters that are named together.
_MARKS = r"[)*'\"`\s]*"
_JOINED = rf"{_MARKS}(?:,\s*)?(?:\b(?:or|and)\b|[/|&])[(*'\"`\s]*(?:(?i:option|choice)\s+\(?)?"
_COMMA = rf"{_MARKS},[(*'\"`\s]*"
NEAR = 60  # characters around a letter that are looked at


def letters_of(example: Example) -> tuple[str, ...]:
    """The labels of the choices, else A to E."""
    choices = example.metadata.get("choices")
    return tuple(choices["label"]) if choices else LETTERS


def find_letter(
    text: str, letters: Sequence[str] = LETTERS, texts: Sequence[str] = ()
) -> str | None:
    """The letter a reply settles on, or None.

    In this order: the last box; the last "answer is X"; a last line that is a letter, or begins
    with one as a list item does; a last line that repeats exactly one choice; the last capital
    letter that stands alone. A letter that is denied, or named together with another, is not
    settled on (`is_open`).

    Args:
      text: the reply.
      letters: the valid labels, capital letters.
      texts: the choices' texts, for the fourth rule.
    """
    valid = "".join(letters)
    box = last_boxed(text)
    lines = [line for line in text.splitlines() if line.strip()]
    last = lines[-1] if lines else ""
    return (
        (box is not None and line_letter(box, valid))
        or lead_letter(text, valid)
        or line_letter(last, valid)
        or repeated_choice(last, letters, texts)
        or lone_letter(text, valid)
        or None
    )


def line_letter(line: str, valid: str) -> str | None:
    r"""The letter of `B`, `(b)`, `**B.**`, `\text{B}`, `B. unload the car`, `B) ...`, or None."""
    bare = re.sub(
        r"\\(?:text\w*|mathrm|mathbf|boxed)\s*\{|\\[()\[\]]|[*_`$'\"{}]", "", line
    ).strip()
    match = re.fullmatch(r"\(?([A-Za-z])\)?[.:]?", bare) or re.match(
        r"\(?([A-Z])(?:\)|[.:](?=\s))", bare
    )
    return match[1].upper() if match and match[1].upper() in valid else None


def lead_letter(text: str, valid: str) -> str | None:
    """The last letter that is announced as the answer or an option."""
    found = None
    for match in ANNOUNCED.finditer(text):
        wrap, letter, end = match[1], match[2], match.end()
        closed = "(" in wrap or "{" in wrap or "*" in wrap or CLOSED.match(text, end)
        if letter.upper() not in valid:
            continue
        if letter.islower() and not closed:
            continue  # "the answer is a car"
        if letter == "A" and ARTICLE.match(text, end):
            continue
        if is_open(text, match.start(2), valid):
            continue
        found = letter.upper()
    return found


def is_open(text: str, place: int, valid: str) -> bool:
    """Whether the letter at a place is denied there, or is one of several: `not B`, `B is wrong`, `B or C`."""
    before, after = text[max(0, place - NEAR) : place], text[place + 1 : place + 1 + NEAR]
    if DENIED.search(before) or REFUTED.match(after):
        return True
    other = f"[{valid.replace(text[place].upper(), '') or '-'}](?![A-Za-z0-9'])"
    beside = rf"{_JOINED}{other}|{_COMMA}{other}(?!\s+[a-z])"
    comma = "" if re.match(r"[)*]*\s+[a-z]", after) else f"|{_COMMA}"  # "A, B is right"
    behind = rf"(?<![A-Za-z0-9']){other}(?:{_JOINED}{comma})$"
    return bool(re.match(beside, after) or re.search(behind, before))


def repeated_choice(line: str, letters: Sequence[str], texts: Sequence[str]) -> str | None:
    """The label of the only choice whose text occurs in the line, unless it is denied there."""
    line = line.lower()
    parts = {letter: text.strip().lower() for letter, text in zip(letters, texts) if text.strip()}
    found = [letter for letter, text in parts.items() if text in line]
    if len(found) != 1:
        return None
    place = line.index(parts[found[0]])
    return None if DENIED.search(line[max(0, place - NEAR) : place]) else found[0]


def lone_letter(text: str, valid: str) -> str | None:
    """The last capital letter that stands alone and is no article; "I" counts only before ")"."""
    found = None
    for match in re.finditer(rf"(?<![A-Za-z0-9'.])([{valid}])(?![A-Za-z0-9'])", text):
        if match[1] == "A" and ARTICLE.match(text, match.end()):
            continue
        if match[1] == "I" and not text.startswith(")", match.end()):
            continue
        if is_open(text, match.start(), valid):
            continue
        found = match[1]
    return found


def choice_texts(example: Example) -> Sequence[str]:
    """The texts of the choices, or nothing."""
    choices = example.metadata.get("choices")
    return choices["text"] if choices else ()


def extract(example: Example, text: str) -> str | None:
    """The chosen letter in the reply without its thoughts."""
    return find_letter(strip_thinking(text), letters_of(example), choice_texts(example))


def score(example: Example, text: str) -> dict[str, float]:
    """`accuracy`, `accuracy_unstripped` and `answered`."""

    def letter(part: str) -> str | None:
        return find_letter(part, letters_of(example), choice_texts(example))

    return score_both_ways(example, text, letter, grade)


def grade(example: Example, answer: str) -> float:
    """1.0 for the gold letter."""
    return float(answer == example.answer.strip().upper())
