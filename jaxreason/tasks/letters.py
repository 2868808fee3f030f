r"""Finds the letter that a reply in free text settles on; the article "a" is not a choice.

The strongest kind of statement counts, and of one kind the last: a reply may revise its answer,
but the options that it explains afterwards do not override what it announced.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from jaxreason.tasks.letter_patterns import (
    ARTICLE,
    ASKED,
    CLOSED,
    CONSIDERED,
    DENIED,
    PRONOUN,
    REFUTED,
    SHORT_LINE,
    VERDICT_AGAINST,
    VERDICT_FOR,
    Labels,
    labels_of,
)
from jaxreason.tasks.letter_texts import announced_text, line_of_text, text_in_line
from jaxreason.tasks.reply_text import last_boxed

NEAR = 60  # characters around a letter that are looked at
TRIED = 300  # statements of one kind that are looked at, from the last
MAX_OPTION = 1000  # characters of a listed option that are looked at
SEVERAL = ""  # letters were named together where one was asked for


@dataclass(frozen=True)
class Statement:
    """A letter, or SEVERAL, and where the statement of it begins and ends in the reply."""

    start: int
    end: int
    letter: str


def find_letter(text: str, letters: Sequence[str], texts: Sequence[str] = ()) -> str | None:
    """The letter a reply settles on, or None.

    In this order:
    1. the last announcement: the box, "the answer is X", a line that is X alone, or one of these
       with the text of a choice. Several letters there are no answer, but what follows may be;
    2. a line that begins with a letter as list items do; where lines list the options, the only
       one that is called right;
    3. a letter that is called right, chosen or concluded;
    4. a line that is the text of a choice;
    5. "option X";
    6. a last line with the text of one choice;
    7. the last capital letter that stands alone (a digit that does says nothing).
    A letter that is denied, refuted or asked about is passed over.

    Args:
      text: the reply.
      letters: the valid labels, one character each.
      texts: the choices' texts.
    """
    labels = labels_of(tuple(letters))
    announced = last_announcement(text, labels, texts)
    if announced is not None:
        if announced.letter != SEVERAL:
            return announced.letter
        text = text[announced.end :]
    listed, single = list_heads(text, labels)
    rest = without(text, listed)
    return (
        single
        or last_letter(labels.affirmed.finditer(rest), rest, labels)
        or line_of_text(rest, letters, texts)
        or last_letter(labels.mention.finditer(rest), rest, labels)
        or text_in_line(last_line(rest), letters, texts)
        or (None if labels.digits else last_letter(labels.lone.finditer(rest), rest, labels))
    )


def last_announcement(text: str, labels: Labels, texts: Sequence[str]) -> Statement | None:
    """The announcement that ends last, of any of its forms."""
    found = [
        boxed(text, labels, texts),
        first_statement(led(text, labels, texts)),
        first_statement(revised(text, labels)),
        first_statement(bare_lines(text, labels)),
    ]
    return max((one for one in found if one is not None), key=lambda one: one.end, default=None)


def first_statement(statements: Iterator[Statement]) -> Statement | None:
    """The first, or None."""
    return next(statements, None)


def from_the_last(matches: Iterable[re.Match[str]]) -> list[re.Match[str]]:
    """The last matches, the last one first; what lies further back says nothing any more."""
    return [*matches][: -TRIED - 1 : -1]


def boxed(text: str, labels: Labels, texts: Sequence[str]) -> Statement | None:
    r"""The last box that holds one letter, several, or the text of a choice."""
    box = last_boxed(text)
    if box is None:
        return None
    start = text.rfind(box, 0, text.rfind(box + "}") + len(box))
    if (opened := text.rfind("\\boxed", 0, start)) > 0 and REFUTED.match(text, start + len(box)):
        return boxed(text[:opened], labels, texts)
    bare = re.sub(r"\\(?:text\w*|math\w*|boldsymbol)\s*\{", " ", box)
    bare = re.sub(r"[{}$*\s\\]+", " ", bare).strip()
    match = re.fullmatch(rf"\(?({labels.any_case})\)?[.:]?", bare)
    match = match or re.match(rf"\(?({labels.capital})(?:\)|[.:](?=\s))", bare)
    if match:
        return Statement(start, start + len(box), match[1].upper())
    if re.fullmatch(rf"(?:\W|and|or|{labels.capital}(?![A-Za-z0-9]))+", bare):
        return Statement(start, start + len(box), SEVERAL)
    letter = line_of_text(bare, labels.letters, texts)
    return Statement(start, start + len(box), letter) if letter else None


def led(text: str, labels: Labels, texts: Sequence[str]) -> Iterator[Statement]:
    """Letters and texts behind "the answer is", the last first."""
    for match in from_the_last(labels.lead.finditer(text)):
        if CONSIDERED.search(text[max(0, match.start() - NEAR) : match.start()]):
            continue
        if match["newline"] and REFUTED.match(text, match.end() + 1):
            continue
        letter = labels.letter.match(text, match.end())
        spoken = announced_text(text, match.end(), labels.letters, texts)
        if spoken is not None and not (letter and letter[1].isupper() and letter[1] != "A"):
            yield Statement(match.start(), *spoken)
        elif letter and (statement := settled(text, match, letter, labels)):
            yield statement


def settled(
    text: str, lead: re.Match[str], letter: re.Match[str], labels: Labels
) -> Statement | None:
    """The statement of an announcement with its letter; None if the letter is a word or not meant."""
    wrapped = bool(re.search(r"[*({\[$]", lead["wrap"]))
    closed = wrapped or CLOSED.match(text, letter.end()) is not None
    if is_word(text, letter, wrapped) or (lead["newline"] and not closed):
        return None
    if (
        letter[1] in "ai"
        and not closed
        and not re.match(r"\s+\w", text[letter.end() : letter.end() + 9])
    ):
        return None
    if "would" in lead[0] and re.match(r"\W*\s+if\b", text[letter.end() : letter.end() + NEAR]):
        return None
    return statement_at(text, letter, labels)


def statement_at(text: str, letter: re.Match[str], labels: Labels) -> Statement | None:
    """The letter at a match, SEVERAL if others are named together with it; None if it is denied or asked."""
    place = letter.start(1)
    if DENIED.search(text[max(0, place - NEAR) : place]):
        return None
    after = labels.joined.match(text, letter.end(1))
    end = after.end() if after else letter.end(1)
    if REFUTED.match(text[end : end + 2 * NEAR]) or ASKED.match(text[end : end + 9]):
        return None
    before = labels.joins.search(text[max(0, place - NEAR) : place])
    one = letter[1].upper()
    others = (
        {x.upper() for x in re.findall(labels.any_case + r"(?![A-Za-z])", after[0])}
        if after
        else set()
    )
    others |= {before[1].upper()} if before else set()
    # "A, B is right": a comma before the letter parts two statements.
    if (
        before
        and before[0].rstrip(" (*'\"").endswith(",")
        and re.match(r"[)*]*\s+[a-z]", text[end : end + 9])
    ):
        others.discard(before[1].upper())
    return Statement(place, end, one if others <= {one} else SEVERAL)


def is_word(text: str, letter: re.Match[str], wrapped: bool = False) -> bool:
    """Whether the letter is the article "a" or the pronoun "I"."""
    if wrapped:
        return False
    if letter[1] in "aA":
        return ARTICLE.match(text, letter.end(1)) is not None
    return letter[1] in "iI" and PRONOUN.match(text, letter.end(1)) is not None


def revised(text: str, labels: Labels) -> Iterator[Statement]:
    """Letters that replace others, closed by a mark, the last first."""
    for match in from_the_last(labels.revised.finditer(text)):
        if re.match(r"[*)\]}'\"]*(?:[.!;]|\s*$|\n)", text[match.end() : match.end() + NEAR]):
            yield Statement(match.start(), match.end(), match[1])


def bare_lines(text: str, labels: Labels) -> Iterator[Statement]:
    """Lines that are a letter alone, the last first."""
    for line in from_the_last(SHORT_LINE.finditer(text)):
        if match := labels.bare_line.fullmatch(text, *line.span()):
            yield Statement(match.start(), match.end(), match[1].upper())


def list_heads(text: str, labels: Labels) -> tuple[list[tuple[int, int]], str | None]:
    """The lines that list options, and the letter of the last line that heads none.

    Lines whose letters rise, two or more, list the options; a line by itself gives an answer.
    """
    runs: list[list[re.Match[str]]] = []
    for match in labels.head.finditer(text):
        letter = head_letter(match)
        if letter == "I" or (letter == "A" and match[0].lstrip().startswith("a.m")):
            continue
        if runs and head_letter(runs[-1][-1]) < letter:
            runs[-1].append(match)
        else:
            runs.append([match])
    meant = [meant_of(text, run) for run in runs]
    single = [head_letter(run[0]) for run in meant if len(run) == 1]
    spans = [m.span() for run in runs if len(run) > 1 for m in run]
    return spans, single[-1] if single else None


def meant_of(text: str, run: Sequence[re.Match[str]]) -> list[re.Match[str]]:
    """The option in a list that alone is called right, else those not called wrong."""
    left = [
        match
        for match in run
        if not REFUTED.match(text, match.start("text") - 1)
        and not VERDICT_AGAINST.search(match["text"][:MAX_OPTION])
    ]
    right = [match for match in left if VERDICT_FOR.search(match["text"][:MAX_OPTION])]
    return right if len(right) == 1 else left


def head_letter(match: re.Match[str]) -> str:
    """The letter at the head of a line."""
    return (match[1] or match[2]).upper()


def without(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """The text without some places."""
    parts, start = [], 0
    for begin, end in spans:
        parts.append(text[start:begin])
        start = end
    return "".join([*parts, text[start:]])


def last_line(text: str) -> str:
    """The last line that is not blank."""
    return text.rstrip().rpartition("\n")[2]


def last_letter(matches: Iterable[re.Match[str]], text: str, labels: Labels) -> str | None:
    """The last letter of these matches that is no word, not denied and not one of several."""
    for match in from_the_last(matches):
        group = match.lastindex or 1
        if is_word_at(text, match.start(group), match[group]):
            continue
        place = re.compile(f"({re.escape(match[group])})").match(text, match.start(group))
        statement = statement_at(text, place, labels)
        considered = CONSIDERED.search(text[max(0, match.start() - NEAR) : match.start()])
        if statement and statement.letter != SEVERAL and not considered:
            return statement.letter
    return None


def is_word_at(text: str, place: int, letter: str) -> bool:
    """Whether the capital at a place is an article or, but for "I)", a pronoun."""
    after = place + 1
    if letter == "I":
        return not text.startswith(")", after)
    return letter == "A" and ARTICLE.match(text, after) is not None
